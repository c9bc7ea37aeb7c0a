//! Planted bugs: each patch in `sim/bugs` is applied to a copy of the sources, and the simulator built from that copy must
//! find it. A simulator that finds nothing proves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What became of one planted bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The name of its patch.
    pub name: String,
    /// What it is, in the first line of its patch.
    pub what: String,
    /// How it was found: after how many seeds, and by which rule (or a panic).
    pub found: Option<(u64, String)>,
    /// What the shrunk run is like: how many things clients do, how many decisions are special.
    pub shrunk: Option<(usize, usize)>,
    /// How long the search took, without the build.
    pub took: Duration,
}

/// Applies every patch whose name contains `filter`, one at a time, and lets the simulator look for it in that many seeds.
/// Tells `report` of each.
///
/// # Errors
/// A patch does not apply, its tree does not build, or something that is needed for that is missing.
pub fn hunt(filter: &str, seeds: u64, mut report: impl FnMut(&Hunt)) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut patches: Vec<PathBuf> = fs::read_dir(root.join("sim/bugs"))
        .map_err(|error| format!("cannot read sim/bugs: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .filter(|path| name(path).contains(filter))
        .collect();
    patches.sort();
    if patches.is_empty() {
        return Err(format!("no patch in sim/bugs has {filter:?} in its name"));
    }
    for patch in patches {
        report(&hunt_one(&root, &patch, seeds)?);
    }
    Ok(())
}

fn name(patch: &Path) -> String {
    patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn hunt_one(root: &Path, patch: &Path, seeds: u64) -> Result<Hunt, String> {
    let name = name(patch);
    let text = fs::read_to_string(patch).map_err(|error| format!("cannot read {name}: {error}"))?;
    let what = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
    let work = root.join("target/bugs");
    let tree = work.join("tree");
    copy_sources(root, &tree)?;
    // Git looks no further up for a repository, so that it takes the tree as it is.
    let patch = fs::canonicalize(patch).map_err(|error| error.to_string())?;
    let ceiling = fs::canonicalize(&work).map_err(|error| error.to_string())?;
    run(Command::new("git")
        .arg("apply")
        .arg(&patch)
        .current_dir(&tree)
        .env("GIT_CEILING_DIRECTORIES", ceiling))
    .map_err(|error| format!("{name} does not apply: {error}"))?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--quiet", "-p", "seriatim-sim", "--target-dir", "../build"]);
    build.envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")]);
    run(build.current_dir(&tree)).map_err(|error| format!("{name} does not build: {error}"))?;
    let simulator = work.join("build/release/seriatim-sim");
    let start = Instant::now();
    let output = Command::new(&simulator)
        .args(["explore", "--seeds", &seeds.to_string(), "--to"])
        .arg(work.join("failing.json"))
        .output()
        .map_err(|error| error.to_string())?;
    let took = start.elapsed();
    let found = found(&output);
    let shrunk = shrunk(&output);
    Ok(Hunt { name, what, found, shrunk, took })
}

/// Brings the copy up to date. What has not changed is not touched, so that it need not be built again.
fn copy_sources(root: &Path, tree: &Path) -> Result<(), String> {
    let listed = run(Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root))?;
    for file in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (root.join(file), tree.join(file));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        let folder = to.parent().unwrap_or(tree);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&to, bytes))
            .map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    }
    Ok(())
}

/// Runs a command that has to succeed.
fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The seed and the rule, from what `explore` printed; or a panic, which nobody can miss either.
fn found(output: &Output) -> Option<(u64, String)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("seed "));
    match line.and_then(|line| line.split_once(": ")) {
        Some((seed, what)) => Some((seed.parse().ok()?, what.split(':').next()?.to_owned())),
        None => (!output.status.success()).then(|| (0, "panic".to_owned())),
    }
}

/// How small the run became, from the same.
fn shrunk(output: &Output) -> Option<(usize, usize)> {
    let text = String::from_utf8_lossy(&output.stdout);
    // "from 31 things that clients do to 5, from 80 special decisions to 2, 1 of them preemptions"
    let line = text.lines().find(|line| line.starts_with("from "))?;
    let numbers: Vec<usize> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    Some((*numbers.get(1)?, *numbers.get(3)?))
}

//! Plants a patch: the simulator, built from a copy of the sources in which that patch is applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

/// The patches in a folder, in order.
pub(crate) fn patches(folder: &str) -> Result<Vec<PathBuf>, String> {
    let mut patches: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .map_err(|error| format!("cannot read {folder}: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    if patches.is_empty() { Err(format!("there is no patch in {folder}")) } else { Ok(patches) }
}

/// The folder of the project.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a patch is called.
pub(crate) fn name(patch: &Path) -> String {
    patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a patch is, in its first line.
pub(crate) fn what(patch: &Path) -> Result<String, String> {
    let text = fs::read_to_string(patch).map_err(|error| format!("cannot read {}: {error}", name(patch)))?;
    Ok(text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned())
}

/// Applies one patch, or none, to a copy of the sources, and builds the simulator from that.
pub(crate) fn build(patch: Option<&Path>) -> Result<PathBuf, String> {
    let (root, name) = (root(), patch.map_or("the project itself".to_owned(), name));
    let work = root.join("target/bugs");
    let tree = work.join("tree");
    copy_sources(&root, &tree)?;
    if let Some(patch) = patch {
        // Git looks no further up for a repository, so that it takes the tree as it is.
        let patch = fs::canonicalize(patch).map_err(|error| error.to_string())?;
        let ceiling = fs::canonicalize(&work).map_err(|error| error.to_string())?;
        run(Command::new("git")
            .arg("apply")
            .arg(&patch)
            .current_dir(&tree)
            .env("GIT_CEILING_DIRECTORIES", ceiling))
        .map_err(|error| format!("{name} does not apply: {error}"))?;
    }
    let cargo = Path::new(env!("CARGO"));
    let mut build = Command::new(cargo);
    // The compiler beside it: one that rustup looks for follows what a dependency says in its own folder.
    let compiler = cargo.with_file_name("rustc");
    if compiler.is_file() {
        build.env("RUSTC", compiler);
    }
    build.args(["build", "--release", "--quiet", "-p", "seriatim-sim", "--target-dir", "../build"]);
    build.envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")]);
    run(build.current_dir(&tree)).map_err(|error| format!("{name} does not build: {error}"))?;
    Ok(work.join("build/release/seriatim-sim"))
}

/// Brings the copy up to date. What has not changed is not touched, so that it need not be built again; what is in the project
/// no more goes.
fn copy_sources(root: &Path, tree: &Path) -> Result<(), String> {
    let listed = run(Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root))?;
    let mut copied = BTreeSet::new();
    for file in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (root.join(file), tree.join(file));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            copied.insert(to);
            continue;
        }
        let folder = to.parent().unwrap_or(tree);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&to, bytes))
            .map_err(|error| format!("cannot write {}: {error}", to.display()))?;
        copied.insert(to);
    }
    remove_others(tree, &copied).map_err(|error| format!("cannot clear {}: {error}", tree.display()))
}

/// Removes all files from a folder, and the folders in it, but these.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        Ok(output)
    } else {
        // What a signal has killed says nothing.
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_is_gone_from_the_project_is_gone_from_the_copy() {
        let tree = std::env::temp_dir().join(format!("seriatim-tree-{}", std::process::id()));
        let stale = ["src/gone.rs", "gone.rs"].map(|file| tree.join(file));
        fs::create_dir_all(tree.join("src")).unwrap();
        stale.iter().for_each(|file| fs::write(file, "gone").unwrap());
        copy_sources(&root(), &tree).unwrap();
        assert!(stale.iter().all(|file| !file.exists()));
        assert_eq!(fs::read(tree.join("src/lib.rs")).unwrap(), fs::read(root().join("src/lib.rs")).unwrap());
        fs::remove_dir_all(tree).unwrap();
    }
}

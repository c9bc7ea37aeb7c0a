//! Planted bugs: each patch in `sim/bugs` is applied to a copy of the sources, and the simulator built from that copy must
//! find it. A simulator that finds nothing proves nothing.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::hunt::{Budget, Find, Hunt, Small};
use crate::plant::{build, name, patches, root, run, what};

/// The patch that is looked for whatever else is.
const CANARY: &str = "canary-lost-message";

/// Where in the README of the planted bugs the table is.
const TABLE: (&str, &str) = ("<!-- table -->\n", "<!-- end of table -->\n");

/// One planted bug, and what became of it.
#[derive(Clone, Debug)]
pub struct Bug {
    /// The name of its patch.
    pub name: String,
    /// What it is, in the first line of its patch.
    pub what: String,
    /// Whether, and how, it was found.
    pub hunt: Hunt,
}

impl Bug {
    /// Whoever looks at the whole server found it: that the core alone shows it, too, is not enough.
    pub fn found(&self) -> bool {
        self.hunt.volume.is_some() || self.hunt.shuttle.is_some()
    }

    /// Its row of the table, as Markdown.
    pub fn row(&self) -> String {
        let Hunt { core, volume, shuttle, small } = &self.hunt;
        let rule = volume.as_ref().or(shuttle.as_ref()).map_or("**not found**", |find| &find.rule);
        let small = small.as_ref().map_or("–".to_owned(), |small| {
            format!("{}, {}, {}", small.ops, small.preemptions, small.specials)
        });
        let [core, volume, shuttle] = [core, volume, shuttle].map(|find| after(find.as_ref()));
        format!("| {} | {} | {rule} | {core} | {volume} | {shuttle} | {small} |\n", self.name, self.what)
    }
}

/// After how many schedules, and how long.
fn after(find: Option<&Find>) -> String {
    find.map_or("–".to_owned(), |find| {
        format!("{}, {}.{:02} s", find.schedules, find.took_ms / 1000, find.took_ms % 1000 / 10)
    })
}

/// The head of the table.
pub const HEAD: &str = "| planted bug | what it is | breaks | core | volume | shuttle | shrunk to |\n|---|---|---|---|---|---|---|\n";

/// All of them in a few numbers, as Markdown.
pub fn summary(bugs: &[Bug]) -> String {
    let finds = |which: fn(&Hunt) -> Option<&Find>| -> Vec<u64> {
        bugs.iter().filter_map(|bug| which(&bug.hunt)).map(|find| find.schedules).collect()
    };
    let core = finds(|hunt| hunt.core.as_ref());
    let (volume, shuttle) = (finds(|hunt| hunt.volume.as_ref()), finds(|hunt| hunt.shuttle.as_ref()));
    let small: Vec<_> = bugs.iter().filter_map(|bug| bug.hunt.small.as_ref()).collect();
    let sizes = |size: fn(&Small) -> usize| -> Vec<u64> {
        small.iter().map(|small| u64::try_from(size(small)).unwrap_or(u64::MAX)).collect()
    };
    let mut text = String::new();
    let found = bugs.iter().filter(|bug| bug.found()).count();
    let _ = writeln!(text, "- found: {found} of {}", bugs.len());
    let mut line = |what: &str, numbers: Vec<u64>| {
        let count = numbers.len();
        if let Some((median, most)) = median_and_95th(numbers) {
            let _ = writeln!(text, "- {what}: median {median}, 95th percentile {most} ({count} bugs)");
        }
    };
    line("events of the core alone until found", core);
    line("schedules of the volume engine until found", volume);
    line("schedules under shuttle until found", shuttle);
    line("shrunk to so many things that clients do", sizes(|small| small.ops));
    line("and so many preemptions", sizes(|small| small.preemptions));
    let aim = small.iter().filter(|small| small.ops <= 8 && small.preemptions <= 3).count();
    let _ = writeln!(text, "- shrunk to at most 8 things and 3 preemptions: {aim} of {}", small.len());
    text
}

fn median_and_95th(mut numbers: Vec<u64>) -> Option<(u64, u64)> {
    numbers.sort_unstable();
    let last = numbers.len().checked_sub(1)?;
    Some((numbers[last / 2], numbers[(last * 95).div_ceil(100)]))
}

/// Puts a new table into the README of the planted bugs.
///
/// # Errors
/// The file cannot be read or written, or has no place for it.
pub fn write_table(bugs: &[Bug]) -> Result<(), String> {
    let path = root().join("sim/bugs/README.md");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
    let parts =
        text.split_once(TABLE.0).and_then(|(before, rest)| Some((before, rest.split_once(TABLE.1)?.1)));
    let (before, behind) = parts.ok_or_else(|| wrong(&"no place for the table"))?;
    let rows: String = bugs.iter().map(Bug::row).collect();
    let table = format!("{}{}\n{HEAD}{rows}{}", TABLE.0, summary(bugs), TABLE.1);
    fs::write(&path, format!("{before}{table}{behind}")).map_err(|error| wrong(&error))
}

/// Which of the planted bugs.
#[derive(Clone, Debug)]
pub struct Which {
    /// Those with this in their name.
    pub filter: String,
    /// One part of them, counted from 0, and of how many parts. The canary is in each.
    pub part: Option<(usize, usize)>,
}

impl Which {
    /// Whether that is all of them.
    pub fn is_all(&self) -> bool {
        self.filter.is_empty() && self.part.is_none()
    }

    /// Those of all patches.
    ///
    /// # Errors
    /// There are none, or a part lacks the canary.
    fn of(&self, patches: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
        let named = patches.iter().filter(|patch| name(patch).contains(&self.filter)).enumerate();
        let in_part = |number| self.part.is_none_or(|(part, of)| number % of == part);
        let mut chosen: Vec<PathBuf> =
            named.filter(|(number, _)| in_part(*number)).map(|(_, patch)| patch.clone()).collect();
        if self.part.is_some() && !chosen.iter().any(|patch| name(patch) == CANARY) {
            let canary = patches.iter().find(|patch| name(patch) == CANARY);
            chosen.push(canary.ok_or_else(|| format!("there is no {CANARY} in sim/bugs"))?.clone());
        }
        if chosen.is_empty() {
            return Err(format!("no patch in sim/bugs has {:?} in its name", self.filter));
        }
        Ok(chosen)
    }
}

/// Applies the patches, one at a time, and lets the simulator look for each. Tells `report` of each.
///
/// # Errors
/// A patch does not apply, its tree does not build, or something that is needed for that is missing. The others are hunted
/// all the same.
pub fn hunt_all(which: &Which, budget: Budget, mut report: impl FnMut(Bug)) -> Result<(), String> {
    let mut wrong = Vec::new();
    for patch in which.of(&patches("sim/bugs")?)? {
        match hunt_one(&patch, budget) {
            Ok(bug) => report(bug),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn hunt_one(patch: &Path, budget: Budget) -> Result<Bug, String> {
    let (name, what) = (name(patch), what(patch)?);
    let hunt = hunt_with(&build(Some(patch))?, &name, budget)?;
    Ok(Bug { name, what, hunt })
}

/// Lets the simulator look for a bug where none is planted: whatever finds one there would find any.
///
/// # Errors
/// It finds one, or what is needed for looking is missing.
pub fn hunt_none(budget: Budget) -> Result<(), String> {
    nothing(&hunt_with(&build(None)?, "no bug", budget)?)
}

fn nothing(hunt: &Hunt) -> Result<(), String> {
    match hunt.finds().next() {
        None => Ok(()),
        Some(("core", Find { rule, schedules, .. })) => Err(format!(
            "where no bug is planted, the core breaks {rule} in event {schedules}: cargo test -p seriatim-sim core"
        )),
        Some((engine, Find { rule, schedules, .. })) => Err(format!(
            "where no bug is planted, schedule {schedules} breaks {rule}: cargo sim explore --engine {engine}"
        )),
    }
}

/// What a simulator with this planted finds.
fn hunt_with(simulator: &Path, name: &str, budget: Budget) -> Result<Hunt, String> {
    let (seeds, schedules) = (budget.seeds.to_string(), budget.schedules.to_string());
    let output = run(Command::new(simulator).args(["hunt", "--seeds", &seeds, "--schedules", &schedules]))
        .map_err(|error| format!("the simulator with {name} fails: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the simulator with {name} does not say what it found: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(found: Option<u64>) -> Bug {
        let find = found.map(|schedules| Find { rule: "G5".to_owned(), schedules, took_ms: 1_234 });
        let small = found.map(|_| Small { ops: 5, preemptions: 4, specials: 6 });
        let hunt = Hunt { core: None, volume: find.clone(), shuttle: None, small };
        Bug { name: "lost".to_owned(), what: "It is lost.".to_owned(), hunt }
    }

    #[test]
    fn a_row_says_who_found_it_and_when() {
        assert_eq!(bug(Some(7)).row(), "| lost | It is lost. | G5 | – | 7, 1.23 s | – | 5, 4, 6 |\n");
        assert_eq!(bug(None).row(), "| lost | It is lost. | **not found** | – | – | – | – |\n");
    }

    #[test]
    fn each_engine_has_its_column_and_the_core_alone_is_not_enough() {
        let find = |schedules| Some(Find { rule: "G5".to_owned(), schedules, took_ms: 10 });
        let hunt = Hunt { core: find(1), volume: find(2), shuttle: find(3), small: None };
        let whole = Bug { hunt, ..bug(None) };
        assert_eq!(whole.row(), "| lost | It is lost. | G5 | 1, 0.01 s | 2, 0.01 s | 3, 0.01 s | – |\n");
        assert!(whole.found());
        let core = Bug { hunt: Hunt { core: find(1), ..Hunt::default() }, ..bug(None) };
        assert!(!core.found() && core.row().contains("| **not found** | 1, 0.01 s | – |"));
    }

    #[test]
    fn the_summary_counts_what_is_missed() {
        let bugs: Vec<Bug> = (1..=20).map(|number| bug((number < 20).then_some(number))).collect();
        let summary = summary(&bugs);
        for line in [
            "- found: 19 of 20",
            "- schedules of the volume engine until found: median 10, 95th percentile 19 (19 bugs)",
            "- shrunk to at most 8 things and 3 preemptions: 0 of 19",
        ] {
            assert!(summary.lines().any(|its| its == line), "{line}\n{summary}");
        }
        assert!(!summary.contains("under shuttle"), "nothing to say of nothing");
    }

    fn chosen(filter: &str, part: Option<(usize, usize)>, patches: &[&str]) -> Result<Vec<String>, String> {
        let patches: Vec<PathBuf> = patches.iter().map(|name| format!("{name}.patch").into()).collect();
        let which = Which { filter: filter.to_owned(), part };
        which.of(&patches).map(|chosen| chosen.iter().map(|patch| name(patch)).collect())
    }

    #[test]
    fn every_part_has_the_canary_or_is_an_error() {
        let all = ["a", "b", CANARY, "d"];
        let names = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(chosen("", None, &all), names(&all));
        assert_eq!(chosen("", Some((0, 2)), &all), names(&["a", CANARY]));
        assert_eq!(chosen("", Some((1, 2)), &all), names(&["b", "d", CANARY]));
        assert_eq!(chosen("b", Some((0, 1)), &all), names(&["b", CANARY]));
        assert_eq!(chosen("b", None, &all), names(&["b"]));
        assert_eq!(chosen("", Some((0, 1)), &["a"]), Err(format!("there is no {CANARY} in sim/bugs")));
        assert_eq!(chosen("x", None, &all), Err("no patch in sim/bugs has \"x\" in its name".to_owned()));
    }

    #[test]
    fn what_is_found_where_no_bug_is_planted_is_an_error() {
        assert_eq!(nothing(&bug(None).hunt), Ok(()));
        let said = "where no bug is planted, schedule 7 breaks G5: cargo sim explore --engine volume";
        assert_eq!(nothing(&bug(Some(7)).hunt), Err(said.to_owned()));
        let in_core = Hunt { core: bug(Some(9)).hunt.volume, ..Hunt::default() };
        let said = "where no bug is planted, the core breaks G5 in event 9: cargo test -p seriatim-sim core";
        assert_eq!(nothing(&in_core), Err(said.to_owned()));
    }

    #[test]
    fn each_patch_says_what_it_is_and_where_such_was_seen() {
        for folder in ["sim/bugs", "sim/drill"] {
            for patch in patches(folder).unwrap() {
                let text = fs::read_to_string(&patch).unwrap();
                let said: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
                let is_sentence = |line: &&str| line.ends_with('.');
                assert!(said.len() == 2 && said.iter().all(is_sentence), "{}: {said:?}", patch.display());
            }
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_bug() {
        let readme = fs::read_to_string(root().join("sim/bugs/README.md")).unwrap();
        let (_, table) = readme.split_once(HEAD).unwrap();
        let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with("| ")).collect();
        let patches = patches("sim/bugs").unwrap();
        assert_eq!(rows.len(), patches.len());
        for (row, patch) in rows.iter().zip(&patches) {
            let expected = format!("| {} | {} | ", name(patch), what(patch).unwrap());
            assert!(row.starts_with(&expected), "{row}, not {expected}");
        }
    }
}

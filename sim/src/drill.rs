//! The drill: what makes a run depend on anything but its seed must be noticed. Each patch in `sim/drill` does that in its own
//! way.

use std::panic::resume_unwind;
use std::process::Command;

use crate::choice::Choices;
use crate::engine::{fold_digest, volume};
use crate::plant::{build, name, patches, run, what};
use crate::swarm;
use crate::world::Record;

/// What is said of a seed that is not the same twice.
const DIFFERS: &str = "is not the same twice in one process";

/// A hash over everything that happens in so many seeds: events, effects, bytes and decisions.
///
/// # Errors
/// The first seed that is not the same twice in this process, on another thread and behind other runs.
pub fn digest(seeds: u64) -> Result<u64, String> {
    let record = Record { digest: true, trace: false };
    let all = || -> Vec<Option<u64>> {
        (0..seeds)
            .map(|seed| volume::run(&swarm::scenario(seed), Choices::of_seed(seed), record).digest)
            .collect()
    };
    let first = all();
    let again = std::thread::scope(|scope| scope.spawn(all).join());
    let again = again.unwrap_or_else(|panic| resume_unwind(panic));
    let differs = (0..seeds).zip(first.iter().zip(&again)).find(|(_, (first, again))| first != again);
    if let Some((seed, _)) = differs {
        return Err(format!("seed {seed} {DIFFERS}"));
    }
    Ok(first.into_iter().fold(0, fold_digest))
}

/// How the influence of one patch was noticed, if it was.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// The name of the patch.
    pub name: String,
    /// What it is, in its first line.
    pub what: String,
    /// By what.
    pub noticed: Option<String>,
}

/// Applies each patch, and runs these seeds twice in one process, and again in another. Tells `report` of each.
///
/// # Errors
/// A patch does not apply, its tree does not build, or what is built fails in any other way than by noticing.
pub fn drill(seeds: u64, mut report: impl FnMut(Drilled)) -> Result<(), String> {
    for patch in patches("sim/drill")? {
        let simulator = build(Some(&patch))?;
        let digest = || {
            let mut command = Command::new(&simulator);
            command.args(["digest", "--seeds", &seeds.to_string()]);
            run(&mut command).map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let noticed = match (digest(), digest()) {
            (Err(error), _) | (_, Err(error)) if error.contains(DIFFERS) => Some(error.trim().to_owned()),
            (Err(error), _) | (_, Err(error)) => {
                return Err(format!("the simulator with {} fails: {error}", name(&patch)));
            }
            (Ok(one), Ok(other)) => (one != other).then(|| "two processes differ".to_owned()),
        };
        report(Drilled { name: name(&patch), what: what(&patch)?, noticed });
    }
    Ok(())
}

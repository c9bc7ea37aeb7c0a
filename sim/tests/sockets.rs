//! What the simulated clients do, done over real sockets: the judge must agree with the real network, too.

use seriatim_sim::engine::sockets::run;
use seriatim_sim::marks::Marks;
use seriatim_sim::swarm;
use seriatim_sim::world::Record;

/// `SERIATIM_SOCKET_SEEDS=1000` looks longer.
fn seeds() -> u64 {
    std::env::var("SERIATIM_SOCKET_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

#[test]
fn no_seed_breaks_a_guarantee_over_real_sockets() {
    // Most of a run is waiting: four at once.
    let runs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    let mut marks = Marks::default();
                    for seed in (thread..seeds()).step_by(4) {
                        let outcome = run(&swarm::scenario(seed), 100, Record::default()).unwrap();
                        if let Some(violation) = outcome.violation {
                            panic!("seed {seed} over real sockets: {violation}\n{:#?}", outcome.history);
                        }
                        marks.add(&outcome.marks);
                    }
                    marks
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut marks = Marks::default();
    runs.iter().for_each(|its| marks.add(its));
    for met in [
        "somebody logged in",
        "a name was taken",
        "a message to several",
        "bye: quit",
        "bye: login timeout",
        "bye: server shutting down",
        "a client closed its side",
        "a client read to the end after it had closed its side",
        "the server stopped",
    ] {
        assert!(marks.met.contains_key(met), "never met: {met}: {marks:#?}");
    }
}

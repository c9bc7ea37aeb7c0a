//! What the simulated clients do, done over real sockets: the judge must agree with the real network, too.

use std::net::TcpListener;
use std::thread;

use seriatim::server::smol::sockets::Address;
use seriatim_sim::engine::sockets::{run, threads, visit};
use seriatim_sim::history::What;
use seriatim_sim::marks::Marks;
use seriatim_sim::report::explain;
use seriatim_sim::scenario::{Op, Scenario, Script};
use seriatim_sim::swarm;
use seriatim_sim::world::Record;

/// `SERIATIM_SOCKET_SEEDS=1000` looks longer.
fn seeds() -> u64 {
    std::env::var("SERIATIM_SOCKET_SEEDS").map_or(60, |seeds| seeds.parse().expect("a number of seeds"))
}

#[test]
fn no_seed_breaks_a_guarantee_over_real_sockets() {
    // Most of a run is waiting: four at once.
    let runs = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    let mut marks = Marks::default();
                    for seed in (thread..seeds()).step_by(4) {
                        let scenario = swarm::scenario(seed);
                        let threads = threads(seed);
                        let record = Record { trace: true, digest: false };
                        let outcome = run(&scenario, 100, threads, record).unwrap();
                        if outcome.violation.is_some() {
                            let command =
                                format!("cargo sim explore --engine sockets --from {seed} --seeds 1");
                            panic!("seed {seed}: {}", explain(&scenario, &outcome, &command));
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

/// Bug: whoever writes to a broken connection is told that, and whoever reads from it then is shown the end of the stream. The
/// judge took it for one that the server had ended in order.
#[test]
fn a_connection_that_breaks_under_a_write_is_broken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    // To close a socket with an unread byte in it resets the connection.
    let server = thread::spawn(move || listener.accept().unwrap().0.peek(&mut [0]).unwrap());
    let log_in = Op::LogIn { name: "al".to_owned(), insist: false };
    // It reads only when it has written a second time.
    let ops = vec![Op::Connect, Op::Stall(300), log_in, Op::Sleep(100), Op::Who];
    let scenario = Scenario { clients: vec![Script { ops }], ..Scenario::default() };
    let (history, violation) = visit(&scenario, &address);
    assert_eq!(server.join().unwrap(), 1);
    assert_eq!(violation, None);
    assert_eq!(history.sessions[0].items.last().unwrap().what, What::Broke);
}

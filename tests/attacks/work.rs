//! Those whose requests are much work: nobody else waits for all of it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::process::{Client, Server, manage_accounts};
use crate::{Ends, PATIENT, Quiet, row};

/// How many attack at once.
const ATTACKERS: usize = 64;

/// How much the server may do between a question and its answer. Its own processor time is counted: how busy the machine is besides
/// decides nothing.
const WORK_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 3000 } else { 300 });

/// What the quiet and newcomers saw of an attack.
#[derive(Default)]
struct Seen {
    rounds: Vec<Duration>,
    logins: Vec<Duration>,
    work: Duration,
}

impl Seen {
    /// Two talk, and others come, say so and leave, while all this happens.
    fn look(&mut self, server: &Server, quiet: &mut Quiet) {
        for number in 0..10 {
            for _ in 0..10 {
                let before = server.process.cpu_time();
                quiet.round();
                self.work = self.work.max(server.process.cpu_time() - before);
            }
            let (start, before) = (Instant::now(), server.process.cpu_time());
            let _newcomer = server.log_in(&format!("newcomer-{number}"));
            self.logins.push(start.elapsed());
            self.work = self.work.max(server.process.cpu_time() - before);
        }
        self.rounds.append(&mut quiet.rounds);
    }

    fn worst(&self) -> String {
        let (round, login) = (self.rounds.iter().max().unwrap(), self.logins.iter().max().unwrap());
        format!("worst round of a quiet pair {round:.1?}, worst login {login:.1?}")
    }

    /// Reports the worst, and asserts that nobody waited for much work.
    fn report(&self, attack: &str) {
        let work = self.work.as_millis();
        row(attack, format!("{}, {work} ms of work between", self.worst()));
        assert!(self.work <= WORK_MAX, "{attack}: {work} ms of work stood between a question and its answer");
    }
}

/// Says that over and over as fast as the server takes it, with many connections, and reads all answers.
fn besides(attack: &str, server: &Server, mut others: Vec<TcpStream>, flood: impl Fn(usize) -> Vec<u8>) {
    let mut quiet = Quiet::log_in(server);
    let mut attackers: Vec<(TcpStream, Vec<u8>, usize)> = (0..ATTACKERS)
        .map(|number| (nonblocking(server.log_in(&format!("attacker-{number}"))), flood(number), 0))
        .collect();
    let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let ends = Ends(&over);
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 18];
            while !over.load(Ordering::Relaxed) {
                for (stream, flood, place) in &mut attackers {
                    while now(stream.read(&mut buffer)) == buffer.len() {}
                    *place = (*place + now(stream.write(&flood[*place..]))) % flood.len();
                }
                for other in &mut others {
                    while now(other.read(&mut buffer)) == buffer.len() {}
                }
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            quiet.round();
        }
        quiet.rounds.clear();
        seen.look(server, &mut quiet);
        drop(ends);
    });
    seen.report(attack);
}

fn nonblocking(client: Client) -> TcpStream {
    client.stream.set_nonblocking(true).unwrap();
    client.stream
}

/// How many bytes could be moved at once; none if the connection is over.
fn now(moved: std::io::Result<usize>) -> usize {
    moved.unwrap_or_else(|error| {
        let over = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(over.contains(&error.kind()), "{error}");
        0
    })
}

/// So many who say nothing.
fn idle(server: &Server, count: usize) -> Vec<TcpStream> {
    (0..count).map(|number| nonblocking(server.log_in(&format!("idle-{number}")))).collect()
}

#[test]
fn g9_lists_of_all_peers_are_not_waited_for() {
    let server = Server::start(&PATIENT);
    let others = idle(&server, 900);
    besides("who is here, asked without a pause", &server, others, |_| b"/who\n".repeat(13_000));
}

#[test]
fn g9_names_that_need_folding_are_not_waited_for() {
    let server = Server::start(&PATIENT);
    let line = |number: usize| {
        let names: Vec<String> =
            (0..100).map(|name| format!("ΐΰΆΈΉΊΌΎΏΐΰΆΈΉΊΌΎΏΐΰ{number}.{name}")).collect();
        format!("{}: hi\n", names.join(","))
    };
    besides("recipients that need folding", &server, Vec::new(), |number| {
        line(number).repeat(20).into_bytes()
    });
}

#[test]
fn g9_lists_of_recipients_that_change_are_not_waited_for() {
    let server = Server::start(&PATIENT);
    let others = idle(&server, 200);
    let line = |number: usize, turn: usize| {
        let names: Vec<String> =
            (0..100).map(|name| format!("idle-{}", (number + turn + name * (turn % 7 + 1)) % 200)).collect();
        format!("{}: hi\n", names.join(","))
    };
    besides("lists of recipients that change", &server, others, |number| {
        (0..100).flat_map(|turn| line(number, turn).into_bytes()).collect()
    });
}

/// Bug: each password that was being verified kept one of sixteen permits to read, and seventeen kept everybody from being heard.
#[test]
fn g9_passwords_that_are_being_verified_are_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts.toml");
    let added = manage_accounts(&accounts, &["add", "owner"], "the owner's secret\n");
    assert!(added.status.success(), "{added:?}");
    let flags = ["--login-timeout=3600", "--accounts", accounts.to_str().unwrap()];
    let server = Server::start(&[&PATIENT[..], &flags].concat());
    let mut quiet = Quiet::log_in(&server);
    let guess = |_| {
        let mut client = server.connect();
        client.send("owner a guess\nowner another guess\nowner a third");
        client
    };
    let mut guessers: Vec<Client> = (0..ATTACKERS).map(guess).collect();
    let mut seen = Seen::default();
    seen.look(&server, &mut quiet);
    // They were not done meanwhile, and are served in the end.
    let last = guessers.last_mut().unwrap();
    last.stream.set_nonblocking(true).unwrap();
    assert_eq!(last.stream.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "there was a verdict");
    last.stream.set_nonblocking(false).unwrap();
    last.expect("error wrong-password: that is not the password of owner");
    row("passwords guessed", seen.worst());
}

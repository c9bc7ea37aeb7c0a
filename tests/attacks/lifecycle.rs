//! The end of the server, in the middle of everything, and a log that goes nowhere.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::process::{Client, Process, Server, seriatim};
use crate::{PATIENT, heaviness, peak_within_bound, row, until};

/// How much of what a talker said it knows to have been processed, and what it heard.
struct Talked {
    accepted: usize,
    heard: Vec<String>,
}

/// Talks to a neighbour until the server says that it stops, and hears all that comes.
fn talk(mut client: Client, to: usize, busy: &Barrier) -> Talked {
    let mut talked = Talked { accepted: 0, heard: Vec::new() };
    let mut said = 0;
    loop {
        // Nobody is asked to stop before everybody is at it.
        if said == 100 {
            busy.wait();
        }
        let lines: String =
            (said..said + 10).map(|number| format!("talker{to}: message {number}\n")).collect();
        // What is said when the server no longer listens is nobody's loss.
        let _ = client.stream.write_all(format!("{lines}/ping\n").as_bytes());
        said += 10;
        loop {
            let line = client.line().unwrap();
            if line == "pong" {
                talked.accepted = said;
                break;
            }
            if line == "bye server shutting down" {
                return talked;
            }
            talked.heard.push(line);
        }
    }
}

#[test]
fn g10_sigterm_in_the_middle_of_everything() {
    const TALKERS: usize = 30;
    let (mut said, mut flushed, mut memory) = (0, 0, String::new());
    let times = 3 * heaviness();
    for _ in 0..times {
        let flags = [&PATIENT[..], &["--login-timeout=3600", "--drain-timeout=3600"]].concat();
        let mut server = Server::start(&flags);
        let talkers: Vec<Client> =
            (0..TALKERS).map(|number| server.log_in(&format!("talker{number}"))).collect();
        // Besides: half a name, half a line, a message that waits for somebody who does not read, resets.
        let mut stranger = server.connect();
        stranger.send_bytes(b"strang");
        let mut half = server.log_in("half");
        half.send_bytes(b"half: whole\nhalf: hal");
        half.expect("from half: whole");
        let mut laggard = server.log_in("laggard");
        server.log_in("loud").send(&format!("laggard: {}", "x".repeat(8000)));
        let busy = Barrier::new(TALKERS + 1);
        let talked: Vec<Talked> = thread::scope(|scope| {
            let busy = &busy;
            let talking = talkers.into_iter().enumerate();
            let talking = talking
                .map(|(number, client)| scope.spawn(move || talk(client, (number + 1) % TALKERS, busy)));
            let talking: Vec<_> = talking.collect();
            busy.wait();
            (0..10).for_each(|_| server.connect().reset());
            // Afterwards it may be gone at any moment.
            memory = peak_within_bound(&server.process, TALKERS as u64 + 14);
            server.terminate();
            talking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (number, Talked { heard, .. }) in talked.iter().enumerate() {
            let from = (number + TALKERS - 1) % TALKERS;
            for (number, line) in heard.iter().enumerate() {
                assert_eq!(*line, format!("from talker{from}: message {number}"), "in order, without a gap");
            }
            assert!(heard.len() >= talked[from].accepted, "what was accepted is flushed");
            said += talked[from].accepted;
            flushed += heard.len();
        }
        assert_eq!(stranger.rest(), ["bye server shutting down"]);
        assert_eq!(half.rest(), ["bye server shutting down"]);
        assert_eq!(laggard.rest().last().unwrap(), "bye server shutting down");
        drop((stranger, half, laggard));
        assert_eq!(server.wait(), Some(0));
    }
    row(
        "SIGTERM in the middle of everything",
        format!(
            "{times} times with {TALKERS} talking: {said} messages known to be accepted, {flushed} flushed in order, \
             0 lost, a `bye` for everybody, exit status 0; {memory}"
        ),
    );
}

#[test]
fn g9_sigkill_and_a_new_start_on_the_same_port_at_once() {
    let times = 10 * heaviness();
    let mut memory = String::new();
    let mut server = Server::start(&[]);
    let address = server.address;
    for _ in 0..times {
        // These stay connected to the one that is killed, with mail waiting, so that its port is still in use.
        let mut al = server.log_in("al");
        let bob = server.log_in("bob");
        al.send("bob: you will not read this");
        al.barrier();
        memory = peak_within_bound(&server.process, 2);
        server.process.signal(Signal::KILL);
        assert_eq!(server.wait(), None, "no exit status: it was killed");
        server = Server::start_on(address);
        let mut successor = server.log_in("al");
        successor.send("bob: are you here?");
        successor.expect("error no-such-peer: bob");
        // The name is free before the next asks for it: of two connections, nobody says which is heard first.
        successor.send("/quit");
        successor.expect("bye quit");
        drop((al, bob));
    }
    row("SIGKILL and a new start", format!("{times} times on the same port, which served at once; {memory}"));
}

/// A server with its log redirected by a shell, on a unix socket, since it cannot say where it listens.
fn start_unheard(redirection: &str, path: &Path) -> Process {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", &script, env!("CARGO_BIN_EXE_seriatim"), "serve"]);
    let shell = shell.arg("--listen").arg(format!("unix:{}", path.display()));
    Process(shell.stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn g9_a_log_that_cannot_be_written_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let clients = 500 * heaviness();
    let mut memory = String::new();
    let mut serves = |path: &Path, mut server: Process| {
        until("did it listen", thread::yield_now, || UnixStream::connect(path).is_ok());
        let mut al = Client::over(UnixStream::connect(path).unwrap());
        al.send("al");
        al.expect("welcome al");
        for _ in 0..clients {
            // Each is worth a line of the log.
            let mut client = Client::over(UnixStream::connect(path).unwrap());
            client.send("bob\nal: hi");
            client.end_input();
            assert_eq!(client.rest(), ["welcome bob"]);
            al.expect("from bob: hi");
        }
        memory = peak_within_bound(&server, 2);
        server.signal(Signal::TERM);
        assert_eq!(al.rest(), ["bye server shutting down"]);
        drop(al);
        assert_eq!(server.wait().code(), Some(0));
    };
    for (number, redirection) in ["2>/dev/full", "2>&-"].iter().enumerate() {
        let path = folder.path().join(number.to_string());
        serves(&path, start_unheard(redirection, &path));
    }
    // Whoever read the log is gone.
    let path = folder.path().join("unread");
    let mut server = seriatim();
    let server = server.arg("serve").arg("--listen").arg(format!("unix:{}", path.display()));
    let mut server = Process(server.stderr(Stdio::piped()).spawn().unwrap());
    drop(server.0.stderr.take());
    serves(&path, server);
    row(
        "a log that cannot be written",
        format!(
            "a full disk, a closed standard error, a pipe without a reader: {clients} clients served each, exit status 0; {memory}"
        ),
    );
}

/// Bug: while clients waited for their turns the clock was not looked at, and a shutdown took two to three times as long as it may.
#[test]
fn g10_a_shutdown_ends_in_time_under_a_flood() {
    let mut server = Server::start(&[&PATIENT[..], &["--drain-timeout=1"]].concat());
    let flood = &b"/who\n/help\nnobody, none: hi\n".repeat(4096);
    let clients: Vec<Client> = (0..64).map(|number| server.log_in(&format!("al{number}"))).collect();
    let worked = thread::scope(|scope| {
        for client in &clients {
            let (mut writer, mut reader) = (&client.stream, &client.stream);
            // Until the server goes.
            scope.spawn(move || while writer.write_all(flood).is_ok() {});
            scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        }
        let mut newcomer = server.log_in("newcomer");
        newcomer.barrier();
        let before = server.process.cpu_time();
        server.terminate();
        // The end of the log is the end of the process, and its times can be read until it is waited for.
        server.rest_of_log();
        let worked = server.process.cpu_time() - before;
        assert_eq!(server.wait(), Some(0));
        worked
    });
    // Its own processor time counts, whatever else the machine does.
    assert!(worked < Duration::from_secs(3), "{worked:?} of work behind SIGTERM, and 1 s to drain");
    row("SIGTERM under a flood", format!("{worked:.1?} of work up to the end, with 1 s to drain"));
}

/// Bug: clients that had logged in or said something while the server was stopped were told that they had not, as deadlines were
/// judged before what had arrived was read.
#[test]
fn g9_what_came_in_time_counts_though_the_server_was_stopped() {
    let server = Server::start(&["--login-timeout=1", "--idle-timeout=1"]);
    let watch = Server::start(&["--login-timeout=2"]);
    let (mut al, mut bob) = (server.connect(), server.log_in("bob"));
    server.process.signal(Signal::STOP);
    al.send("al");
    bob.send("/ping in time");
    // Both deadlines pass.
    watch.connect().expect("bye login timeout");
    let mut carol = server.connect();
    carol.send("carol");
    server.process.signal(Signal::CONT);
    al.expect("welcome al");
    bob.expect("pong in time");
    carol.expect("welcome carol");
    for client in [&mut al, &mut bob, &mut carol] {
        client.expect("bye idle");
    }
    row("a server that is stopped for two seconds", "who had said something meanwhile was heard");
}

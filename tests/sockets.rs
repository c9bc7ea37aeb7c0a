//! What only a socket shows, against the real program. `/ping` and `welcome` are the barriers; nothing sleeps.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use common::process::{Client, HANG, Server, seriatim};

fn numbered(range: std::ops::Range<usize>, to: &str) -> Vec<u8> {
    range.flat_map(|n| format!("{to}: message {n}\n").into_bytes()).collect()
}

/// The numbers of the messages in these lines, which must all be from `from`.
fn numbers<'a>(lines: impl IntoIterator<Item = &'a String>, from: &str) -> Vec<usize> {
    let head = format!("from {from}: message ");
    lines.into_iter().map(|line| line.strip_prefix(&head).expect(line).parse().expect(line)).collect()
}

#[test]
fn g6_g10_a_half_close_loses_nothing() {
    let server = Server::start(&[]);
    for _ in 0..100 {
        let mut al = server.connect();
        al.send("al");
        al.send_bytes(&numbered(0..1000, "al"));
        al.end_input();
        al.expect("welcome al");
        assert_eq!(numbers(&al.rest(), "al"), (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn g10_a_last_line_without_newline_counts() {
    let server = Server::start(&[]);
    let mut al = server.connect();
    al.send_bytes(b"al\nal: hi");
    al.end_input();
    assert_eq!(al.rest(), ["welcome al", "from al: hi"]);
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let server = Server::start(&[]);
    let mut al = server.connect();
    for byte in "al\r\nal: grüß dich\r\n/ping x\r\n".bytes() {
        al.send_bytes(&[byte]);
    }
    for line in ["welcome al", "from al: grüß dich", "pong x"] {
        al.expect(line);
    }
}

#[test]
fn g9_a_reset_harms_nobody_else() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    for _ in 0..50 {
        server.connect().reset(); // perhaps before it was accepted
        let mut greeting = server.connect();
        greeting.send_bytes(b"al");
        greeting.reset();
        let mut al = server.log_in("al");
        al.send_bytes(b"bob: whole\nbob: hal");
        bob.expect("from al: whole");
        al.reset(); // in mid-line
        // Until the reset is noticed, al is there; afterwards bob is told.
        loop {
            bob.send("al: still there?");
            bob.send("/ping x");
            let line = bob.line().unwrap();
            if line != "pong x" {
                assert_eq!(line, "error no-such-peer: al");
                bob.expect("pong x");
                break;
            }
        }
    }
    bob.barrier();
}

#[test]
fn g5_what_was_sent_before_a_reset_still_counts() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    // al never reads, and closes with its welcome unread: that resets the connection.
    let mut al = Client::connect(server.address);
    al.send_bytes(b"al\nbob: farewell\n");
    drop(al);
    bob.expect("from al: farewell");
}

#[test]
fn g6_g9_a_peer_that_never_reads_is_closed_and_nobody_waits_for_it() {
    const LINES: usize = 1000;
    let flags = ["--outbox-bytes-max=262144", "--write-timeout=off", "--flush-timeout=3600"];
    let mut server = Server::start(&flags);
    let mut laggard = server.log_in("laggard");
    let mut quiet = server.log_in("quiet");
    let mut al = server.log_in("al");
    let line = format!("laggard: {}\n", "x".repeat(8000));
    let mut told = false;
    let mut sent = 0;
    while !told {
        for _ in 0..LINES {
            al.send_bytes(line.as_bytes());
        }
        sent += LINES;
        assert!(sent < 100_000, "800 MB to a peer that never reads");
        // Neither the sender nor anybody else is held up.
        quiet.send("quiet: hello");
        quiet.expect("from quiet: hello");
        al.send("/ping x");
        loop {
            match &*al.line().unwrap() {
                "pong x" => break,
                other => assert_eq!(other, "error no-such-peer: laggard"),
            }
            told = true;
        }
    }
    assert!(server.process.resident_bytes() < 64 << 20, "{} bytes", server.process.resident_bytes());
    // Now it reads: a gap-free beginning, and then why it was closed.
    let lines = laggard.rest();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(last, "bye too slow");
    assert!(before.len() >= 262_144 / 8100 && before.len() < sent);
    assert!(before.iter().all(|line| line.len() == "from al: ".len() + 8000));
    assert!(server.wait_for_log("disconnected").contains("reason=too slow"));
}

#[test]
fn g9_a_burst_alone_makes_nobody_too_slow() {
    const LINES: usize = 4096;
    let server = Server::start(&["--outbox-bytes-max=65536"]);
    let mut bob = server.log_in("b");
    // One read of 16 KiB becomes 300 KiB for bob.
    let sender = "é".repeat(32);
    let mut al = server.log_in(&sender);
    al.send_bytes("b:x\n".repeat(LINES).as_bytes());
    for _ in 0..LINES {
        bob.expect(&format!("from {sender}: x"));
    }
    bob.barrier();
}

/// Bug: a client whose lines ask for nothing once kept the server from ever serving anybody else.
#[test]
fn g9_a_flood_of_any_sort_leaves_the_others_served() {
    let server = Server::start(&[]);
    let mut quiet = server.log_in("quiet");
    let missing: Vec<String> = (0..99).map(|n| format!("é{n}")).collect();
    for (name, flood) in [
        ("blank", "\n".repeat(1 << 20)),
        ("long", "x".repeat(1 << 20)),
        // Bug: a line to 99 who are not here once took 5 ms.
        ("missing", format!("{}: x\n", missing.join(",")).repeat(2000)),
        ("who", "/who\n".repeat(10_000)),
    ] {
        let mut flooder = server.log_in(name);
        let mut reader = flooder.stream.try_clone().unwrap();
        let reading = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut sent = Ok(());
                while !stop.load(Ordering::Relaxed) && sent.is_ok() {
                    sent = flooder.stream.write_all(flood.as_bytes());
                }
                flooder.stream.shutdown(Shutdown::Both)
            });
            for _ in 0..20 {
                quiet.barrier();
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop(reading.join());
    }
}

/// Bug: a log that nobody reads once stopped the server, when its pipe was full.
#[test]
fn g9_a_log_that_nobody_reads_stops_nobody() {
    let server = Server::start(&["--log-level=debug"]);
    let come_and_go = || {
        let mut client = server.connect();
        client.end_input();
        assert_eq!(client.line(), None);
    };
    // A pipe holds 64 KiB, in pages that whole lines do not fill to the last byte.
    let start = Instant::now();
    while server.unread_log_bytes() < 60_000 {
        assert!(start.elapsed() < HANG, "{} bytes of log", server.unread_log_bytes());
        come_and_go();
    }
    (0..500).for_each(|_| come_and_go());
    server.log_in("al").barrier();
}

#[test]
fn g10_sigterm_flushes_what_was_accepted() {
    for _ in 0..10 {
        let mut server = Server::start(&[]);
        let (mut al, mut bob) = (server.log_in("al"), server.log_in("bob"));
        al.send_bytes(&numbered(0..500, "bob"));
        al.barrier(); // these have been accepted
        al.send_bytes(&numbered(500..1000, "bob")); // these perhaps
        server.terminate();
        let lines = bob.rest();
        let (last, before) = lines.split_last().unwrap();
        assert_eq!(last, "bye server shutting down");
        let received = numbers(before, "al");
        assert!(received.len() >= 500);
        assert_eq!(received, (0..received.len()).collect::<Vec<_>>());
        assert_eq!(al.rest(), ["bye server shutting down"]);
        drop((al, bob));
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn g7_a_name_is_handed_over_300_times() {
    let server = Server::start(&[]);
    for n in 0..300 {
        let mut al = server.log_in("al");
        al.send(&format!("al: {n}"));
        al.expect(&format!("from al: {n}"));
        // Alternately: leave in order and wait for it, leave in order and do not wait, say goodbye.
        match n % 3 {
            0 => {
                al.end_input();
                assert_eq!(al.line(), None);
            }
            1 => {
                al.send("/quit");
                al.expect("bye quit");
            }
            _ => {
                al.end_input();
                drop(al);
                take_at_last(&server, "al").end_input();
                let mut al = take_at_last(&server, "al");
                al.send("/quit");
                al.expect("bye quit");
            }
        }
    }
}

/// Logs in under a name whose holder is leaving: refused until it has left, and from then on as good as any.
fn take_at_last(server: &Server, name: &str) -> Client {
    let mut client = server.connect();
    loop {
        client.send(name);
        match client.line().unwrap() {
            line if line.starts_with("error name-taken: ") => {}
            line => {
                assert_eq!(line, format!("welcome {name}"));
                break;
            }
        }
    }
    client.send(&format!("{name}: can you hear me?"));
    client.expect(&format!("from {name}: can you hear me?"));
    client
}

#[test]
fn g2_g3_everybody_sees_the_same_order() {
    const EACH: usize = 300;
    let server = Server::start(&[]);
    let names = ["al", "bob", "carol", "dave"];
    let clients: Vec<Client> = names.iter().map(|name| server.log_in(name)).collect();
    let talk = |mut client: Client| {
        let mut writer = client.stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            for n in 0..EACH {
                writer.write_all(format!("al, bob, carol, dave: message {n}\n").as_bytes()).unwrap();
            }
        });
        let lines: Vec<String> = (0..4 * EACH).map(|_| client.line().unwrap()).collect();
        writing.join().unwrap();
        lines
    };
    let talking: Vec<_> = clients.into_iter().map(|client| thread::spawn(move || talk(client))).collect();
    let seen: Vec<Vec<String>> = talking.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(seen.iter().all(|lines| lines == &seen[0]), "G3");
    for name in names {
        let head = format!("from {name}: ");
        let of_one = seen[0].iter().filter(|line| line.starts_with(&head));
        assert_eq!(numbers(of_one, name), (0..EACH).collect::<Vec<_>>(), "G2");
    }
}

#[test]
fn login_has_a_deadline() {
    let server = Server::start(&["--login-timeout=0.05"]);
    let mut late = server.connect();
    assert_eq!(late.rest(), ["bye login timeout"]);
    let mut refused = server.connect();
    refused.send("not a name");
    assert_eq!(refused.rest().last().unwrap(), "bye login timeout");
}

#[test]
fn g10_a_drain_has_a_deadline() {
    // No other deadline can end it.
    let flags = ["--flush-timeout=3600", "--write-timeout=off", "--outbox-bytes-max=134217728"];
    let mut server = Server::start(&[&["--drain-timeout=3"][..], &flags].concat());
    let (_laggard, mut al) = (server.log_in("laggard"), server.log_in("al"));
    // More than the network holds, so something is left to be flushed.
    for _ in 0..3000 {
        al.send(&format!("laggard: {}", "x".repeat(8000)));
    }
    al.barrier();
    server.terminate();
    assert_eq!(al.rest(), ["bye server shutting down"], "others are not held up");
    drop(al);
    let line = server.wait_for_log("did not read its last lines in time");
    assert!(line.contains("closed=server shutting down"), "{line}");
    let served = server.wait_for_log("served: ");
    assert!(served.contains(", 2 server shutting down, 1 given up"), "{served}");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::start(&["--drain-timeout=3600"]);
    // It stays, so the first signal alone would wait for it.
    let _al = server.log_in("al");
    server.terminate();
    server.wait_for_log("a second signal stops at once");
    server.terminate();
    assert_eq!(server.wait(), Some(128 + 15));
}

#[test]
fn unix_sockets_and_ipv6_serve_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = format!("--listen=unix:{}", path.display());
    {
        let mut server = Server::start(&[&unix, "--listen=[::1]:0"]);
        server.wait_for_log("listening on unix:");
        let line = server.wait_for_log("listening on [::1]:");
        let address = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let mut al = Client::over(UnixStream::connect(&path).unwrap());
        al.send("al");
        al.expect("welcome al");
        let mut bob = Client::connect(address);
        bob.send("bob");
        bob.expect("welcome bob");
        bob.send("al: hi");
        al.expect("from bob: hi");
        // The server is killed and leaves its socket file behind.
    }
    assert!(path.exists());
    let mut server = Server::start(&[&unix]);
    server.wait_for_log("listening on unix:");
    let mut al = Client::over(UnixStream::connect(&path).unwrap());
    al.send("al");
    al.expect("welcome al");
    server.terminate();
    assert_eq!(al.rest(), ["bye server shutting down"]);
    drop(al);
    assert_eq!(server.wait(), Some(0));
    assert!(!path.exists(), "it is removed in the end");
}

/// Bug: with a terminal for its standard error, `serve` once panicked before it listened.
#[test]
fn the_log_may_go_to_a_terminal() {
    // Without `exec` some shells stay in between and die of the Ctrl-C.
    let command = format!("exec {} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_seriatim"));
    // `script` runs it in a terminal of its own. It would not take it along if hanging up is ignored, as under `nohup`.
    let mut script = Command::new("script");
    script.env("SHELL", "/bin/sh");
    let script = script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut script) = script.spawn() else {
        return eprintln!("SKIPPED: there is no `script` to provide a terminal");
    };
    let mut log = BufReader::new(script.stdout.take().unwrap());
    let first = log.by_ref().lines().next().unwrap().unwrap();
    script.stdin.take().unwrap().write_all(b"\x03").unwrap(); // Ctrl-C
    log.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(script.wait().unwrap().code(), Some(0));
    assert!(first.contains("listening on 127.0.0.1:") && first.contains("\x1b["), "{first}");
}

/// What the program says, and its exit code.
fn refusal(arguments: &[&str]) -> (String, Option<i32>) {
    let output = seriatim().args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout.is_empty());
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[test]
fn bad_arguments_get_one_line_and_exit_code_2() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    for (arguments, culprit) in [
        (&["serve", "--listen", &busy][..], &*busy),
        (&["serve", "--listen", "nonsense"], "nonsense"),
        (&["serve", "--listen", "127.0.0.1:70000"], "127.0.0.1:70000"),
        (&["serve", "--listen", "unix:"], "unix:"),
        (&["serve", "--listen", "unix:/nonexistent/socket"], "/nonexistent/socket"),
        (&["serve", "--listen", "unix:/dev/null"], "/dev/null"),
        (&["serve", "--line-bytes-max", "3"], "--line-bytes-max"),
        (&["serve", "--login-timeout", "soon"], "soon"),
        (&["serve", "--outbox-bytes-max", "8192"], "--outbox-bytes-max"),
        (&["serve", "--connections-max", "0"], "--connections-max"),
        (&["serve", "--connections-per-address-max", "0"], "--connections-per-address-max"),
        (&["serve", "--connects-per-minute-max", "many"], "many"),
        (&["serve", "--exempt", "192.0.2.0/33"], "192.0.2.0/33"),
        (&["serve", "--idle-timeout", "never"], "never"),
        (&["serve", "--keepalive", "40000"], "--keepalive"),
        (&["serve", "--log", "xml"], "xml"),
        (&["serve", "--lisen", "x"], "--lisen"),
        (&["frobnicate"], "frobnicate"),
        (&["chat"], "NAME"),
        (&["chat", "a b"], "a b"),
        (&["chat", "al@nowhere"], "nowhere"),
    ] {
        let (said, code) = refusal(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.starts_with("seriatim: ") && said.contains(culprit), "{arguments:?}: {said}");
    }
}

#[test]
fn the_log_can_be_json() {
    let mut server = Server::start(&["--log=json"]);
    server.log_in("al").end_input();
    let line = server.wait_for_log("disconnected");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["reason"], "end of input");
}

#[test]
fn the_log_says_why_a_connection_ended_and_what_passed_through_it() {
    let mut server = Server::start(&["--log=json"]);
    let mut al = server.log_in("al");
    al.send("al: a secret");
    assert_eq!(al.line().unwrap(), "from al: a secret");
    al.send("/quit");
    assert_eq!(al.rest(), ["bye quit"]);
    let text = server.wait_for_log("disconnected");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["reason"], "quit");
    assert_eq!(line["lines_received"], 3);
    assert_eq!(line["bytes_received"], "al\nal: a secret\n/quit\n".len());
    assert_eq!(line["bytes_sent"], "welcome al\nfrom al: a secret\nbye quit\n".len());
    assert!(line["connected_ms"].is_u64(), "{text}");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

//! The core in another server than its own: the example, built without the standard server, and talked through.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::process::{Client, Process};

/// Builds the example as docs/embedding.md says, and returns where it is.
fn example() -> PathBuf {
    let build = ["build", "--quiet", "--locked", "--example", "threads", "--no-default-features"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(build).args(["--message-format", "json"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "{cargo:?}");
    let messages = String::from_utf8(built.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().expect("cargo says where the example is")
}

#[test]
fn two_clients_talk_through_the_example() {
    let mut command = Command::new(example());
    command.arg("127.0.0.1:0").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Process(command.spawn().unwrap());
    let mut said = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim_end().strip_prefix("listening on ").expect(&said).parse().unwrap();

    let mut al = Client::connect(address);
    al.send("al");
    al.expect("welcome al");
    let mut bob = Client::connect(address);
    bob.send("bob\nal, bob, carol: hello");
    bob.expect("welcome bob");
    bob.expect("from bob: hello");
    bob.expect("error no-such-peer: carol");
    al.expect("from bob: hello");

    // Who closes its side gets all that it has asked for, and its name is free again.
    al.send_bytes(b"bob: farewell\n/who");
    al.end_input();
    assert_eq!(al.rest(), ["peers 2: al, bob"]);
    bob.expect("from al: farewell");
    let mut laggard = Client::connect(address);
    laggard.send("al");
    laggard.expect("welcome al");

    // Who does not read is closed at last, and nobody waits for it.
    let line = format!("al: {}\n", "x".repeat(8000)).repeat(100);
    loop {
        bob.send_bytes(line.as_bytes());
        bob.send("/ping x");
        let heard = bob.line().unwrap();
        if heard != "pong x" {
            assert_eq!(heard, "error no-such-peer: al");
            while bob.line().unwrap() != "pong x" {}
            break;
        }
    }
    let lines = laggard.rest();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(last, "bye too slow");
    assert!(before.iter().all(|line| line.len() == "from bob: ".len() + 8000), "whole lines, without a gap");
    drop(laggard);

    bob.send("/quit");
    assert_eq!(bob.rest(), ["bye quit"]);
    let mut carol = Client::connect(address);
    carol.send("carol");
    carol.expect("welcome carol");
    carol.send("carol: last words");
    carol.expect("from carol: last words");
    drop(server.0.stdin.take());
    assert_eq!(carol.rest(), ["bye server shutting down"]);
    drop(carol);
    assert!(server.0.wait().unwrap().success());
}

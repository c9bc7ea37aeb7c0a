//! The README, run: its consoles against the real program, its session as a transcript. (Its Rust is a doctest.)

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::process::Command;

use common::process::Server;

const README: &str = include_str!("../README.md");

/// The blocks of the README fenced as `language`.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn what_the_consoles_show_is_what_happens() {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_seriatim")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let consoles = blocks("console");
    assert_eq!(consoles.len(), 2);
    for console in consoles {
        let server = Server::start(&[]);
        let (command, output) = console.split_once('\n').unwrap();
        let command = command.strip_prefix("$ ").unwrap();
        // The port is the only thing that differs from what is written.
        let port = server.address.port().to_string();
        let command = command.replace("7878", &port);
        let tool = command.split("| ").nth(1).and_then(|tool| tool.split(' ').next()).unwrap();
        if tool != "seriatim" && Command::new(tool).arg("-h").output().is_err() {
            eprintln!("SKIPPED: there is no `{tool}` here to run {command}");
            continue;
        }
        let ran = Command::new("sh").arg("-c").arg(&command).env("PATH", &path).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), output, "{command}");
        assert!(ran.status.success(), "{command}");
    }
}

#[test]
fn the_session_is_the_first_transcript() {
    let transcript = include_str!("transcripts/01_alice_and_bob.txt");
    let session = blocks("text").into_iter().find(|block| block.starts_with("alice> alice")).unwrap();
    assert!(transcript.contains(session.trim_end()), "{session}");
}

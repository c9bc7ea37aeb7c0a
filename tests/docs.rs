//! The documents, run: what stands in them as a command works, and shows what they say that it shows.
//!
//! A block fenced as `console` is run here, each command behind its `$`, and must print what follows it; `…` stands for
//! anything. Where it names port 7878, there is a server. A block fenced as `sh` is run here, in a folder of its own, unless
//! the line above says otherwise:
//! - `<!-- run by .ci/run -->`: there, in the project's folder, since it takes long;
//! - `<!-- run by .ci/run, and fails -->`: the same, and its last command must exit with 1;
//! - `<!-- not run: WHY -->`: nowhere. These are listed.
//!
//! (The README's Rust, and that of docs/embedding.md, are doctests.)

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::process::{HANG, Server};

/// A fenced block of a document.
struct Block {
    /// The document and the line, for whoever has to look.
    place: String,
    language: String,
    /// What the line above says of it, if that is a comment.
    mark: String,
    text: String,
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|file| file.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut all: Vec<PathBuf> = docs.chain([root.join("README.md"), root.join("SECURITY.md")]).collect();
    all.sort();
    all
}

fn blocks() -> Vec<Block> {
    documents().iter().flat_map(|path| blocks_of(path)).collect()
}

fn blocks_of(path: &Path) -> Vec<Block> {
    let (mut blocks, mut open, mut mark) = (Vec::new(), None::<Block>, "");
    let text = fs::read_to_string(path).unwrap();
    for (number, line) in text.lines().enumerate() {
        match (open.take(), line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let place = format!("{}:{}", path.file_name().unwrap().display(), number + 1);
                let (language, mark) = (language.to_owned(), mark.to_owned());
                open = Some(Block { place, language, mark, text: String::new() });
            }
            (Some(block), Some("")) => blocks.push(block),
            (Some(mut block), _) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
        mark = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")).unwrap_or_default();
    }
    assert!(open.is_none(), "{}: a block has no end", path.display());
    blocks
}

/// Runs a script as a reader would who has the programs, and returns what it printed.
fn run(shell: &[&str], script: &str, folder: &Path) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_seriatim")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // What does not end is ended, with all that it started.
    let mut command = Command::new("timeout");
    command
        .arg(HANG.as_secs().to_string())
        .args(shell)
        .arg(script)
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Whether the text is as expected, where each `…` stands for anything.
fn matches(text: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let found = if parts.peek().is_some() { rest.find(part) } else { rest.rfind(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn what_the_consoles_show_is_what_happens() {
    let mut ran = 0;
    for block in blocks().iter().filter(|block| block.language == "console") {
        let server = block.text.contains("7878").then(|| Server::start(&[]));
        // The port is the only thing that differs from what is written.
        let port =
            server.as_ref().map_or_else(|| "7878".to_owned(), |server| server.address.port().to_string());
        let folder = tempfile::tempdir().unwrap();
        let text = block.text.replace("7878", &port);
        let commands = text.strip_prefix("$ ").expect(&block.place).split("\n$ ");
        for command in commands {
            let (command, expected) = command.split_once('\n').unwrap_or((command, ""));
            if command.contains("| nc ") && Command::new("nc").arg("-h").output().is_err() {
                eprintln!("SKIPPED: there is no `nc` here to run {command}");
                continue;
            }
            let Output { status, stdout, .. } = run(&["sh", "-c"], command, folder.path());
            let printed = String::from_utf8(stdout).unwrap();
            assert!(status.success(), "{}: {command}", block.place);
            assert!(
                matches(printed.trim_end(), expected.trim_end()),
                "{}: {command} printed\n{printed}",
                block.place
            );
            ran += 1;
        }
    }
    assert!(ran >= 2, "only {ran} commands were found");
}

#[test]
fn commands_work_or_it_is_said_why_they_are_not_run() {
    for block in blocks() {
        let Block { place, language, mark, text } = block;
        match (language.as_str(), mark.as_str()) {
            ("sh", "run by .ci/run" | "run by .ci/run, and fails") => {}
            ("sh", mark) if mark.starts_with("not run: ") => {
                let first = text.lines().next().unwrap_or_default();
                println!("{mark} ({place}: {first})");
            }
            ("sh", "") => {
                let folder = tempfile::tempdir().unwrap();
                let Output { status, stderr, .. } = run(&["sh", "-euc"], &text, folder.path());
                assert!(status.success(), "{place}: {}", String::from_utf8_lossy(&stderr));
            }
            ("sh", mark) => panic!("{place}: nobody knows what {mark:?} means"),
            // Not to be run, or run by others.
            ("text" | "ini" | "toml" | "yaml" | "rust" | "console" | "json", _) => {}
            (other, _) => panic!("{place}: commands are fenced as sh or console, what is {other:?}?"),
        }
    }
}

#[test]
fn what_ci_is_said_to_run_it_runs() {
    let ci = include_str!("../.ci/run");
    assert!(ci.contains("step documented"), ".ci/run runs what the documents say that it runs");
}

#[test]
fn the_session_is_the_first_transcript() {
    let transcript = include_str!("transcripts/01_alice_and_bob.txt");
    let blocks = blocks_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let is_session = |block: &&Block| block.language == "text" && block.text.starts_with("alice> alice");
    let session = &blocks.iter().find(is_session).unwrap().text;
    assert!(transcript.contains(session.trim_end()), "{session}");
}

#[test]
fn the_tests_that_hold_the_guarantees_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let is_test =
        |name: &&str| name.len() > 4 && name.starts_with('g') && name.as_bytes()[1].is_ascii_digit();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 20, "{named:?}");
    let sources = sources_under(&root.join("tests")) + &sources_under(&root.join("src"));
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

/// All Rust there is in a folder, as one text.
fn sources_under(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let read = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources_under(&path),
        Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap(),
        _ => String::new(),
    };
    paths.map(read).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_here = file.is_empty() || file.contains("://") || path.with_file_name(file).exists();
            assert!(is_here, "{}: {link}", path.display());
        }
    }
}

#[test]
fn dots_stand_for_anything() {
    for (text, expected) in
        [("a", "a"), ("abc", "a…c"), ("ac", "a…c"), ("a1b2c", "a…b…c"), ("", "…"), ("x\ny", "…y")]
    {
        assert!(matches(text, expected), "{text:?} {expected:?}");
    }
    for (text, expected) in [("a", "b"), ("ab", "a"), ("abd", "a…c"), ("acb", "a…b…c"), ("ab", "b…")]
    {
        assert!(!matches(text, expected), "{text:?} {expected:?}");
    }
}

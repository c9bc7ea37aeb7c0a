//! Every file of the fuzzers' corpora, through the very functions that the fuzzers call.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};
use targets::common::transcript::{Action, Transcript};
use targets::{TARGETS, draft, seeds};

fn transcripts() -> Vec<(String, Transcript)> {
    seeds::transcripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")).unwrap()
}

/// The files of a corpus, in the order of their names.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_corpus_file_passes() {
    for (target, run) in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 10, "the corpus of {target} is here");
        for file in files {
            println!("{}", file.display()); // the last one is the one that fails
            run(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_seed_passes() {
    for (target, name, bytes) in seeds::seeds(&transcripts()) {
        println!("{target}: {name}");
        let run = TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
        run(&bytes);
    }
}

fn read<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(bytes)).unwrap()
}

#[test]
fn a_seed_is_read_as_it_was_written() {
    for (name, transcript) in transcripts() {
        let traffic = seeds::traffic(&transcript);
        assert_eq!(read::<targets::session::Traffic>(&seeds::encode_traffic(&traffic)), traffic, "{name}");
        let lines = seeds::spelled(&transcript);
        let history = seeds::history(&transcript, &lines);
        assert_eq!(read::<Vec<targets::step::Fact>>(&seeds::encode_history(&history)), history, "{name}");
    }
}

#[test]
fn an_input_can_be_written_as_a_transcript() {
    let placed = |transcript: &Transcript| {
        !transcript.accounts.is_empty()
            || transcript.steps.iter().any(|step| {
                matches!(
                    step.action,
                    Action::Connect(..)
                        | Action::Close(_)
                        | Action::Kick(_)
                        | Action::Ban(_)
                        | Action::Unban(_)
                        | Action::Restart
                )
            })
    };
    for (name, transcript) in transcripts() {
        if placed(&transcript) {
            continue; // an input does not say where clients come from, nor who has an account
        }
        let traffic = seeds::traffic(&transcript);
        let draft = Transcript::parse(&draft::of_traffic(&traffic));
        assert_eq!(seeds::traffic(&draft), traffic, "{name}");
        let lines = seeds::spelled(&transcript);
        let history = seeds::history(&transcript, &lines);
        let draft = Transcript::parse(&draft::of_history(&history));
        let lines = seeds::spelled(&draft);
        assert_eq!(seeds::history(&draft, &lines), history, "{name}");
    }
}

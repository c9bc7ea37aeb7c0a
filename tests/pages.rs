//! Completions and manual pages, read by those for whom they are made.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::process::seriatim;

/// What it prints, which must succeed and complain of nothing.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success() && stderr.is_empty(), "{command:?}: {status}, {stdout}{stderr}");
    stdout
}

/// Whether the tool is here. Without it, what it would have read is not looked at.
fn is_here(tool: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", tool]).status().unwrap().success();
    if !found {
        eprintln!("SKIPPED: there is no `{tool}` here");
    }
    found
}

/// Runs the tool on this standard input.
fn fed(command: &mut Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success() && stderr.is_empty(), "{command:?}: {status}, {stderr}");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    if !is_here("bash") {
        return;
    }
    let script = printed(seriatim().args(["completions", "bash"]));
    for (words, expected) in [
        ("seriatim se", "serve"),
        ("seriatim ch", "chat"),
        ("seriatim serve --recip", "--recipients-max"),
        ("seriatim serve --log ", "json\ntext"),
        ("seriatim completions fi", "fish"),
    ] {
        // As bash does when the tab key is pressed: the words, which of them it is, and the answer in COMPREPLY.
        let script = format!(
            "{script}\nread -r -a COMP_WORDS <<<'{words}'\n[[ '{words}' != *' ' ]] || COMP_WORDS+=('')\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _seriatim seriatim \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let completed = fed(Command::new("bash").args(["--norc", "--noprofile"]), &script);
        assert_eq!(completed.trim_end(), expected, "{words}");
    }
}

#[test]
fn other_shells_can_read_theirs() {
    for shell in ["zsh", "fish"] {
        let script = printed(seriatim().args(["completions", shell]));
        assert!(
            script.contains("seriatim") && script.contains("serve") && script.contains("outbox-bytes-max")
        );
        if is_here(shell) {
            fed(Command::new(shell).arg("-n"), &script);
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    printed(seriatim().arg("man").arg(folder.path()));
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "seriatim-account-add.1",
            "seriatim-account-list.1",
            "seriatim-account-passwd.1",
            "seriatim-account-remove.1",
            "seriatim-account.1",
            "seriatim-chat.1",
            "seriatim-completions.1",
            "seriatim-config-check.1",
            "seriatim-config-default.1",
            "seriatim-config-show.1",
            "seriatim-config.1",
            "seriatim-ctl-ban.1",
            "seriatim-ctl-drain.1",
            "seriatim-ctl-kick.1",
            "seriatim-ctl-peers.1",
            "seriatim-ctl-reload.1",
            "seriatim-ctl-stats.1",
            "seriatim-ctl-unban.1",
            "seriatim-ctl.1",
            "seriatim-man.1",
            "seriatim-serve.1",
            "seriatim.1"
        ]
    );
    for name in names {
        let path = folder.path().join(name);
        is_well_formed(&path);
        if is_here("man") {
            let shown = printed(
                Command::new("man")
                    .arg("-l")
                    .arg(&path)
                    .env("MANPAGER", "cat")
                    .env("MAN_KEEP_FORMATTING", ""),
            );
            assert!(shown.contains("NAME") && shown.contains("SYNOPSIS"), "{shown}");
        }
    }
    let serve = std::fs::read_to_string(folder.path().join("seriatim-serve.1")).unwrap();
    assert!(serve.contains("Serve clients until SIGINT or SIGTERM") && serve.contains("1048576"));
}

/// `mandoc` complains of nothing but empty lines too many.
fn is_well_formed(page: &Path) {
    if is_here("mandoc") {
        let ran = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(page).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        let complaints: Vec<&str> =
            said.lines().filter(|line| !line.contains("WARNING: skipping paragraph macro: ")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn the_first_page_is_printed_without_a_folder() {
    let page = printed(seriatim().arg("man"));
    assert!(page.contains(".TH seriatim 1 ") && page.contains("seriatim\\-serve(1)"), "{page}");
    assert!(!page.contains("seriatim\\-help"), "of that there is no page");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let ran = seriatim().args(["man", "/dev/null/pages"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.starts_with("seriatim: cannot write manual pages to /dev/null/pages: "), "{said}");
    assert_eq!(said.lines().count(), 1);
}

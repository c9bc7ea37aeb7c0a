//! Where the settings of a server may stand, with the real program.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use common::process::{Server, seriatim};
use tempfile::TempDir;

/// A file of settings that goes with its test.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seriatim.toml");
    fs::write(&path, text).unwrap();
    File { _directory: directory, path }
}

fn config(arguments: &[&str]) -> Output {
    seriatim().arg("config").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_server_is_configured_by_a_file() {
    let file = file("listen = [\"127.0.0.1:0\"]\nline-bytes-max = 1_000\nidle-timeout = \"off\"\n");
    let mut server = Server::spawn(seriatim().args(["serve", "--config"]).arg(&file.path));
    assert!(server.wait_for_log("limits").contains("line_bytes_max=1000"));
    server.log_in("al").barrier();
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let file = file("line-bytes-max = 100\nrecipients-max = 10\nconnections-max = 1000\n");
    let mut show = seriatim();
    show.args(["config", "show", "--line-bytes-max=300", "--config"]).arg(&file.path);
    show.env("SERIATIM_LINE_BYTES_MAX", "200").env("SERIATIM_RECIPIENTS_MAX", "20");
    let shown = said(&show.output().unwrap());
    for line in [
        "line-bytes-max = 300 # command line",
        "recipients-max = 20 # SERIATIM_RECIPIENTS_MAX",
        &format!("connections-max = 1000 # {}:3", file.path.display()),
        "log = \"text\" # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
}

#[test]
fn the_environment_may_name_the_file_and_list_several_values() {
    let file = file("log = \"json\"\n");
    let mut show = seriatim();
    show.args(["config", "show"]).env("SERIATIM_CONFIG", &file.path);
    show.env("SERIATIM_LISTEN", "127.0.0.1:1, unix:/tmp/socket");
    let shown = said(&show.output().unwrap());
    assert!(
        shown.contains("listen = [\"127.0.0.1:1\", \"unix:/tmp/socket\"] # SERIATIM_LISTEN\n"),
        "{shown}"
    );
    assert!(shown.contains("log = \"json\" # "), "{shown}");
}

/// What `config default` prints, with its defaults set: that must change nothing.
#[test]
fn the_file_of_all_settings_is_in_order() {
    let template = said(&config(&["default"]));
    let is_set = |line: &str| line.starts_with('#') && !line.starts_with("# ") && !line.ends_with("= ");
    let lines = template.lines().map(|line| if is_set(line) { &line[1..] } else { line });
    let file = file(&lines.collect::<Vec<_>>().join("\n"));
    let path = file.path.to_str().unwrap();
    assert_eq!(said(&config(&["check", "--config", path])), "the configuration is in order\n");
    let without_origin = |text: String| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    let shown = without_origin(said(&config(&["show"])));
    assert_eq!(without_origin(said(&config(&["show", "--config", path]))), shown);
    assert!(shown.len() > 15 && shown.iter().any(|line| line == "line-bytes-max = 8192"), "{shown:?}");
    // And what is shown is such a file itself.
    fs::write(path, shown.join("\n")).unwrap();
    said(&config(&["check", "--config", path]));
}

#[test]
fn a_mistake_is_told_in_one_line_with_its_place() {
    for (text, complaint) in [
        (
            "\nline-byte-max = 100\n",
            ":2: there is no setting \"line-byte-max\", did you mean \"line-bytes-max\"?",
        ),
        ("colour = 1\n", ":1: there is no setting \"colour\", see: seriatim config default"),
        ("line-bytes-max = 5\n", ":1: line-bytes-max: \"5\": 5 is not in 16..=1048576"),
        ("log = \"xml\"\n", ":1: log: \"xml\": [possible values: json, text]"),
        ("line-bytes-max = [100, 200]\n", ":1: line-bytes-max: one value is expected, not 2"),
        ("listen = [[\"127.0.0.1:0\"]]\n", ":1: listen: a list in a list is no value here"),
        ("listen = [\"127.0.0.1:0\", \"there\"]\n", ":1: listen: \"there\": expected HOST:PORT"),
        ("[limits]\nline-bytes-max = 100\n", ":1: there is no setting \"limits\""),
        ("log = \"text\"\nlog = \"json\"\n", ":2: duplicate key"),
        ("log = \"text\"\nlog json\n", ":2: "),
        ("outbox-bytes-max = 4096\n", "--outbox-bytes-max 4096 is too small"),
        ("config = \"other.toml\"\n", ":1: there is no setting \"config\""),
    ] {
        let file = file(text);
        for command in [&["serve"][..], &["config", "check"], &["config", "show"]] {
            if text.starts_with("outbox") && command != ["config", "check"] {
                continue; // it is only wrong beside another setting, and show shows that
            }
            let output = seriatim().args(command).arg("--config").arg(&file.path).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{text}: {said}");
            assert!(said.starts_with("seriatim: ") && said.lines().count() == 1, "{text}: {said}");
            assert!(said.contains(complaint), "{text}: {said}");
            assert!(!complaint.starts_with(':') || said.contains(file.path.to_str().unwrap()), "{said}");
        }
    }
}

#[test]
fn a_mistake_in_the_environment_and_a_missing_file_are_told() {
    for (variable, value, complaint) in [
        (
            "SERIATIM_LOGIN_TIMEOUT",
            "soon",
            "SERIATIM_LOGIN_TIMEOUT: login-timeout: \"soon\": expected a number",
        ),
        ("SERIATIM_CONFIG", "/nonexistent", "cannot read /nonexistent: "),
    ] {
        let output = seriatim().args(["config", "check"]).env(variable, value).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("seriatim: {complaint}")) && said.lines().count() == 1, "{said}");
    }
}

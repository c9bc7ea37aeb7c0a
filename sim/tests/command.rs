//! The command as whoever types it sees it: what it says, where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The command with these arguments.
fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seriatim-sim")).args(arguments).output().unwrap()
}

/// A place for a file of one test.
fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The one line in which the command refuses what it is given.
fn refusal(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = sim(arguments);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!((stdout.len(), said.matches('\n').count()), (0, 1), "{arguments:?}: {said}");
    said.strip_prefix("seriatim-sim: ").unwrap().trim_end().to_owned()
}

/// A record in which a client does this and some more is said of the scenario.
fn record(scenario: &str, ops: &str) -> String {
    format!(
        r#"{{"version":2,"rule":"G5","picks":[],"scenario":{{"clients":[{{"ops":["Connect",{ops}]}}]{scenario}}}}}"#
    )
}

/// What of a record makes no sense.
fn nonsense(name: &str, scenario: &str, ops: &str) -> String {
    let path = place(name);
    fs::write(&path, record(scenario, ops)).unwrap();
    let said = refusal(&["replay", path.to_str().unwrap()]);
    let said = said.strip_prefix(&format!("{} makes no sense: ", path.display()));
    said.expect("a record that can be read").to_owned()
}

#[test]
fn what_is_no_record_is_refused_in_one_line() {
    let path = place("no-record.json");
    let name = path.to_str().unwrap();
    let fine = record("", "\"Who\"");
    let cut_off = &fine[..fine.len() / 2];
    let of_version = |version: &str| fine.replace("\"version\":2", &format!("\"version\":{version}"));
    let table: [(Vec<u8>, &str); 14] = [
        (b"\xff\xfe".to_vec(), "cannot read NAME: stream did not contain valid UTF-8"),
        (Vec::new(), "NAME is not a recorded run: EOF while parsing a value at line 1 column 0"),
        (b"42".to_vec(), "NAME is not a recorded run: invalid type: integer `42`, expected struct Version"),
        (b"[]".to_vec(), "NAME is not a recorded run: invalid length 0"),
        (b"{}".to_vec(), "NAME is not a recorded run: missing field `version`"),
        (cut_off.into(), "NAME is not a recorded run: EOF while parsing"),
        (of_version("1").into(), "NAME is of version 1, this program reads 2"),
        (of_version("3").into(), "NAME is of version 3, this program reads 2"),
        (of_version("\"2\"").into(), "NAME is not a recorded run: invalid type: string \"2\""),
        (of_version("-1").into(), "NAME is not a recorded run: invalid value: integer `-1`"),
        ((fine.clone() + " {}").into(), "NAME is not a recorded run: trailing characters"),
        (fine.replace("Who", "Whom").into(), "NAME is not a recorded run: unknown variant `Whom`"),
        (record("", "{\"Sleep\":-1}").into(), "NAME is not a recorded run: invalid value: integer `-1`"),
        (fine.replace("[]", "[-1]").into(), "NAME is not a recorded run: invalid value: integer `-1`"),
    ];
    for (content, expected) in table {
        fs::write(&path, content).unwrap();
        for command in ["replay", "shrink"] {
            let said = refusal(&[command, name]);
            let expected = expected.replace("NAME", name);
            assert!(said.starts_with(&expected), "{said}, not {expected}");
        }
    }
    let folder = env!("CARGO_TARGET_TMPDIR");
    let missing = place("missing.json");
    let missing = missing.to_str().unwrap();
    assert!(refusal(&["replay", folder]).starts_with(&format!("cannot read {folder}: ")));
    assert!(refusal(&["replay", missing]).starts_with(&format!("cannot read {missing}: ")));
}

#[test]
fn a_field_that_nobody_knows_is_refused_wherever_it_stands() {
    let path = place("unknown-field.json");
    let name = path.to_str().unwrap();
    let fine = record("", "\"Who\"");
    for content in [
        fine.replace("\"version\"", "\"more\":1,\"version\""),
        record(r#","more":1"#, "\"Who\""),
        record(r#","limits":{"more":1}"#, "\"Who\""),
        record(r#","stop":{"at":{"Ms":1},"again_after_ms":null,"more":1}"#, "\"Who\""),
        record(r#","orders":[{"at":{"Ms":1},"what":{"Ban":0},"more":1}]"#, "\"Who\""),
        record(r#","faults":{"more":1}"#, "\"Who\""),
        record("", r#"{"Ping":{"wait":true,"more":1}}"#),
        fine.replace("\"ops\"", "\"more\":1,\"ops\""),
    ] {
        fs::write(&path, &content).unwrap();
        let said = refusal(&["replay", name]);
        assert!(said.starts_with(&format!("{name} is not a recorded run: unknown field `more`")), "{said}");
    }
    fs::write(&path, fine).unwrap();
    assert_eq!(sim(&["replay", name]).status.code(), Some(0));
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let file = |scenario: &str, ops: &str| nonsense("no-sense.json", scenario, ops);
    for (scenario, expected) in [
        (r#","listeners":18446744073709551615"#, "listeners is 18446744073709551615, not from 0 to 64"),
        (r#","origins":513"#, "origins is 513, not from 0 to 512"),
        (r#","limits":{"line_bytes_max":0}"#, "limits.line_bytes_max is 0, not from 128 to 1048576"),
        (
            r#","limits":{"line_bytes_max":18446744073709551615}"#,
            "limits.line_bytes_max is 18446744073709551615, not from 128 to 1048576",
        ),
        (
            r#","limits":{"drain_ms_max":18446744073709551615}"#,
            "limits.drain_ms_max is 18446744073709551615, not from 0 to 315360000000",
        ),
        (
            r#","stop":{"at":{"Event":1},"again_after_ms":18446744073709551615}"#,
            "stop.again_after_ms is 18446744073709551615, not from 0 to 315360000000",
        ),
        (r#","faults":{"until_ms":9,"reset":1001}"#, "faults.reset is 1001, not from 0 to 1000"),
        (r#","accounts":["/al"]"#, r#"accounts: the name "/al" is a command"#),
        (r#","orders":[{"at":{"Ms":0},"what":{"Kick":""}}]"#, r#"orders: the name "" is empty"#),
    ] {
        assert_eq!(file(scenario, "\"Who\""), expected);
    }
    let log_in = |name: &str| format!(r#"{{"LogIn":{{"name":"{name}","insist":false}}}}"#);
    let tell = |to: &str| format!(r#"{{"Tell":{{"to":[{to}],"bytes":0}}}}"#);
    let a_lot = r#"{"Say":{"to":["al"],"bytes":18446744073709551615}},"#.repeat(40_000);
    let long = "x".repeat(9_000);
    for (ops, expected) in [
        (log_in(r"a\nb: c"), r#"client 0: the name "a\nb: c" has control characters"#.to_owned()),
        (log_in("a: b"), r#"client 0: the name "a: b" has a comma or a colon"#.to_owned()),
        (log_in(" al"), r#"client 0: the name " al" has blanks around it"#.to_owned()),
        (log_in(""), r#"client 0: the name "" is empty"#.to_owned()),
        (log_in(&long), format!("client 0: the name {long:?} does not fit into a line")),
        (
            log_in("Stra\u{df}e") + "," + &log_in("strasse"),
            r#"the name "strasse" is there in another spelling, which the judge does not know"#.to_owned(),
        ),
        (tell(""), "client 0: a message to nobody".to_owned()),
        (tell(r#""~0.1""#), r#"client 0: the name "~0.1" is a receipt"#.to_owned()),
        (tell(&vec!["\"al\""; 3_000].join(",")), "client 0: 3000 names do not fit into a line".to_owned()),
        (
            r#"{"Sleep":18446744073709551615}"#.to_owned(),
            "client 0: its sleep in ms is 18446744073709551615, not from 0 to 315360000000".to_owned(),
        ),
        (
            a_lot.trim_end_matches(',').to_owned(),
            "what clients write, in bytes to each recipient, is 655360064, not from 0 to 268435456"
                .to_owned(),
        ),
    ] {
        assert_eq!(file("", &ops), expected);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_anything_is_run() {
    let nowhere = place("no-such-folder/failing.json");
    let nowhere = nowhere.to_str().unwrap();
    let cannot = format!("cannot write {nowhere}: No such file or directory (os error 2)");
    assert_eq!(refusal(&["explore", "--seeds", "1", "--to", nowhere]), cannot);
    assert_eq!(refusal(&["shrink", "7", "--to", nowhere]), cannot);
    let one = place("one.html");
    let one = one.to_str().unwrap();
    let said = refusal(&["explore", "--seeds", "1", "--to", one]);
    assert_eq!(said, format!("{one}: the record and the page are two files"));
    // Nothing is left of having tried, and what was there stays.
    let (record, page) = (place("kept.json"), place("kept.html"));
    fs::write(&page, "a page").unwrap();
    let said = refusal(&["shrink", "7", "--to", record.to_str().unwrap()]);
    assert_eq!(said, "7 breaks no rule, there is nothing to shrink");
    assert!(!record.exists());
    assert_eq!(fs::read_to_string(page).unwrap(), "a page");
}

#[test]
fn numbers_out_of_their_bounds_are_refused() {
    for arguments in [
        ["explore", "--threads", "0"],
        ["explore", "--threads", "100000000"],
        ["explore", "--minutes", "18446744073709551615"],
        ["explore", "--minutes", "0"],
        ["explore", "--seeds", "-1"],
        ["soak", "--seconds", "18446744073709551615"],
        ["bugs", "--part", "4/4"],
    ] {
        let Output { status, stderr, .. } = sim(&arguments);
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
        let culprit = format!("error: invalid value '{}' for '{}", arguments[2], arguments[1]);
        assert!(said.starts_with(&culprit) || said.contains("unexpected argument '-1'"), "{said}");
    }
    let last = u64::MAX.to_string();
    let record = place("last.json");
    let Output { status, stdout, .. } =
        sim(&["explore", "--from", &last, "--seeds", "10", "--to", record.to_str().unwrap()]);
    let said = String::from_utf8(stdout).unwrap();
    assert!(status.success() && said.starts_with("1 seed, "), "{said}");
}

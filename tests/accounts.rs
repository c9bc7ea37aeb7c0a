//! Names that are reserved, with the real program.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::process::{Server, complaint, manage_accounts, seriatim};
use rustix::process::Signal;
use tempfile::TempDir;

/// A file of accounts that goes with its test.
struct Accounts {
    _directory: TempDir,
    path: PathBuf,
}

impl Accounts {
    /// With these accounts, each with NAME's secret as its password.
    fn new(names: &[&str]) -> Accounts {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.toml");
        let accounts = Accounts { _directory: directory, path };
        for name in names {
            let output = accounts.manage(&["add", name], &format!("{name}'s secret\n"));
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        accounts
    }

    /// `seriatim account` with these arguments and this standard input.
    fn manage(&self, arguments: &[&str], input: &str) -> Output {
        manage_accounts(&self.path, arguments, input)
    }

    fn serve(&self, flags: &[&str]) -> Server {
        Server::start(&[&["--accounts", self.path.to_str().unwrap()], flags].concat())
    }
}

#[test]
fn a_reserved_name_needs_its_password() {
    let accounts = Accounts::new(&["alice", "Zoë"]);
    let mut server = accounts.serve(&[]);
    let mut alice = server.connect();
    for (line, answer) in [
        ("alice", "error name-reserved: alice is reserved, log in as: NAME PASSWORD"),
        ("ALICE", "error name-reserved: ALICE is reserved, log in as: NAME PASSWORD"),
        ("alice wrong", "error wrong-password: that is not the password of alice"),
        ("bob secret", "error no-such-account: bob has no account here, a name alone has no white space"),
        ("alice alice's secret", "welcome alice"),
    ] {
        alice.send(line);
        alice.expect(answer);
    }
    let mut bob = server.log_in("bob");
    let mut other = server.connect();
    other.send("zoë Zoë's secret");
    other.expect("welcome zoë");
    let mut second = server.connect();
    second.send("alice alice's secret");
    second.expect("error name-taken: alice is taken, choose another name");
    bob.send("alice, zoë: hello");
    alice.expect("from bob: hello");
    other.expect("from bob: hello");
    server.terminate();
    let log = server.rest_of_log();
    assert!(!log.contains("secret") && !log.contains("wrong"), "{log}");
}

#[test]
fn what_comes_behind_a_login_waits_for_it_in_order() {
    let accounts = Accounts::new(&["alice"]);
    let server = accounts.serve(&[]);
    let mut bob = server.log_in("bob");
    let mut alice = server.connect();
    // A wrong password, then the right one, then a message, and the end: all in one piece.
    alice.send_bytes(b"alice wrong\nalice alice's secret\nbob: one\nbob: two\n/ping x");
    alice.end_input();
    let lines = alice.rest();
    assert_eq!(lines, ["error wrong-password: that is not the password of alice", "welcome alice", "pong x"]);
    bob.expect("from alice: one");
    bob.expect("from alice: two");
}

#[test]
fn only_accounts_may_log_in_if_so_required() {
    let accounts = Accounts::new(&["alice"]);
    let server = accounts.serve(&["--require-account"]);
    let mut alice = server.connect();
    alice.send("bob");
    alice.expect("error account-required: only accounts may log in, as: NAME PASSWORD");
    alice.send("alice alice's secret");
    alice.expect("welcome alice");
}

#[test]
fn guesses_take_longer_and_longer() {
    let accounts = Accounts::new(&["alice"]);
    let mut server = accounts.serve(&["--exempt=none", "--login-timeout=2"]);
    let mut guesser = server.connect();
    // 0 + 250 + 500 + 1000 ms: the fifth comes too late for the login.
    for number in 0..8 {
        guesser.send(&format!("alice guess{number}"));
    }
    let lines = guesser.rest();
    let (last, wrong) = lines.split_last().unwrap();
    assert_eq!(last, "bye login timeout");
    assert!((1..=4).contains(&wrong.len()), "{lines:?}");
    assert!(wrong.iter().all(|line| line.starts_with("error wrong-password: ")), "{lines:?}");
    assert!(server.wait_for_log("disconnected").contains("login timeout"));
}

#[test]
fn the_chat_client_gives_a_password() {
    let accounts = Accounts::new(&["alice"]);
    let server = accounts.serve(&[]);
    let file = accounts.path.with_file_name("password");
    let chat = |password: Option<&str>| {
        let mut chat = seriatim();
        chat.args(["chat", &format!("alice@{}", server.address)]).stdin(Stdio::null());
        if let Some(password) = password {
            fs::write(&file, password).unwrap();
            chat.arg("--password-file").arg(&file);
        }
        let output = chat.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code())
    };
    let (said, why, code) = chat(Some("alice's secret\n"));
    assert_eq!((&*said, &*why, code), ("welcome alice\nbye quit\n", "", Some(0)));
    let (_, why, code) = chat(Some("wrong\n"));
    let wrong = "seriatim: cannot log in: error wrong-password: that is not the password of alice\n";
    assert_eq!((&*why, code), (wrong, Some(1)));
    let (_, why, code) = chat(None);
    let reserved =
        "seriatim: cannot log in: error name-reserved: alice is reserved, log in as: NAME PASSWORD\n";
    assert_eq!((&*why, code), (reserved, Some(1)));
    fs::remove_file(&file).unwrap();
    let output = seriatim().args(["chat", "alice", "--password-file"]).arg(&file).output().unwrap();
    assert!(complaint(&output).contains("cannot read the password in"));
}

#[test]
fn accounts_are_read_again_at_sighup() {
    let accounts = Accounts::new(&["alice"]);
    let mut server = accounts.serve(&[]);
    let mut carol = server.log_in("carol");
    assert_eq!(accounts.manage(&["add", "carol"], "new\n").status.code(), Some(0));
    assert_eq!(accounts.manage(&["remove", "alice"], "").status.code(), Some(0));
    server.process.signal(Signal::HUP);
    server.wait_for_log("reloaded the accounts");
    carol.barrier(); // who is here stays
    server.log_in("alice");
    let mut other = server.connect();
    other.send("carol");
    other.expect("error name-reserved: carol is reserved, log in as: NAME PASSWORD");
    // A file that is not in order changes nothing.
    fs::write(&accounts.path, "[[account]]\nname = \"dave\"\n").unwrap();
    server.process.signal(Signal::HUP);
    let line = server.wait_for_log("cannot reload");
    assert!(line.contains("accounts.toml:1: missing field `password`"), "{line}");
    other.send("carol new");
    other.expect("error name-taken: carol is taken, choose another name");
}

#[test]
fn the_file_is_managed() {
    let accounts = Accounts::new(&["bob", "alice"]);
    let mode = fs::metadata(&accounts.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for the owner alone");
    assert_eq!(accounts.manage(&["list"], "").stdout, b"alice\nbob\n");
    let text = fs::read_to_string(&accounts.path).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("secret"), "{text}");
    assert_eq!(accounts.manage(&["passwd", "alice"], "another\n").status.code(), Some(0));
    assert_eq!(accounts.manage(&["remove", "BOB"], "").status.code(), Some(0));
    assert_eq!(accounts.manage(&["list"], "").stdout, b"alice\n");
    let server = accounts.serve(&[]);
    let mut alice = server.connect();
    alice.send("alice another");
    alice.expect("welcome alice");
}

#[test]
fn two_who_change_the_file_at_once_both_do() {
    let accounts = Accounts::new(&[]);
    let names: Vec<String> = (0..8).map(|number| format!("peer{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let path = &accounts.path;
            scope.spawn(move || {
                assert_eq!(manage_accounts(path, &["add", name], "x\n").status.code(), Some(0));
            });
        }
    });
    let listed = String::from_utf8(accounts.manage(&["list"], "").stdout).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
}

#[test]
fn mistakes_are_told_in_one_line() {
    let accounts = Accounts::new(&["alice"]);
    for (arguments, input, culprit) in [
        (&["add", "alice"][..], "x\n", "alice has an account already"),
        (&["add", "ALICE"], "x\n", "has an account already"),
        (&["add", "bob"], "\n", "at least one character"),
        (&["add", "bob"], " x\n", "white space"),
        (&["add", "bob"], "x:\n", "colon"),
        (&["add", "b b"], "x\n", "b b"),
        (&["passwd", "bob"], "x\n", "bob has no account"),
        (&["remove", "bob"], "", "bob has no account"),
        (&["frobnicate"], "", "frobnicate"),
    ] {
        let said = complaint(&accounts.manage(arguments, input));
        assert!(said.contains(culprit), "{arguments:?}: {said}");
    }
    let serve = |text: &str, culprit: &str| {
        fs::write(&accounts.path, text).unwrap();
        let output = seriatim().args(["serve", "--accounts"]).arg(&accounts.path).output().unwrap();
        let said = complaint(&output);
        assert!(said.contains(culprit) && said.contains("accounts.toml"), "{said}");
    };
    serve("[[account]]\nname = \"al\"\npassword = \"plain\"\n", ":1: the password of al is not hashed");
    let never = "[[account]]\nname = \"al\"\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ\"\n";
    serve(never, ":1: no password can match the hash of al, see: seriatim account passwd al");
    serve("[[account]]\nname = \"a!\"\npassword = \"\"\n", ":1: \"a!\" is no name");
    serve("account = 7\n", ":1: ");
    serve("[[accounts]]\n", "unknown field `accounts`");
    serve("not toml", ":1: ");
    let missing = seriatim().args(["serve", "--accounts", "/nonexistent"]).output().unwrap();
    assert!(complaint(&missing).contains("cannot read /nonexistent"));
    let alone = seriatim().args(["serve", "--require-account"]).output().unwrap();
    assert!(complaint(&alone).contains("--accounts"));
}

/// Bug: each password that was verified added its 19 MiB to the memory of the process.
#[test]
fn g9_wrong_passwords_take_memory_once() {
    let accounts = Accounts::new(&["alice"]);
    let server = accounts.serve(&["--login-timeout=3600"]);
    let mut client = server.connect();
    let mut guess = || {
        client.send("alice a guess");
        client.expect("error wrong-password: that is not the password of alice");
    };
    guess();
    let before = server.process.resident_bytes();
    (0..8).for_each(|_| guess());
    let grown = server.process.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after eight guesses");
}

/// Bug: to read accounts took time that grew with the square of their number: 8,000 took 1.5 s, and nobody was served meanwhile.
#[test]
fn many_accounts_are_read_in_no_time() {
    let accounts = Accounts::new(&["alice"]);
    let written = fs::read_to_string(&accounts.path).unwrap();
    let hash = written.lines().find(|line| line.starts_with("password")).unwrap().to_owned();
    let more: String = (0..50_000).map(|n| format!("[[account]]\nname = \"user{n}\"\n{hash}\n")).collect();
    fs::write(&accounts.path, written + &more).unwrap();
    let server = accounts.serve(&["--login-timeout=3600"]);
    let mut client = server.connect();
    client.send("user49999 alice's secret");
    client.expect("welcome user49999");
    let worked = server.process.cpu_time();
    // In a debug build, most of it to take the file apart.
    assert!(worked.as_secs() < 20, "{worked:?} of work");
}

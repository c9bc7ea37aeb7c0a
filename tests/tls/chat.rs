//! `seriatim chat` behind TLS.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;

use rcgen::{BasicConstraints, IsCa, SanType, date_time_ymd};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use seriatim::server::smol::tls::certificate::fingerprint;

use crate::certificates::{Authority, Client, serve};
use crate::common::process::{Process, Server, seriatim};

fn command(place: &str, flags: &[&str]) -> Command {
    let mut command = seriatim();
    command.args(["chat", &format!("al@{place}")]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the client with this input to its end.
fn chat(place: &str, flags: &[&str], input: &str) -> Output {
    let mut child = command(place, flags).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread: the client may stop reading, or its output may be waited for.
    let writing = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

fn succeeds(place: &str, flags: &[&str]) {
    let output = chat(place, flags, "al: hi\n");
    let (said, why) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((&*said, &*why), ("welcome al\nfrom al: hi\nbye quit\n", ""));
    assert_eq!(output.status.code(), Some(0));
}

/// One line, and this exit code.
fn fails(place: &str, flags: &[&str], code: i32) -> String {
    let output = chat(place, flags, "al: hi\n");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty());
    assert_eq!((output.status.code(), why.lines().count()), (Some(code), 1), "{why}");
    why.trim_end().to_owned()
}

fn place(server: &Server) -> String {
    format!("tls:{}", server.address)
}

#[test]
fn an_authority_of_ones_own_can_be_trusted() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let ca = authority.ca();
    succeeds(&place(&server), &["--ca", &ca]);
    succeeds(&format!("tls:localhost:{}", server.address.port()), &["--ca", &ca]);
}

#[test]
fn much_goes_both_ways_at_once() {
    const COUNT: usize = 20_000;
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let text = "x".repeat(200);
    let input: String = (0..COUNT).map(|n| format!("al: {n} {text}\n")).collect();
    let heard: String = (0..COUNT).map(|n| format!("from al: {n} {text}\n")).collect();
    let output = chat(&place(&server), &["--ca", &authority.ca()], &input);
    assert!(output.stdout == format!("welcome al\n{heard}bye quit\n").into_bytes(), "{:?}", output.status);
    assert_eq!(output.stderr, b"");
}

#[test]
fn neither_direction_waits_for_the_other() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let mut child = Process(command(&place(&server), &["--ca", &authority.ca()]).spawn().unwrap());
    let mut heard = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(heard.next().unwrap(), "welcome al");
    // It waits for the server now, and for what is typed.
    let mut bob = Client::log_in(server.address, authority.trust(), "bob");
    let mut stdin = child.0.stdin.take().unwrap();
    for n in 0..100 {
        stdin.write_all(format!("bob: {n}\n").as_bytes()).unwrap();
        bob.expect(&format!("from al: {n}"));
        bob.send(&format!("al: {n}"));
        assert_eq!(heard.next().unwrap(), format!("from bob: {n}"));
    }
    drop(stdin);
    assert_eq!(heard.next().unwrap(), "bye quit");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_certificate_can_be_pinned() {
    let flags = ["serve", "--tls-listen=127.0.0.1:0", "--tls-self-signed", "--listen=127.0.0.1:0"];
    let mut server = Server::spawn(seriatim().args(flags)); // on the plain port, which is the first
    let line = server.wait_for_log("listening on tls:");
    let command: Vec<&str> = line.split("seriatim chat NAME@").nth(1).unwrap().split_whitespace().collect();
    // Just as the log says.
    let [place, "--fingerprint", pin] = command[..] else { panic!("{line}") };
    succeeds(place, &["--fingerprint", pin]);
    let bare = pin.replace(':', "").to_lowercase();
    succeeds(place, &["--fingerprint", &bare]);
    let other = if bare.starts_with('0') { bare.replacen('0', "1", 1) } else { format!("0{}", &bare[1..]) };
    let why = fails(place, &["--fingerprint", &other], 1);
    assert_eq!(
        why,
        format!(
            "seriatim: cannot connect to {place}: the server's certificate is not the one that was pinned: its \
             fingerprint is {pin}"
        )
    );
    // Whoever trusts nobody yet is told how to.
    let authority = Authority::named("somebody else");
    for flags in [&[][..], &["--ca", &authority.ca()]] {
        let Ok(output) = command_with_roots(place, flags) else { continue };
        assert!(
            output.contains("nobody who is trusted here has signed the server's certificate"),
            "{output}"
        );
        assert!(output.contains(&format!("--fingerprint {pin}")), "{output}");
    }
}

/// What the client complains of, if this machine has any roots.
fn command_with_roots(place: &str, flags: &[&str]) -> Result<String, ()> {
    let output = chat(place, flags, "");
    let why = String::from_utf8(output.stderr).unwrap();
    if why.contains("knows no authorities") {
        assert_eq!(output.status.code(), Some(2));
        eprintln!("SKIPPED: this machine trusts no authorities");
        return Err(());
    }
    assert_eq!((output.status.code(), why.lines().count()), (Some(1), 1), "{why}");
    Ok(why)
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_plain_words() {
    let authority = Authority::new();
    let ca = authority.ca();
    for (name, why) in [
        ("old", "the server's certificate expired at 2001-02-03T00:00:00Z"),
        (
            "young",
            "the server's certificate is not valid before 4000-01-01T00:00:00Z: is the clock of this machine right?",
        ),
        ("elsewhere", "the server's certificate is for chat.example, 192.0.2.1, not for 127.0.0.1"),
        (
            "authority",
            "nobody who is trusted here has signed the server's certificate: name who has with --ca FILE, or, if \
                       its operator says that it is the right one, add --fingerprint ",
        ),
    ] {
        let (certificate, key) = authority.issue(name, |params| match name {
            "old" => params.not_after = date_time_ymd(2001, 2, 3),
            "young" => params.not_before = date_time_ymd(4000, 1, 1),
            "elsewhere" => {
                let names = vec!["chat.example".try_into().unwrap()];
                params.subject_alt_names = names.into_iter().map(SanType::DnsName).collect();
                params.subject_alt_names.push(SanType::IpAddress("192.0.2.1".parse().unwrap()));
            }
            _ => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        });
        let mut server = serve(&certificate, &key, &[]);
        let place = place(&server);
        let said = fails(&place, &["--ca", &ca], 1);
        assert!(said.starts_with(&format!("seriatim: cannot connect to {place}: {why}")), "{said}");
        // The server's log has a line, too.
        let line = server.wait_for_log("disconnected");
        assert!(line.contains("the TLS handshake failed: received fatal alert"), "{line}");
        // Whoever pins it has said what to think of it.
        let pin = fingerprint(&CertificateDer::from_pem_file(&certificate).unwrap());
        succeeds(&place, &["--fingerprint", &pin]);
    }
}

#[test]
fn a_client_can_show_a_certificate_and_a_bad_one_is_refused() {
    let authority = Authority::new();
    let ca = authority.ca();
    let mut server = authority.serve(&["--tls-client-ca", &ca]);
    let place = place(&server);
    let (certificate, key) = authority.issue("alice", |_| ());
    succeeds(&place, &["--ca", &ca, "--tls-certificate", &certificate, "--tls-key", &key]);
    succeeds(&place, &["--ca", &ca]); // nobody in particular
    let stranger = Authority::named("a stranger");
    let (certificate, key) = stranger.issue("alice", |_| ());
    let why = fails(&place, &["--ca", &ca, "--tls-certificate", &certificate, "--tls-key", &key], 1);
    assert!(
        why.contains("the server ended the connection, perhaps for this client's certificate: UnknownCA"),
        "{why}"
    );
    let line = server.wait_for_log("the TLS handshake failed");
    assert!(line.contains("UnknownIssuer"), "{line}");
}

#[test]
fn a_certificate_is_as_good_as_the_password_of_its_name() {
    let authority = Authority::new();
    let ca = authority.ca();
    let (accounts, password) =
        (authority.write("accounts.toml", ""), authority.write("password", "secret\n"));
    let mut add = seriatim();
    add.args(["account", "add", "al", "--accounts", &accounts]).stdin(File::open(&password).unwrap());
    assert!(add.output().unwrap().status.success());
    let server = authority.serve(&["--tls-client-ca", &ca, "--accounts", &accounts, "--require-account"]);
    let place = place(&server);
    let with_certificate_for = |name: &str, flags: &[&str]| -> Vec<String> {
        let (certificate, key) = authority.issue(name, |_| ());
        let shown = ["--ca", &ca, "--tls-certificate", &certificate, "--tls-key", &key];
        shown.iter().chain(flags).map(|&flag| flag.to_owned()).collect()
    };
    let succeeds = |flags: &[String]| succeeds(&place, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let fails = |flags: &[String]| fails(&place, &flags.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    succeeds(&with_certificate_for("al", &[]));
    let why = fails(&with_certificate_for("alice", &[]));
    assert!(why.contains("error name-reserved: al is reserved"), "{why}");
    succeeds(&with_certificate_for("alice", &["--password-file", &password]));
}

#[test]
fn a_server_without_tls_is_noticed() {
    let server = Server::start(&["--login-timeout=0.05"]);
    let place = place(&server);
    let authority = Authority::new();
    let why = fails(&place, &["--ca", &authority.ca()], 1);
    assert!(why.contains("the server speaks no TLS on this port"), "{why}");
    // Nor is anybody who hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tls:{}", listener.local_addr().unwrap());
    let hanging_up = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    });
    let why = fails(&place, &["--ca", &authority.ca()], 1);
    hanging_up.join().unwrap();
    assert!(why.contains("the server closed the connection in the middle of the TLS handshake"), "{why}");
}

#[test]
fn the_server_dies() {
    let authority = Authority::new();
    let mut server = authority.serve(&[]);
    let mut child = command(&place(&server), &["--ca", &authority.ca()]).spawn().unwrap();
    let stdin = child.stdin.take();
    let mut heard = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    heard.read_line(&mut line).unwrap();
    assert_eq!(line, "welcome al\n");
    server.process.0.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let why = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), why.lines().count()), (Some(1), 1), "{why}");
    assert!(why.starts_with("seriatim: the connection broke: "), "{why}");
}

#[test]
fn what_makes_no_sense_is_one_line() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("alice", |_| ());
    let (_, other) = authority.issue("other", |_| ());
    let missing = authority.path("missing.pem");
    let pin = "ab".repeat(32);
    let (tls, plain) = ("tls:127.0.0.1:1", "127.0.0.1:1");
    for (place, flags, culprits) in [
        (plain, &["--ca", &missing][..], &["--ca", "tls:127.0.0.1:1"][..]),
        (plain, &["--fingerprint", &pin], &["--fingerprint", "tls:"]),
        (plain, &["--tls-certificate", &certificate, "--tls-key", &key], &["--tls-certificate", "tls:"]),
        (tls, &["--ca", &missing], &[&missing, "No such file"]),
        (tls, &["--ca", &key], &[&key, "holds no certificate"]),
        (tls, &["--ca", &missing, "--fingerprint", &pin], &["--ca", "--fingerprint"]),
        (tls, &["--fingerprint", "abc"], &["abc", "64 hexadecimal digits"]),
        (tls, &["--tls-certificate", &certificate], &["--tls-key"]),
        (tls, &["--tls-key", &key], &["--tls-certificate"]),
        (
            tls,
            &["--fingerprint", &pin, "--tls-certificate", &certificate, "--tls-key", &other],
            &[&certificate, &other],
        ),
        ("tls:unix:/tmp/x", &[], &["unix"]),
        ("tls:nowhere", &[], &["HOST:PORT"]),
        ("tls:a b:1", &["--fingerprint", &pin], &["a b"]),
    ] {
        // The last is not known to be one before it is tried.
        let code = if place == "tls:a b:1" { 1 } else { 2 };
        let why = fails(place, flags, code);
        assert!(why.starts_with("seriatim: "), "{why}");
        for culprit in culprits {
            assert!(why.contains(culprit), "{culprit:?}: {why}");
        }
    }
}

/// At a prompt, on a pseudo-terminal that `script` from util-linux makes: the server goes, and comes back.
#[test]
fn a_connection_that_is_lost_is_made_again() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let (address, place) = (server.address, place(&server));
    let chat = format!("{} chat al@{place} --ca {}", env!("CARGO_BIN_EXE_seriatim"), authority.ca());
    let mut script = Command::new("script");
    script.args(["-qefc", &chat, "/dev/null"]).env("TERM", "dumb").env("SHELL", "/bin/sh");
    let Ok(script) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return eprintln!("SKIPPED: there is no `script` to provide a terminal");
    };
    let mut script = Process(script);
    let mut keys = script.0.stdin.take().unwrap();
    let mut screen = script.0.stdout.take().unwrap();
    let mut seen = String::new();
    let mut wait_for = |text: &str| {
        while !seen.contains(text) {
            let mut chunk = [0; 4096];
            let length = screen.read(&mut chunk).unwrap();
            assert!(length > 0, "{text:?} does not appear in {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    };
    wait_for(&format!("connected to {place} as al"));
    drop(server);
    wait_for("connection lost");
    let (certificate, key) = authority.issue("again", |_| ());
    let again = format!("--tls-listen={address}");
    let flags = ["serve", &again, "--tls-certificate", &certificate, "--tls-key", &key];
    let server = Server::spawn(seriatim().args(flags));
    wait_for("connected again as al");
    let mut bob = Client::log_in(server.address, authority.trust(), "bob");
    keys.write_all(b"bob: back\r").unwrap();
    bob.expect("from al: back");
    keys.write_all(b"/quit\r").unwrap();
    wait_for("bye quit");
    assert_eq!(script.0.wait().unwrap().code(), Some(0));
}

//! `seriatim serve` behind TLS.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rcgen::date_time_ymd;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use seriatim::server::smol::tls::certificate::fingerprint;

use crate::certificates::{Authority, Client, serve};
use crate::common::process::{Server, seriatim};

/// What the program says, and its exit code.
fn refusal(arguments: &[&str]) -> (String, Option<i32>) {
    let output = seriatim().args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout.is_empty());
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// One line, with all of this in it, and exit code 2.
fn is_refused(arguments: &[&str], culprits: &[&str]) {
    let (said, code) = refusal(arguments);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
    assert!(said.starts_with("seriatim: "), "{arguments:?}: {said}");
    for culprit in culprits {
        assert!(said.contains(culprit), "{culprit:?} in {arguments:?}: {said}");
    }
}

#[test]
fn two_clients_talk() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    let mut bob = Client::log_in(server.address, authority.trust(), "bob");
    al.send("bob: grüß dich");
    bob.expect("from al: grüß dich");
    bob.send("al, bob: both");
    for client in [&mut al, &mut bob] {
        client.expect("from bob: both");
    }
    bob.send("/quit");
    assert_eq!(bob.rest(), "bye quit\n", "and a clean end");
    al.send("bob: still there?");
    al.expect("error no-such-peer: bob");
}

#[test]
fn g6_g10_a_half_close_loses_nothing() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    for _ in 0..10 {
        let mut al = Client::log_in(server.address, authority.trust(), "al");
        let said: String = (0..1000).map(|n| format!("al: message {n}\n")).collect();
        let heard: String = (0..1000).map(|n| format!("from al: message {n}\n")).collect();
        al.send(said.trim_end());
        al.end_input();
        assert_eq!(al.rest(), heard);
    }
}

/// A mebibyte that comes back, in lines of all lengths.
#[test]
fn g6_much_comes_back_as_it_was() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    let mut bytes = 0;
    for n in 0.. {
        let text = "x".repeat(1 + n * 97 % 8000);
        al.send(&format!("al: {text}"));
        al.expect(&format!("from al: {text}"));
        bytes += text.len();
        if bytes > 1 << 20 {
            break;
        }
    }
}

#[test]
fn g10_shutdown_says_goodbye() {
    let authority = Authority::new();
    let mut server = authority.serve(&[]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    server.terminate();
    assert_eq!(al.rest(), "bye server shutting down\n");
    drop(al);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn plain_and_tls_serve_side_by_side() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("server", |_| ());
    let tls = ["--tls-listen=127.0.0.1:0", "--tls-certificate", &certificate, "--tls-key", &key];
    let mut server = Server::start(&tls); // on a plain port besides
    let line = server.wait_for_log("listening on tls:");
    let address = line.split("listening on tls:").nth(1).unwrap().split(',').next().unwrap();
    let mut plain = server.log_in("plain");
    let mut hidden = Client::log_in(address.parse().unwrap(), authority.trust(), "hidden");
    hidden.send("plain: psst");
    plain.expect("from hidden: psst");
}

#[test]
fn what_is_no_tls_is_a_line_of_the_log_and_costs_nobody_else_anything() {
    let authority = Authority::new();
    let mut server = authority.serve(&["--login-timeout=3"]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"bob\nal: hi\n").unwrap();
    let line = server.wait_for_log("disconnected");
    assert!(line.contains("plain text, or something else that is not TLS"), "{line}");
    assert!(line.contains(&plain.local_addr().unwrap().to_string()), "{line}");
    // Who does not know the authority says so.
    let stranger = std::panic::catch_unwind(|| {
        Client::connect(server.address, Authority::named("a stranger").trust()).send("bob");
    });
    assert!(stranger.is_err());
    let line = server.wait_for_log("disconnected");
    assert!(line.contains("the TLS handshake failed: received fatal alert: UnknownCA"), "{line}");
    // Who says nothing has as long as anybody to log in.
    let _silent = TcpStream::connect(server.address).unwrap();
    server.wait_for_log("login timeout");
    al.send("/ping x");
    al.expect("pong x");
}

/// With either version of TLS.
#[test]
fn openssl_talks() {
    let authority = Authority::new();
    let server = authority.serve(&[]);
    let (address, ca) = (server.address.to_string(), authority.ca());
    for version in ["-tls1_3", "-tls1_2"] {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            version,
            "-quiet",
            "-verify_return_error",
            "-connect",
            &address,
            "-CAfile",
            &ca,
        ]);
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut openssl) = openssl.spawn() else {
            return eprintln!("SKIPPED: there is no `openssl`");
        };
        openssl.stdin.as_mut().unwrap().write_all(b"al\nal: hi\n/quit\n").unwrap();
        let output = openssl.wait_with_output().unwrap();
        let heard = String::from_utf8_lossy(&output.stdout);
        assert_eq!(heard, "welcome al\nfrom al: hi\nbye quit\n", "{version}");
    }
}

#[test]
fn g6_g9_a_peer_that_never_reads_is_closed_and_nobody_waits_for_it() {
    const LINES: usize = 1000;
    let authority = Authority::new();
    let server = authority.serve(&["--outbox-bytes-max=262144"]);
    let log_in = |name| Client::log_in(server.address, authority.trust(), name);
    let (mut laggard, mut al, mut quiet) = (log_in("laggard"), log_in("al"), log_in("quiet"));
    let text = "x".repeat(8000);
    let mut sent = 0;
    let mut told = false;
    while !told {
        for _ in 0..LINES {
            al.send(&format!("laggard: {text}"));
        }
        sent += LINES;
        assert!(sent < 50_000, "400 MB to a peer that never reads");
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
    // Now it reads: a gap-free beginning, why it was closed, and a clean end.
    let heard = laggard.rest();
    let before = heard.strip_suffix("bye too slow\n").unwrap();
    let lines = before.lines().count();
    assert!(lines >= 262_144 / 8100 && lines < sent);
    assert!(before == format!("from al: {text}\n").repeat(lines));
}

#[test]
fn keys_and_certificates_of_every_kind() {
    let authority = Authority::new();
    let openssl = |arguments: &[&str]| {
        let ran =
            Command::new("openssl").args(arguments).stderr(Stdio::null()).stdout(Stdio::null()).status();
        ran.ok().map(|status| assert!(status.success(), "{arguments:?}"))
    };
    let (key, plain, certificate) =
        (authority.path("made.key"), authority.path("plain.key"), authority.path("made.pem"));
    for (algorithm, header) in [
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], "BEGIN EC PRIVATE KEY"), // SEC1
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "BEGIN RSA PRIVATE KEY"),      // PKCS#1
        (&["-algorithm", "ED25519"], "BEGIN PRIVATE KEY"),                                          // PKCS#8
    ] {
        let generate = [&["genpkey", "-out", &key], algorithm].concat();
        if openssl(&generate).is_none() {
            return eprintln!("SKIPPED: there is no `openssl`");
        }
        let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
        let extension = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let request = ["req", "-x509", "-key", &key, "-out", &certificate];
        openssl(&[&request[..], &subject, &extension].concat()).unwrap();
        let form = if header == "BEGIN PRIVATE KEY" { &[][..] } else { &["-traditional"] };
        openssl(&[&["pkey", "-in", &key, "-out", &plain][..], form].concat()).unwrap();
        assert!(fs::read_to_string(&plain).unwrap().contains(header));
        let server = serve(&certificate, &plain, &[]);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
        Client::log_in(server.address, roots, "al");
    }
}

#[test]
fn what_makes_no_sense_is_one_line() {
    let listen = "--tls-listen=127.0.0.1:0";
    for (arguments, culprits) in [
        (&["--tls-certificate=x"][..], &["--tls-certificate", "--tls-listen"][..]),
        (&["--tls-key=x"], &["--tls-key", "--tls-listen"]),
        (&["--tls-self-signed"], &["--tls-self-signed", "--tls-listen"]),
        (&["--tls-client-ca=x"], &["--tls-client-ca", "--tls-listen"]),
        (&[listen], &["--tls-certificate", "--tls-key", "--tls-self-signed"]),
        (&[listen, "--tls-certificate=x"], &["needs --tls-key"]),
        (&[listen, "--tls-key=x"], &["needs --tls-certificate"]),
        (&[listen, "--tls-self-signed", "--tls-key=x"], &["--tls-self-signed", "leave"]),
        (
            &[listen, "--tls-self-signed", "--tls-certificate=x", "--tls-key=x"],
            &["--tls-self-signed", "leave"],
        ),
        (&["--tls-listen=unix:/tmp/x", "--tls-self-signed"], &["unix socket needs none"]),
        (&["--tls-listen=nowhere", "--tls-self-signed"], &["nowhere", "HOST:PORT"]),
        (&["--listen=tls:127.0.0.1:0"], &["tls:127.0.0.1:0", "--tls-listen"]),
    ] {
        is_refused(&[&["serve"], arguments].concat(), culprits);
    }
}

#[test]
fn a_bad_file_is_one_line_that_names_it_and_the_fix() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("server", |_| ());
    let (_, other_key) = authority.issue("other", |_| ());
    let missing = authority.path("missing.pem");
    let garbage =
        authority.write("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nYWJjZA==\n-----END CERTIFICATE-----\n";
    let no_certificate = authority.write("abcd.pem", no_certificate);
    let no_key = "-----BEGIN PRIVATE KEY-----\nYWJjZA==\n-----END PRIVATE KEY-----\n";
    let no_key = authority.write("abcd.key", no_key);
    let empty = authority.write("empty.pem", "");
    let locked = authority.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nYWJj\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let folder = authority.path("");
    for (certificate, key, culprits) in [
        (&missing, &key, &[&*missing, "No such file"][..]),
        (&certificate, &missing, &[&*missing, "No such file"]),
        (&folder, &key, &[&*folder, "directory"]),
        (&garbage, &key, &[&*garbage, "malformed"]),
        (&no_certificate, &key, &[&*no_certificate, "malformed"]),
        (&empty, &key, &[&*empty, "holds no certificate", "BEGIN CERTIFICATE"]),
        (&key, &key, &[&*key, "holds no certificate"]),
        (&certificate, &certificate, &[&*certificate, "holds no private key", "BEGIN PRIVATE KEY"]),
        (&certificate, &no_key, &[&*no_key, "not supported"]),
        (&certificate, &locked, &[&*locked, "encrypted", "openssl pkey"]),
        (&certificate, &other_key, &[&*other_key, &*certificate, "does not belong"]),
    ] {
        let tls = ["serve", "--tls-listen=127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key];
        is_refused(&tls, culprits);
    }
    let tls = ["serve", "--tls-listen=127.0.0.1:0", "--tls-certificate", &certificate, "--tls-key", &key];
    for (ca, culprits) in
        [(&missing, "No such file"), (&empty, "holds no certificate"), (&no_certificate, "malformed")]
    {
        is_refused(&[&tls[..], &["--tls-client-ca", ca]].concat(), &[ca, culprits]);
    }
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("old", |params| params.not_after = date_time_ymd(2001, 2, 3));
    let server = serve(&certificate, &key, &[]);
    let warning = server.before_listening("expired");
    assert!(warning.contains(&certificate) && warning.contains("2001-02-03T00:00:00Z"), "{warning}");
    assert!(warning.contains("renew it"), "{warning}");
}

#[test]
fn a_certificate_made_for_a_first_try_can_be_pinned() {
    let flags = ["serve", "--tls-listen=127.0.0.1:0", "--tls-self-signed", "--tls-listen=127.0.0.1:0"];
    let mut server = Server::spawn(seriatim().args(flags));
    let line = server.wait_for_log("listening on tls:"); // the second of them
    let (address, command) =
        line.split_once("listening on tls:").unwrap().1.split_once(", connect with: ").unwrap();
    let pin =
        command.trim_end().strip_prefix(&format!("seriatim chat NAME@tls:{address} --fingerprint ")).unwrap();
    // Whoever takes it on trust gets just this one. It is good for this machine.
    let shown = shown_by(address);
    assert_eq!(fingerprint(&shown), pin);
    let mut roots = RootCertStore::empty();
    roots.add(shown).unwrap();
    for address in [server.address, address.parse().unwrap()] {
        Client::log_in(address, roots.clone(), &format!("al{}", address.port()));
    }
}

/// The certificate that whoever listens there shows, whoever that is.
fn shown_by(address: &str) -> CertificateDer<'static> {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

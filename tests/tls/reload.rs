//! New certificates while the server runs: SIGHUP, and a session that lives through it.

use std::fs;

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::certificates::{Authority, Client, serve};
use crate::common::process::{Server, seriatim};

#[test]
fn who_is_here_stays_and_who_comes_sees_the_new_certificate() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("server", |_| ());
    let mut server = serve(&certificate, &key, &[]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    for n in 0..3 {
        let (fresh, fresh_key) = authority.issue(&format!("fresh{n}"), |_| ());
        fs::copy(&fresh, &certificate).unwrap();
        fs::copy(&fresh_key, &key).unwrap();
        server.process.signal(Signal::HUP);
        let line = server.wait_for_log("reloaded");
        assert!(line.contains(&certificate) && line.contains(&key), "{line}");
        let bob = &mut Client::log_in(server.address, authority.trust(), &format!("bob{n}"));
        assert_eq!(bob.certificate(), CertificateDer::from_pem_file(&fresh).unwrap());
        al.send(&format!("bob{n}: still here"));
        bob.expect("from al: still here");
    }
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("server", |_| ());
    let good = CertificateDer::from_pem_file(&certificate).unwrap();
    let ca = authority.ca();
    let mut server = serve(&certificate, &key, &["--tls-client-ca", &ca]);
    let mut al = Client::log_in(server.address, authority.trust(), "al");
    let (_, other_key) = authority.issue("other", |_| ());
    let (good_key, good_ca) = (fs::read(&key).unwrap(), fs::read(&ca).unwrap());
    for (file, bad, why) in [
        (&key, fs::read(&other_key).unwrap(), "does not belong"),
        (&key, b"".to_vec(), "holds no private key"),
        (&ca, b"".to_vec(), "holds no certificate"),
    ] {
        fs::write(file, bad).unwrap();
        server.process.signal(Signal::HUP);
        let line = server.wait_for_log("cannot reload");
        assert!(line.contains(&**file) && line.contains(why), "{line}");
        let bob = &mut Client::log_in(server.address, authority.trust(), "bob");
        assert_eq!(bob.certificate(), good);
        al.send("bob: still here");
        bob.expect("from al: still here");
        bob.send("/quit");
        assert_eq!(bob.rest(), "bye quit\n");
        fs::write(&key, &good_key).unwrap();
        fs::write(&ca, &good_ca).unwrap();
    }
    server.process.signal(Signal::HUP);
    assert!(server.wait_for_log("reloaded").contains(&ca));
}

/// Whoever starts it in a terminal and closes that finds it gone, as ever.
#[test]
fn with_nothing_to_reload_a_hangup_ends_the_server() {
    // Under nohup, this test and all that it starts ignore the signal.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    if u64::from_str_radix(ignored.trim(), 16).is_ok_and(|signals| signals & 1 == 1) {
        return eprintln!("SKIPPED: SIGHUP is ignored here, as by nohup");
    }
    let mut servers = vec![Server::start(&[])];
    let flags = ["serve", "--tls-listen=127.0.0.1:0", "--tls-self-signed"];
    servers.push(Server::spawn(seriatim().args(flags)));
    for server in &mut servers {
        server.process.signal(Signal::HUP);
        assert_eq!(server.wait(), None, "ended by the signal");
    }
}

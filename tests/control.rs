//! Orders of the operator, with the real program.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output;

use common::process::{Server, complaint, seriatim};
use tempfile::TempDir;

/// A server that takes orders.
struct Controlled {
    server: Server,
    directory: TempDir,
}

impl Controlled {
    fn start(flags: &[&str]) -> Controlled {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let server = Server::start(&[&["--control", path.to_str().unwrap()], flags].concat());
        Controlled { server, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        seriatim().args(["ctl", "--control"]).arg(self.path()).args(arguments).output().unwrap()
    }

    /// What `seriatim ctl` says.
    fn order(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Why it cannot be done.
    fn refused(&self, arguments: &[&str]) -> String {
        complaint(&self.ctl(arguments))
    }
}

#[test]
fn peers_are_shown_and_kicked() {
    let controlled = Controlled::start(&[]);
    assert_eq!(controlled.order(&["peers"]), "");
    let mut bob = controlled.server.log_in("bob");
    let mut alice = controlled.server.log_in("Alice");
    assert_eq!(controlled.order(&["peers"]), "Alice\texempt\t#2\nbob\texempt\t#1\n");
    let json: serde_json::Value = serde_json::from_str(&controlled.order(&["--json", "peers"])).unwrap();
    assert_eq!(json["peers"][1]["name"], "bob");
    assert_eq!(controlled.order(&["kick", "ALICE"]), "Alice is kicked\n");
    assert_eq!(alice.rest(), ["bye kicked"]);
    bob.send("alice: are you there?");
    bob.expect("error no-such-peer: alice");
    let said = controlled.refused(&["kick", "alice"]);
    assert!(said.contains("nobody is here as \"alice\""), "{said}");
}

#[test]
fn an_address_is_banned_and_let_in_again() {
    let mut controlled = Controlled::start(&["--exempt=none"]);
    let there: IpAddr = "127.0.0.2".parse().unwrap();
    let mut here = controlled.server.log_in("here");
    let mut al = controlled.server.connect_from(there);
    al.send("al");
    al.expect("welcome al");
    assert!(controlled.order(&["peers"]).contains("al\t127.0.0.2\t#2\n"));
    assert!(controlled.order(&["ban", "127.0.0.2"]).starts_with("127.0.0.2 is banned"));
    assert_eq!(al.rest(), ["bye kicked"]);
    assert_eq!(controlled.server.connect_from(there).rest(), ["bye banned"]);
    assert!(controlled.server.wait_for_log("refused a connection").contains("reason=banned"));
    here.barrier();
    assert_eq!(controlled.order(&["unban", "127.0.0.2"]), "127.0.0.2 is banned no more\n");
    let mut al = controlled.server.connect_from(there);
    al.send("al");
    al.expect("welcome al");
    for address in ["alice", "127.0.0.0/8", "2001:db8::/32"] {
        assert!(controlled.refused(&["ban", address]).contains(address));
    }
}

#[test]
fn figures_are_shown() {
    let controlled = Controlled::start(&[]);
    let mut al = controlled.server.log_in("al");
    al.send("al: hello");
    al.expect("from al: hello");
    let shown = controlled.order(&["stats"]);
    for line in ["peers: 1", "logins: 1", "messages received: 1", "messages delivered: 1", "draining: false"]
    {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&controlled.order(&["stats", "--json"])).unwrap();
    assert_eq!(json["stats"]["received_bytes"], 13);
}

#[test]
fn a_server_that_is_drained_says_that_it_comes_back() {
    let mut controlled = Controlled::start(&[]);
    let mut al = controlled.server.log_in("al");
    al.send("al: last words");
    assert!(controlled.order(&["drain"]).contains("stops"));
    assert_eq!(al.rest(), ["from al: last words", "bye server restarting"]);
    assert_eq!(controlled.server.wait(), Some(0));
    assert!(!controlled.path().exists(), "the socket is gone");
    let said = controlled.refused(&["stats"]);
    assert!(said.contains("cannot reach a server at"), "{said}");
}

#[test]
fn accounts_are_read_again_by_order() {
    let accounts = tempfile::NamedTempFile::new().unwrap();
    let controlled = Controlled::start(&["--accounts", accounts.path().to_str().unwrap()]);
    assert!(controlled.order(&["reload"]).starts_with("reloaded the accounts "));
    std::fs::write(accounts.path(), "[[account]]\nname = 7\n").unwrap();
    let said = controlled.refused(&["reload"]);
    assert!(said.contains(":2: ") && said.contains(accounts.path().to_str().unwrap()), "{said}");
    assert_eq!(Controlled::start(&[]).order(&["reload"]), "there is nothing to read again\n");
}

#[test]
fn the_socket_is_for_the_owner_and_takes_orders_alone() {
    let controlled = Controlled::start(&[]);
    let mode = std::fs::metadata(controlled.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let answer = |order: &[u8]| {
        let mut stream = UnixStream::connect(controlled.path()).unwrap();
        stream.write_all(order).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    assert!(
        answer(b"{\"order\":\"dance\"}\n")
            .starts_with("{\"error\":\"this is no order: unknown variant `dance`")
    );
    assert!(answer(b"hello\n").starts_with("{\"error\":\"this is no order"));
    assert!(answer(b"{\"order\":").starts_with("{\"error\":\"an order is one line"));
    assert!(answer(&[b'x'; 5000]).starts_with("{\"error\":\"an order is one line"));
    assert_eq!(answer(b"{\"order\":\"peers\"}\n"), "{\"peers\":[]}\n");
    // Many who say nothing keep nobody from giving orders: each has its time, and there is room for some.
    let _silent: Vec<UnixStream> = (0..15).map(|_| UnixStream::connect(controlled.path()).unwrap()).collect();
    assert_eq!(controlled.order(&["peers"]), "");
}

#[test]
fn a_path_that_is_taken_is_told() {
    let controlled = Controlled::start(&[]);
    let path = controlled.path();
    let serve = ["serve", "--listen=127.0.0.1:0", "--control"];
    let said = complaint(&seriatim().args(serve).arg(&path).output().unwrap());
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    let said = complaint(&seriatim().args(serve).arg("/nonexistent/control").output().unwrap());
    assert!(said.contains("/nonexistent/control"), "{said}");
}

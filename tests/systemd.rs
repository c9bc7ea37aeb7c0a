//! The real program under a service manager, whose side of systemd's protocols the tests play.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use common::process::{Client, HANG, Server, seriatim};

/// Takes standard input and output for the files 3 and 4, and announces as many as `$1` says.
const PASS: &str =
    r#"exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_FDS="$1" LISTEN_PID=$$; shift; exec "$@""#;

/// `seriatim serve` with these passed, in this order.
fn passing(count: &str, first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", PASS, "sh", count, env!("CARGO_BIN_EXE_seriatim"), "serve", "--listen", "127.0.0.1:0"]);
    shell.stdin(Stdio::from(first.into())).stdout(Stdio::from(second.into()));
    shell
}

/// What it complains of instead of serving.
fn complaint(command: &mut Command) -> String {
    let ran = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().strip_prefix("seriatim: ").expect(&said).to_owned()
}

fn nothing() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

/// The next message, line by line.
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).unwrap();
    std::str::from_utf8(&message[..length]).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn sockets_that_are_passed_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let address = tcp.local_addr().unwrap();
    // Whoever comes before the server has only to wait.
    let mut early = Client::connect(address);
    early.send("early");
    let mut server = Server::spawn(&mut passing("2", tcp, unix));
    server.before_listening("serving the sockets that were passed, not --listen");
    assert_eq!(server.address, address);
    early.expect("welcome early");
    let mut al = Client::over(UnixStream::connect(&path).unwrap());
    al.send("al\nearly: hello over there");
    al.expect("welcome al");
    early.expect("from al: hello over there");
    server.terminate();
    assert_eq!(early.rest(), ["bye server shutting down"]);
    assert_eq!(al.rest(), ["bye server shutting down"]);
    drop((early, al));
    assert_eq!(server.wait(), Some(0));
    assert!(path.exists(), "the file is for whoever made it to remove");
}

#[test]
fn a_passed_socket_that_does_not_listen_is_named() {
    let what = |file: &str| {
        format!(
            "{file} of LISTEN_FDS=2 is no listening TCP or unix stream socket: its unit needs ListenStream= and Accept=no"
        )
    };
    let datagrams = UnixDatagram::unbound().unwrap();
    assert_eq!(complaint(&mut passing("2", datagrams, nothing())), what("file 3"));
    let (connection, _other) = UnixStream::pair().unwrap();
    assert_eq!(complaint(&mut passing("2", connection, nothing())), what("file 3"));
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(complaint(&mut passing("2", udp, nothing())), what("file 3"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut with_names = passing("2", listener, nothing());
    assert_eq!(complaint(with_names.env("LISTEN_FDNAMES", "chat:log")), what("file 4 (log)"));
}

#[test]
fn a_passed_socket_named_tls_speaks_tls() {
    let (plain, tls) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = tls.local_addr().unwrap();
    let mut command = passing("2", plain, tls);
    command.arg("--tls-self-signed").env("LISTEN_FDNAMES", "seriatim.socket:tls");
    let mut server = Server::spawn(&mut command);
    let line = server.wait_for_log("listening on tls:");
    let pin = line.split("--fingerprint ").nth(1).unwrap().trim();
    let mut chat = seriatim();
    chat.args(["chat", &format!("al@tls:{address}"), "--fingerprint", pin]).stdin(Stdio::null());
    let said = chat.output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let mut bob = server.log_in("bob");
    bob.send("/quit");
    assert_eq!(bob.rest(), ["bye quit"]);

    let folder = tempfile::tempdir().unwrap();
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut needless = passing("2", listener(), unix);
    needless.arg("--tls-self-signed").env("LISTEN_FDNAMES", "chat:tls");
    assert_eq!(complaint(&mut needless), "file 4 (tls) of LISTEN_FDS=2 is a unix socket, which needs no TLS");
    let mut without = passing("2", listener(), listener());
    without.env("LISTEN_FDNAMES", "chat:tls");
    assert!(complaint(&mut without).starts_with("TLS needs --tls-certificate and --tls-key"));
}

#[test]
fn nonsense_in_the_environment_is_named() {
    for (key, value, what) in [
        ("LISTEN_FDS", "abc", "LISTEN_FDS=abc is no number from 0 to 1024: unset it"),
        (
            "NOTIFY_SOCKET",
            "vsock:2:1",
            "cannot reach the service manager at NOTIFY_SOCKET=vsock:2:1: a path or an abstract name is needed",
        ),
    ] {
        assert_eq!(complaint(seriatim().arg("serve").env(key, value)), what);
    }
}

/// Plays the manager that listens on `socket` under this name, from the start of the server to its end.
fn manage(socket: &UnixDatagram, name: &str) {
    socket.set_read_timeout(Some(HANG)).unwrap();
    let mut command = seriatim();
    command.args(["serve", "--listen", "127.0.0.1:0", "--drain-timeout", "7"]);
    let mut server = Server::spawn(command.env("NOTIFY_SOCKET", name));
    assert_eq!(told(socket), ["READY=1".to_owned(), format!("STATUS=listening on {}", server.address)]);
    let mut al = server.log_in("al");
    server.process.signal(Signal::HUP);
    let reloading = told(socket);
    assert!(reloading[0] == "RELOADING=1" && reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(told(socket), ["READY=1"]);
    server.terminate();
    assert_eq!(
        told(socket),
        ["STOPPING=1", "STATUS=stopping: flushing what was accepted", "EXTEND_TIMEOUT_USEC=12000000"]
    );
    assert_eq!(al.rest(), ["bye server shutting down"]);
    drop(al);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn the_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    manage(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn the_manager_may_have_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("seriatim test {}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    manage(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

#[test]
fn the_watchdog_hears_that_the_server_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let mut command = seriatim();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000"));
    assert_eq!(told(&socket)[0], "READY=1");
    let mut al = server.log_in("al");
    for _ in 0..3 {
        assert_eq!(told(&socket), ["WATCHDOG=1"]);
        al.barrier();
    }
}

/// The units, with the program where it is built.
#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `systemd-analyze` here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let units = [
        ("seriatim.service", include_str!("../packaging/systemd/seriatim.service")),
        ("seriatim.socket", include_str!("../packaging/systemd/seriatim.socket")),
    ];
    let paths = units.map(|(name, text)| {
        let path = folder.path().join(name);
        assert_eq!(text.matches("/usr/bin/seriatim").count(), usize::from(name == "seriatim.service"));
        std::fs::write(&path, text.replace("/usr/bin/seriatim", env!("CARGO_BIN_EXE_seriatim"))).unwrap();
        path
    });
    let analyze = |arguments: &[&str], paths: &[std::path::PathBuf]| {
        let ran = Command::new("systemd-analyze").args(arguments).args(paths).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert!(ran.status.success(), "{arguments:?}: {said}");
        said
    };
    assert_eq!(analyze(&["verify", "--man=no"], &paths), "");
    // In tenths of systemd's points for how much harm a service could do, of 100.
    analyze(&["security", "--offline=true", "--threshold=15"], &paths[..1]);
}

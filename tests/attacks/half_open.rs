//! Peers that are gone without a word, because the network between is.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::process::{Client, HANG, Process, Server};
use crate::{heaviness, row};

/// Two network namespaces with a cable between them, for as long as this lives.
struct Cable {
    here: String,
    there: String,
}

const HERE: &str = "198.18.0.1";
const THERE: &str = "198.18.0.2";

impl Cable {
    /// `None` without the right to make one.
    fn lay() -> Option<Cable> {
        let [here, there] = ["here", "there"].map(|end| format!("seriatim-{}-{end}", std::process::id()));
        if !ip(&["netns", "add", &here]) {
            return None;
        }
        let cable = Cable { here, there };
        let Cable { here, there } = &cable;
        let laid = ip(&["netns", "add", there])
            && ip(&[
                "link", "add", "cable", "netns", here, "type", "veth", "peer", "name", "cable", "netns",
                there,
            ])
            && [(here, HERE), (there, THERE)].iter().all(|(end, address)| {
                ip(&["-n", end, "address", "add", &format!("{address}/30"), "dev", "cable"])
                    && ip(&["-n", end, "link", "set", "cable", "up"])
            });
        laid.then_some(cable)
    }

    /// From now on nothing gets through.
    fn cut(&self) {
        assert!(ip(&["-n", &self.there, "link", "set", "cable", "down"]));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in [&self.here, &self.there] {
            ip(&["netns", "delete", end]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    let ip = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    ip.is_ok_and(|status| status.success())
}

/// The program, run at one end of the cable.
fn seriatim_at(end: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", end, env!("CARGO_BIN_EXE_seriatim")]);
    command
}

/// A peer at the far end, logged in.
fn peer(cable: &Cable, name: &str, server: &Server) -> Process {
    let mut chat = seriatim_at(&cable.there);
    let chat = chat.arg("chat").arg(format!("{name}@{}", server.address));
    let mut chat = Process(chat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(chat.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("welcome {name}\n"));
    chat
}

/// Takes half a minute: a second of silence, and the operating system's three questions, 10 s apart.
#[test]
fn g9_the_dead_do_not_hold_their_names() {
    if heaviness() == 1 {
        return eprintln!(
            "SKIPPED: the dead do not hold their names: it takes long, SERIATIM_ATTACKS=2 runs it"
        );
    }
    let Some(cable) = Cable::lay() else {
        return eprintln!(
            "SKIPPED: the dead do not hold their names: no network namespace can be made (root, ip)"
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut server = seriatim_at(&cable.here);
    let server = server.arg("serve").arg(format!("--listen={HERE}:0"));
    let server = server.arg(format!("--listen=unix:{}", path.display()));
    let mut server = Server::spawn(server.args(["--keepalive=1", "--write-timeout=off"]));
    server.wait_for_log("listening on unix:");
    let mut al = Client::over(UnixStream::connect(&path).unwrap());
    al.send("al");
    al.expect("welcome al");
    let _silent = peer(&cable, "silent", &server);
    let _addressed = peer(&cable, "addressed", &server);
    cable.cut();
    let cut = Instant::now();
    // What waits for the dead makes no difference.
    al.send("addressed: anybody there?\n/who");
    al.expect("peers 3: addressed, al, silent");
    let gone = [(); 2].map(|()| {
        server.wait_for_log("disconnected");
        cut.elapsed()
    });
    assert!(gone[1] < HANG, "{gone:?}");
    al.send("/who");
    al.expect("peers 1: al");
    row(
        "a network that is cut",
        format!(
            "a silent peer and one with mail in flight gave their names back after {:.1?} and {:.1?}",
            gone[0], gone[1]
        ),
    );
}

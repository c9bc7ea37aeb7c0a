//! Peers that are gone without a word, because the network between is.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use crate::common::http::counted;
use crate::common::network::{Namespace, ip};
use crate::common::process::{Client, HANG, Process, Server};
use crate::{heaviness, is_rewriting, row};

/// Two network namespaces with a cable between them, for as long as this lives.
struct Cable {
    here: Namespace,
    there: Namespace,
}

const HERE: &str = "198.18.0.1";
const THERE: &str = "198.18.0.2";

impl Cable {
    /// `None` without the right to make one.
    fn lay() -> Option<Cable> {
        let (here, there) = (Namespace::make("here")?, Namespace::make("there")?);
        let ends = ["netns", here.name(), "type", "veth", "peer", "name", "cable", "netns", there.name()];
        let laid = here.ip(&["link", "set", "lo", "up"])
            && ip(&[&["link", "add", "cable"][..], &ends].concat())
            && [(&here, HERE), (&there, THERE)].iter().all(|(end, address)| {
                end.ip(&["address", "add", &format!("{address}/30"), "dev", "cable"])
                    && end.ip(&["link", "set", "cable", "up"])
            });
        laid.then_some(Cable { here, there })
    }

    /// From now on nothing gets through.
    fn cut(&self) {
        assert!(self.there.ip(&["link", "set", "cable", "down"]));
    }
}

/// A peer at the far end, logged in.
fn peer(cable: &Cable, name: &str, server: &Server) -> Process {
    let mut chat = cable.there.seriatim();
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
    if heaviness() == 1 && !is_rewriting() {
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
    let mut server = cable.here.seriatim();
    let server = server.arg("serve").arg(format!("--listen={HERE}:0"));
    let server = server.arg(format!("--listen=unix:{}", path.display())).arg(format!("--http={HERE}:0"));
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
        let line = server.wait_for_log("disconnected");
        // It has asked in vain, or found nobody on the way to ask.
        let found = ["Connection timed out", "No route to host"].iter().any(|why| line.contains(why));
        assert!(found, "{line}");
        cut.elapsed()
    });
    let timed_out = || counted(&server, "seriatim_ends_total", &[("how", "timed-out")]);
    assert_eq!(cable.here.within(timed_out), 2);
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

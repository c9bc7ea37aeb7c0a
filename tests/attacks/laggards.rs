//! Those who take nothing of what is for them.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Stdio};

use std::thread::{self, ScopedJoinHandle};

use rustix::process::{Signal, WaitOptions, waitpid};

use crate::common::process::{Client, Process, Server, seriatim};
use crate::{MIB, PATIENT, Quiet, heaviness, mib, peak_within_bound, row};

/// What stands behind the number in each line that a laggard is sent.
fn filling() -> String {
    "x".repeat(8000)
}

/// Sends so many numbered lines while it reads what the server answers, and returns how many of them the laggard missed.
fn bombard(mut sender: Client, laggard: &str, lines: usize) -> usize {
    let mut writer = sender.stream.try_clone().unwrap();
    let filling = filling();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..lines {
                writer.write_all(format!("{laggard}: {number} {filling}\n").as_bytes()).unwrap();
            }
            writer.write_all(b"/ping end\n").unwrap();
        });
        let missing = format!("error no-such-peer: {laggard}");
        let answers = std::iter::from_fn(|| sender.line().filter(|line| line != "pong end"));
        answers.inspect(|line| assert_eq!(*line, missing)).count()
    })
}

/// Asserts that there is no gap in what the laggard got from this sender, and returns how much it was.
fn received(lines: &[String], sender: &str) -> usize {
    let (head, filling) = (format!("from {sender}: "), filling());
    let of_one = lines.iter().filter_map(|line| line.strip_prefix(&head));
    of_one.enumerate().inspect(|(number, line)| assert_eq!(*line, format!("{number} {filling}"))).count()
}

#[test]
fn g6_g9_a_peer_that_never_reads() {
    const SENDERS: usize = 4;
    let lines = heaviness() * 200 * MIB as usize / 8000 / SENDERS;
    let server = Server::start(&PATIENT);
    let mut quiet = Quiet::log_in(&server);
    let mut laggard = server.log_in("laggard");
    let senders: Vec<Client> = (0..SENDERS).map(|number| server.log_in(&format!("al{number}"))).collect();
    let told: Vec<usize> = thread::scope(|scope| {
        let sending = |sender| scope.spawn(move || bombard(sender, "laggard", lines));
        let sending: Vec<_> = senders.into_iter().map(sending).collect();
        while !sending.iter().all(ScopedJoinHandle::is_finished) {
            quiet.round();
        }
        sending.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    quiet.round();
    let memory = peak_within_bound(&server.process, 7);
    // Now it reads.
    let got = laggard.rest();
    let (last, before) = got.split_last().unwrap();
    assert_eq!(last, "bye too slow");
    let received: Vec<usize> = (0..SENDERS).map(|number| received(before, &format!("al{number}"))).collect();
    assert_eq!(received.iter().sum::<usize>(), before.len(), "nobody else wrote to it");
    let (received, told): (usize, usize) = (received.iter().sum(), told.iter().sum());
    // Only the line that was one too many is neither here nor there: its fate is the `bye`.
    assert_eq!(received + told + 1, SENDERS * lines);
    let sent = mib((SENDERS * lines * 8000) as u64);
    row(
        "a peer that never reads",
        format!(
            "{sent} sent to it, {received} lines taken without a gap, {told} answered no-such-peer, 0 lost; {quiet}; {memory}"
        ),
    );
}

/// `seriatim chat`, which can be stopped and continued.
struct Chat {
    process: Process,
    output: BufReader<ChildStdout>,
}

impl Chat {
    fn log_in(server: &Server, name: &str) -> Chat {
        let mut chat = seriatim();
        let chat = chat.arg("chat").arg(format!("{name}@{}", server.address));
        let mut chat =
            chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(chat.stdout.take().unwrap());
        let mut chat = Chat { process: Process(chat), output };
        assert_eq!(chat.line().unwrap(), format!("welcome {name}"));
        chat
    }

    /// Stops it, and waits until it stands.
    fn stop(&self) {
        self.process.signal(Signal::STOP);
        let (_, status) = waitpid(Some(self.process.pid()), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }
}

#[test]
fn g6_g9_a_client_that_is_stopped_and_continued() {
    const FEW: usize = 20;
    let many = heaviness() * 40 * MIB as usize / 8000;
    let server = Server::start(&PATIENT);
    let mut quiet = Quiet::log_in(&server);
    let mut few = Chat::log_in(&server, "few");
    let mut many_chat = Chat::log_in(&server, "many");
    few.stop();
    many_chat.stop();
    let (al, bob) = (server.log_in("al"), server.log_in("bob"));
    let (missed, told) = thread::scope(|scope| {
        let few = scope.spawn(|| bombard(al, "few", FEW));
        let many = scope.spawn(|| bombard(bob, "many", many));
        while !(few.is_finished() && many.is_finished()) {
            quiet.round();
        }
        (few.join().unwrap(), many.join().unwrap())
    });
    assert_eq!(missed, 0, "so little can wait");
    quiet.round();
    few.process.signal(Signal::CONT);
    many_chat.process.signal(Signal::CONT);
    let lines: Vec<String> = (0..FEW).map(|_| few.line().unwrap()).collect();
    assert_eq!(received(&lines, "al"), FEW);
    server.log_in("carol").send("few: still there");
    assert_eq!(few.line().unwrap(), "from carol: still there");
    let lines: Vec<String> = std::iter::from_fn(|| many_chat.line()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(last, "bye too slow");
    let got = received(before, "bob");
    assert_eq!((got, got + told + 1), (before.len(), many));
    let memory = peak_within_bound(&server.process, 7);
    row(
        "clients stopped and continued",
        format!(
            "{FEW} lines waited for one and came, another got {got} of {many} without a gap and \
             `bye too slow`, {told} answered no-such-peer, 0 lost; {quiet}; {memory}"
        ),
    );
}

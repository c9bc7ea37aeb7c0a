//! An input of a fuzz target as a transcript: what is done, without what is seen. `SERIATIM_REWRITE=1` adds that.

use std::collections::BTreeSet;
use std::fmt::Write;

use seriatim::Limits;

use super::line::Reads;
use super::session::{CLIENTS, Op, Traffic};
use super::step::{self, Fact};

/// What one client sends, each read a step of its own.
pub fn of_reads(reads: &Reads) -> String {
    let mut draft = Draft::new(&reads.limits());
    reads.for_each_read(|read| draft.send(0, read));
    draft.act(0, "eof");
    draft.text
}

/// What happens in the target `session`.
pub fn of_traffic(traffic: &Traffic) -> String {
    let mut draft = Draft::new(&traffic.limits());
    if !traffic.obedient {
        draft.cannot("hold connections open that the broker closes");
    }
    for op in &traffic.ops {
        match *op {
            Op::Send(client, bytes) => draft.send(client % CLIENTS, bytes),
            Op::Eof(client) => draft.act(client % CLIENTS, "eof"),
            Op::Reset(client) => draft.act(client % CLIENTS, "resets"),
            Op::Overflow(_) => draft.cannot("let an outbox overflow"),
            Op::Pass(ms) => draft.say(format_args!("pass {ms}")),
            Op::Stop => draft.say(format_args!("stop")),
        }
    }
    draft.text
}

/// What happens in the target `step`.
pub fn of_history(history: &[Fact]) -> String {
    let mut draft = Draft::new(&step::limits());
    let mut connected = 0;
    for fact in history {
        match *fact {
            Fact::Connected => {
                draft.send(connected, b"");
                connected += 1;
            }
            Fact::Line(client, words) => {
                draft.send(client, format!("{}\n", step::spell_out(words)).as_bytes());
            }
            Fact::InputEnded(client) => draft.act(client, "eof"),
            Fact::Disconnected(client) => draft.act(client, "resets"),
            Fact::Passed(ms) => draft.say(format_args!("pass {ms}")),
            Fact::ShutdownRequested => draft.say(format_args!("stop")),
            Fact::Overflowed(_) => draft.cannot("let an outbox overflow"),
            Fact::ConnectedAs(_) => draft.cannot("connect twice"),
            Fact::TickedAt(_) => draft.cannot("set the clock"),
            Fact::Kicked(client) => draft.say(format_args!("kick {}", who(client))),
            Fact::RestartRequested => draft.say(format_args!("restart")),
            Fact::Secured(_) => draft.cannot("secure who is there"),
            Fact::PasswordVerified(..) => draft.cannot("say when a password is verified"),
            Fact::AccountsChanged(_) => draft.cannot("change accounts in the middle"),
            Fact::Banned(_) | Fact::Unbanned(_) => draft.cannot("say where an input comes from"),
        }
    }
    draft.text
}

struct Draft {
    text: String,
    connected: BTreeSet<u8>,
}

impl Draft {
    fn new(limits: &Limits) -> Draft {
        let mut text = String::new();
        let (now, usual) = (numbers(limits), numbers(&Limits::default()));
        let changed = now.iter().zip(usual).filter(|(now, usual)| *now != usual);
        let changed: Vec<String> = changed.map(|((name, value), _)| format!("{name}={value}")).collect();
        if !changed.is_empty() {
            text = format!("limits {}\n", changed.join(" "));
        }
        Draft { text, connected: BTreeSet::new() }
    }

    fn say(&mut self, line: std::fmt::Arguments) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn cannot(&mut self, what: &str) {
        self.say(format_args!("# A transcript cannot {what}."));
    }

    fn send(&mut self, client: u8, bytes: &[u8]) {
        self.connected.insert(client);
        let who = who(client);
        match bytes.strip_suffix(b"\n") {
            Some(line) if !line.contains(&b'\n') => self.say(format_args!("{who}> {}", escaped(line))),
            _ => self.say(format_args!("{who}>| {}", escaped(bytes))),
        }
    }

    /// A client that has not sent anything yet connects by sending nothing.
    fn act(&mut self, client: u8, what: &str) {
        if !self.connected.contains(&client) {
            self.send(client, b"");
        }
        self.say(format_args!("{} {what}", who(client)));
    }
}

fn who(client: u8) -> String {
    format!("c{client}")
}

fn numbers(limits: &Limits) -> [(&'static str, u64); 5] {
    [
        ("line_bytes_max", limits.line_bytes_max as u64),
        ("recipients_max", limits.recipients_max as u64),
        ("login_ms_max", limits.login_ms_max),
        ("flush_ms_max", limits.flush_ms_max),
        ("drain_ms_max", limits.drain_ms_max),
    ]
}

/// Bytes as a transcript writes them, in ASCII.
fn escaped(bytes: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'{' => "\\x7b".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

//! Inputs to begin with: every transcript, as each target would have it. Deterministic.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::common::transcript::{Action, Step, Transcript};
use super::line::Reads;
use super::session::{Op, Traffic};
use super::step::{Fact, WORDS};

/// Longer than this makes no line more interesting.
const SEND_BYTES_MAX: usize = 300;

/// The transcripts of a folder, each with its name.
pub fn transcripts(folder: &Path) -> io::Result<Vec<(String, Transcript)>> {
    let mut transcripts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        transcripts.push((name, Transcript::parse(&fs::read_to_string(path)?)));
    }
    transcripts.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(transcripts)
}

/// The seeds of all targets: the target, a name for the file, and what is in it.
pub fn seeds(transcripts: &[(String, Transcript)]) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, transcript) in transcripts {
        for (number, bytes) in sent(transcript).into_iter().enumerate() {
            let reads =
                Reads { line_bytes_max: 255, recipients_max: 100, sizes: [0, 7, 1, 0], bytes: &bytes };
            seeds.push(("line", format!("{name}-{number}"), encode_reads(&reads)));
            let words = String::from_utf8_lossy(&bytes).split([' ', ':', ',']).collect::<Vec<_>>().join("\n");
            for (number, pair) in words.lines().collect::<Vec<_>>().chunks(2).enumerate() {
                seeds.push(("name", format!("{name}-{number}"), pair.join("\n").into_bytes()));
            }
        }
        seeds.push(("session", name.clone(), encode_traffic(&traffic(transcript))));
        let lines = spelled(transcript);
        seeds.push(("step", name.clone(), encode_history(&history(transcript, &lines))));
    }
    seeds
}

/// What each client sends.
fn sent(transcript: &Transcript) -> Vec<Vec<u8>> {
    let mut sent: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for step in &transcript.steps {
        if let Action::Send(who, bytes) = &step.action {
            sent.entry(who).or_default().extend(&bytes[..bytes.len().min(SEND_BYTES_MAX)]);
        }
    }
    sent.into_values().collect()
}

/// Numbers for clients, in the order in which they first do something.
#[derive(Default)]
struct Numbers<'a>(Vec<&'a str>);

impl<'a> Numbers<'a> {
    /// The number of this client, and whether it is a new one.
    fn of(&mut self, who: &'a str) -> (u8, bool) {
        if let Some(number) = self.0.iter().position(|other| *other == who) {
            return (number as u8, false);
        }
        self.0.push(who);
        (self.0.len() as u8 - 1, true)
    }
}

/// A transcript as the target `session` has it.
pub fn traffic<'a>(transcript: &'a Transcript) -> Traffic<'a> {
    let mut numbers = Numbers::default();
    let op = |step: &'a Step| {
        Some(match &step.action {
            Action::Send(who, bytes) => {
                Op::Send(numbers.of(who).0, &bytes[..bytes.len().min(SEND_BYTES_MAX)])
            }
            Action::Connect(who, _) | Action::Secure(who) => Op::Send(numbers.of(who).0, &[]),
            Action::Eof(who) => Op::Eof(numbers.of(who).0),
            Action::Close(who) | Action::Reset(who) => Op::Reset(numbers.of(who).0),
            Action::Pass(ms) => Op::Pass(u16::try_from(*ms).unwrap_or(u16::MAX)),
            Action::Stop | Action::Restart => Op::Stop,
            Action::Kick(_) | Action::Ban(_) | Action::Unban(_) => return None,
        })
    };
    Traffic {
        obedient: true,
        line_bytes_max: u8::try_from(transcript.limits.line_bytes_max).unwrap_or(u8::MAX),
        recipients_max: u8::try_from(transcript.limits.recipients_max).unwrap_or(u8::MAX),
        ops: transcript.steps.iter().filter_map(op).collect(),
    }
}

/// The lines of each step in [`WORDS`], as far as they go.
pub fn spelled(transcript: &Transcript) -> Vec<Vec<Vec<u8>>> {
    let spell = |line: &str| {
        let mut rest = line;
        let mut words = Vec::new();
        while let Some(c) = rest.chars().next() {
            let fits = |word: &usize| rest.starts_with(WORDS[*word]);
            let longest = (0..WORDS.len()).filter(fits).max_by_key(|&word| WORDS[word].len());
            words.extend(longest.map(|word| word as u8));
            rest = &rest[longest.map_or(c.len_utf8(), |word| WORDS[word].len())..];
        }
        words
    };
    let lines = |action: &Action| match action {
        Action::Send(_, bytes) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SEND_BYTES_MAX)]);
            text.lines().map(spell).collect()
        }
        _ => Vec::new(),
    };
    transcript.steps.iter().map(|step| lines(&step.action)).collect()
}

/// A transcript as the target `step` has it.
pub fn history<'a>(transcript: &Transcript, lines: &'a [Vec<Vec<u8>>]) -> Vec<Fact<'a>> {
    let mut numbers = Numbers::default();
    let mut history = Vec::new();
    let reserves = !transcript.accounts.is_empty();
    history.extend(reserves.then_some(Fact::AccountsChanged(2)));
    for (step, lines) in transcript.steps.iter().zip(lines) {
        match &step.action {
            Action::Send(who, _) => {
                let (number, is_new) = numbers.of(who);
                history.extend(is_new.then_some(Fact::Connected));
                for line in lines {
                    history.push(Fact::Line(number, line));
                    history.extend(reserves.then_some(Fact::PasswordVerified(number, false)));
                }
            }
            Action::Eof(who) => history.push(Fact::InputEnded(numbers.of(who).0)),
            Action::Reset(who) => history.push(Fact::Disconnected(numbers.of(who).0)),
            Action::Pass(ms) => history.push(Fact::Passed(u8::try_from(*ms).unwrap_or(u8::MAX))),
            Action::Connect(who, _) => {
                let (_, is_new) = numbers.of(who);
                history.extend(is_new.then_some(Fact::Connected));
            }
            Action::Secure(who) => {
                let (number, is_new) = numbers.of(who);
                history.extend(is_new.then_some(Fact::Connected));
                history.push(Fact::Secured(number));
            }
            Action::Close(who) => history.push(Fact::Disconnected(numbers.of(who).0)),
            Action::Kick(who) => history.push(Fact::Kicked(numbers.of(who).0)),
            Action::Ban(_) => history.push(Fact::Banned(1)),
            Action::Unban(_) => history.push(Fact::Unbanned(1)),
            Action::Restart => history.push(Fact::RestartRequested),
            Action::Stop => history.push(Fact::ShutdownRequested),
        }
    }
    history
}

/// The bytes that `arbitrary` reads as this.
pub fn encode_reads(reads: &Reads) -> Vec<u8> {
    let mut bytes = vec![reads.line_bytes_max, reads.recipients_max];
    bytes.extend(reads.sizes);
    bytes.extend(reads.bytes);
    bytes
}

/// The bytes that `arbitrary` reads as this.
pub fn encode_traffic(traffic: &Traffic) -> Vec<u8> {
    let item = |op: &Op<'_>| match *op {
        Op::Send(client, bytes) => encode_item(0, 6, &[client], Some(bytes)),
        Op::Eof(client) => encode_item(1, 6, &[client], None),
        Op::Reset(client) => encode_item(2, 6, &[client], None),
        Op::Overflow(client) => encode_item(3, 6, &[client], None),
        Op::Pass(ms) => encode_item(4, 6, &ms.to_le_bytes(), None),
        Op::Stop => encode_item(5, 6, &[], None),
    };
    let header = [u8::from(traffic.obedient), traffic.line_bytes_max, traffic.recipients_max];
    [&header[..], &encode_list(traffic.ops.iter().map(item).collect())].concat()
}

/// The bytes that `arbitrary` reads as this.
pub fn encode_history(history: &[Fact]) -> Vec<u8> {
    const FACTS: u64 = 16;
    let item = |fact: &Fact<'_>| match *fact {
        Fact::Connected => encode_item(0, FACTS, &[], None),
        Fact::ConnectedAs(client) => encode_item(1, FACTS, &[client], None),
        Fact::Line(client, words) => encode_item(2, FACTS, &[client], Some(words)),
        Fact::InputEnded(client) => encode_item(3, FACTS, &[client], None),
        Fact::Overflowed(client) => encode_item(4, FACTS, &[client], None),
        Fact::Disconnected(client) => encode_item(5, FACTS, &[client], None),
        Fact::Passed(ms) => encode_item(6, FACTS, &[ms], None),
        Fact::TickedAt(at) => encode_item(7, FACTS, &at.to_le_bytes(), None),
        Fact::ShutdownRequested => encode_item(8, FACTS, &[], None),
        Fact::Secured(client) => encode_item(9, FACTS, &[client], None),
        Fact::PasswordVerified(client, said) => encode_item(10, FACTS, &[client, said.into()], None),
        Fact::AccountsChanged(which) => encode_item(11, FACTS, &[which], None),
        Fact::Kicked(client) => encode_item(12, FACTS, &[client], None),
        Fact::Banned(place) => encode_item(13, FACTS, &[place], None),
        Fact::Unbanned(place) => encode_item(14, FACTS, &[place], None),
        Fact::RestartRequested => encode_item(15, FACTS, &[], None),
    };
    encode_list(history.iter().map(item).collect())
}

/// One item of a list: what stands in front, and the bytes behind it, whose length stands at the end of everything.
struct Item {
    front: Vec<u8>,
    bytes: Option<Vec<u8>>,
}

/// Variant `index` of `count`: `arbitrary` multiplies four bytes by the count and keeps what overflows.
fn encode_item(index: u64, count: u64, fields: &[u8], bytes: Option<&[u8]>) -> Item {
    let choice = (index << 32).div_ceil(count) as u32;
    Item { front: [&choice.to_le_bytes(), fields].concat(), bytes: bytes.map(<[u8]>::to_vec) }
}

/// A list, from its last item to its first: a 1 stands before each, and lengths are as wide as what is left needs.
fn encode_list(items: Vec<Item>) -> Vec<u8> {
    let mut rest: Vec<u8> = Vec::new();
    for Item { front, bytes } in items.into_iter().rev() {
        if let Some(mut bytes) = bytes {
            let length = bytes.len() as u16;
            bytes.append(&mut rest);
            let width = if bytes.len() < 256 { 1 } else { 2 };
            bytes.extend(&length.to_be_bytes()[2 - width..]);
            rest = bytes;
        }
        rest = [&[1], &front[..], &rest].concat();
    }
    rest
}

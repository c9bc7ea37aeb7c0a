//! [`Receiver`]: checks what arrives at one client, byte by byte: nothing may be missing, double, out of order or changed.

use crate::compare::dialect::{Dialect, To};
use crate::compare::record::{Record, sender_of, text};

/// The most that is taken for the beginning of a first message, in bytes.
const UNKNOWN_BYTES_MAX: usize = 4096;

/// What one sender has to say to one receiver.
#[derive(Debug)]
struct Flow {
    sender: usize,
    from: String,
    /// What must come next; known when the first has come.
    next: Option<Record>,
    /// How many have come.
    count: u64,
}

/// Whom a receiver listens to, and as what.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// What is sent to this name.
    Peer(String),
    /// What is sent to this group.
    Group(String),
}

impl Address {
    fn to(&self) -> To<'_> {
        match self {
            Address::Peer(name) => To::Peer(name),
            Address::Group(group) => To::Group(group, &[]),
        }
    }
}

/// Reads what arrives at one client.
pub(crate) struct Receiver {
    dialect: &'static dyn Dialect,
    address: Address,
    text_bytes: usize,
    flows: Vec<Flow>,
    /// How long a message is, and where its text begins; known when the first has come.
    shape: Option<(usize, usize)>,
}

impl Receiver {
    /// A receiver of texts of that length from `senders`: by number and name.
    pub(crate) fn new(
        dialect: &'static dyn Dialect,
        address: Address,
        text_bytes: usize,
        senders: impl IntoIterator<Item = (usize, String)>,
    ) -> Receiver {
        let flow = |(sender, from)| Flow { sender, from, next: None, count: 0 };
        Receiver { dialect, address, text_bytes, flows: senders.into_iter().map(flow).collect(), shape: None }
    }

    /// Takes what has come so far, calls `delivered` with the sender and the number of each whole message in it, puts what the
    /// broker wants to be answered into `answers`, and says how many bytes it has taken.
    ///
    /// # Errors
    /// What has come is not what must come next.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        mut delivered: impl FnMut(usize, u64),
        answers: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            if let Some(flow) = self.flow(rest)
                && let Some(next) = &mut flow.next
                && rest.starts_with(next.bytes())
            {
                next.advance();
                taken += next.bytes().len();
                delivered(flow.sender, flow.count);
                flow.count += 1;
            } else if rest.is_empty() {
                return Ok(taken);
            } else if let Some((length, answer)) = self.dialect.aside(rest) {
                taken += length;
                answers.extend_from_slice(&answer);
            } else if !self.learn(rest) {
                return if self.is_begin(rest) { Ok(taken) } else { Err(self.complaint(rest)) };
            }
        }
    }

    /// Whose message this is, as far as it can be told.
    fn flow(&mut self, rest: &[u8]) -> Option<&mut Flow> {
        if self.flows.len() == 1 {
            return self.flows.first_mut();
        }
        let sender = sender_of(rest.get(self.shape?.1..)?)?;
        self.flows.iter_mut().find(|flow| flow.sender == sender)
    }

    /// Whether it is the beginning of something good of which more must come.
    fn is_begin(&self, rest: &[u8]) -> bool {
        let is_begin_of = |whole: &[u8]| rest.len() < whole.len() && whole.starts_with(rest);
        let fits = |flow: &Flow| match &flow.next {
            Some(next) => is_begin_of(next.bytes()),
            None => self.first(flow, rest).is_some_and(|first| is_begin_of(first.bytes())),
        };
        let bytes_max = self.shape.map_or(UNKNOWN_BYTES_MAX, |(length, _)| length);
        self.flows.iter().any(fits) || !rest.contains(&b'\n') && rest.len() < bytes_max
    }

    /// The first message of a sender, if that can be what `rest` begins with.
    fn first(&self, flow: &Flow, rest: &[u8]) -> Option<Record> {
        let text = text(flow.sender, self.text_bytes);
        Record::new(self.dialect.arriving(&flow.from, self.address.to(), &text, rest)?, &text)
    }

    /// Learns from the first message of a sender how its messages look.
    fn learn(&mut self, rest: &[u8]) -> bool {
        for number in 0..self.flows.len() {
            let flow = &self.flows[number];
            if flow.next.is_none()
                && let Some(first) = self.first(flow, rest)
                && rest.starts_with(first.bytes())
            {
                self.shape = Some((first.bytes().len(), first.text_at()));
                self.flows[number].next = Some(first);
                return true;
            }
        }
        false
    }

    fn complaint(&self, rest: &[u8]) -> String {
        let next = |flow: &Flow| match &flow.next {
            Some(next) => format!("\"{}\"", next.bytes().escape_ascii()),
            None => format!("the first message from {}", flow.from),
        };
        let next: Vec<String> = self.flows.iter().take(4).map(next).collect();
        let came = rest[..rest.len().min(160)].escape_ascii();
        format!("at {:?} came \"{came}\", and next must come {}", self.address, next.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::dialect::{Irc, Line, Mqtt, Nats};

    const IRC: Irc = Irc { line_bytes_max: 512 };

    /// What two senders say to `b`, in one stream, as the broker would pass it on.
    fn stream(dialect: &dyn Dialect) -> Vec<Vec<u8>> {
        let message = |sender: usize, number: usize| {
            let first = text(sender, 30);
            let from = format!("s{sender:04}");
            let bytes = match dialect.arriving(&from, To::Peer("b"), &first, b"") {
                Some(bytes) => bytes,
                None => [format!(":{from}!~x@1.2.3.4 PRIVMSG b :").as_bytes(), &first, b"\r\n"].concat(),
            };
            let mut record = Record::new(bytes, &first).unwrap();
            (0..number).for_each(|_| record.advance());
            record.bytes().to_vec()
        };
        [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)].map(|(sender, n)| message(sender, n)).to_vec()
    }

    fn receive(dialect: &'static dyn Dialect, bytes: &[u8], chunk: usize) -> Result<Vec<usize>, String> {
        let senders = [(0, "s0000".to_owned()), (1, "s0001".to_owned())];
        let mut receiver = Receiver::new(dialect, Address::Peer("b".to_owned()), 30, senders);
        let (mut delivered, mut held) = (Vec::new(), Vec::new());
        for bytes in bytes.chunks(chunk) {
            held.extend_from_slice(bytes);
            let taken = receiver.take(&held, |sender, _| delivered.push(sender), &mut Vec::new())?;
            held.drain(..taken);
        }
        if held.is_empty() { Ok(delivered) } else { Err("something is left".to_owned()) }
    }

    #[test]
    fn what_is_right_is_taken_however_it_is_split() {
        for dialect in [&Line as &dyn Dialect, &Nats, &IRC, &Mqtt] {
            let bytes = stream(dialect).concat();
            for chunk in 1..=bytes.len() {
                assert_eq!(receive(dialect, &bytes, chunk).unwrap(), [0, 1, 1, 0, 0, 1], "{chunk}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for dialect in [&Line as &dyn Dialect, &Nats, &IRC, &Mqtt] {
            let right = stream(dialect);
            for i in 0..right.len() - 1 {
                let mut lost = right.clone();
                lost.remove(i);
                let mut double = right.clone();
                double.insert(i, right[i].clone());
                let mut changed = right.clone();
                let at = changed[i].len() - 4;
                changed[i][at] ^= 1;
                for (wrong, what) in [(lost, "lost"), (double, "double"), (changed, "changed")] {
                    // Of the last message of a sender nobody knows that it was to come.
                    let unknowable = what == "lost" && i == 4;
                    assert_eq!(receive(dialect, &wrong.concat(), 7).is_ok(), unknowable, "{what} {i}");
                }
            }
            let mut swapped = right.clone();
            swapped.swap(1, 2);
            assert!(receive(dialect, &swapped.concat(), 1000).is_err(), "swapped");
        }
    }
}

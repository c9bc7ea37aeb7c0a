//! [`Talk`]: clients who talk, driven by one thread over epoll.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::compare::client::Client;
use crate::compare::delivery::Receiver;
use crate::compare::record::Record;

/// The most bytes that one read brings.
const READ_BYTES_MAX: usize = 256 * 1024;

/// How many connections with news one wait brings.
const EVENTS_MAX: usize = 256;

/// How long nothing may arrive before what is missing counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is to happen when something has arrived at a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Its sender may go on when all recipients have it.
    Acknowledge,
    /// This sender's turn has come.
    Turn(usize),
    /// The turn of its sender is over, and nobody's has come.
    End,
}

/// One who says the same thing again and again.
struct Sender {
    client: usize,
    /// A message: in one piece, or in several for some of the recipients each.
    pieces: Vec<Record>,
    recipients: usize,
    /// How many messages it may have sent by now, and has.
    allowed: u64,
    sent: u64,
    /// How many it is to send.
    total: u64,
    /// How many messages all recipients have got.
    complete: u64,
    /// How many have got each of those behind.
    under_way: VecDeque<usize>,
    /// It may have something to send.
    dirty: bool,
}

/// A client's connection.
struct Line {
    socket: TcpStream,
    out: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// The beginning of something that has not come whole.
    held: Vec<u8>,
    receiver: Receiver,
    then: Then,
    /// The socket is watched for room to write.
    waits: bool,
}

/// Clients who talk.
pub(crate) struct Talk {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    lines: Vec<Line>,
    senders: Vec<Sender>,
    buffer: Vec<u8>,
    /// How many messages have arrived, at each of the recipients.
    delivered: u64,
    /// Whose turns are timed, since when the last one goes on, and how long the others took.
    timed: usize,
    turn_began: Instant,
    turns: Vec<Duration>,
    /// The senders who may have something to send.
    dirty: Vec<usize>,
}

impl Talk {
    /// A talk that nobody takes part in.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(crate) fn new() -> Result<Talk, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let nothing = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        Ok(Talk {
            epoll,
            events: vec![nothing; EVENTS_MAX],
            lines: Vec::new(),
            senders: Vec::new(),
            buffer: vec![0; READ_BYTES_MAX],
            delivered: 0,
            timed: usize::MAX,
            turn_began: Instant::now(),
            turns: Vec::new(),
            dirty: Vec::new(),
        })
    }

    /// Takes a client in, and says by which number.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(crate) fn join(&mut self, client: Client, receiver: Receiver, then: Then) -> Result<usize, String> {
        let (socket, held) = client.into_parts().map_err(|error| error.to_string())?;
        let number = self.lines.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).map_err(|error| error.to_string())?;
        self.lines.push(Line { socket, out: Vec::new(), written: 0, held, receiver, then, waits: false });
        Ok(number)
    }

    /// Lets a client speak, `total` times, to so many recipients, with up to `window` messages under way that not all of them
    /// have got; with none, it speaks in turns. Says by which number.
    pub(crate) fn speak(
        &mut self,
        client: usize,
        pieces: Vec<Record>,
        recipients: usize,
        window: u64,
        total: u64,
    ) -> usize {
        let number = self.senders.len();
        self.senders.push(Sender {
            client,
            pieces,
            recipients,
            allowed: window,
            sent: 0,
            total,
            complete: 0,
            under_way: VecDeque::new(),
            dirty: true,
        });
        self.dirty.push(number);
        number
    }

    /// How many speak so far: the number of the next one.
    pub(crate) fn senders(&self) -> usize {
        self.senders.len()
    }

    /// Gives the sender with this number a turn, and times it and those that follow from it.
    pub(crate) fn begin(&mut self, sender: usize) {
        self.timed = sender;
        self.senders[sender].allowed += 1;
        mark(&mut self.senders, &mut self.dirty, sender);
        self.turn_began = Instant::now();
    }

    /// Lets nobody begin another message.
    pub(crate) fn stop(&mut self) {
        for sender in &mut self.senders {
            sender.total = sender.sent;
        }
    }

    /// Whether every message that was sent has arrived at all of its recipients.
    pub(crate) fn is_over(&self) -> bool {
        self.senders.iter().all(|sender| sender.complete == sender.total)
    }

    /// How many messages have arrived, at each of the recipients.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How long each turn that was timed has taken so far, until the answer was there, or the message if nobody answers.
    pub(crate) fn turns(&self) -> &[Duration] {
        &self.turns
    }

    /// Goes on until `done`.
    ///
    /// # Errors
    /// Something is lost, double, out of order or changed, or a connection is broken.
    pub(crate) fn run(&mut self, done: impl Fn(&Talk) -> bool) -> Result<(), String> {
        loop {
            self.send()?;
            if done(self) {
                return Ok(());
            }
            if !self.wait(SILENCE_MAX)? {
                return Err(self.lost());
            }
        }
    }

    /// Lets time pass until that moment. Whatever comes meanwhile is taken.
    ///
    /// # Errors
    /// As for [`Talk::run`], but nothing needs to come.
    pub(crate) fn pause(&mut self, until: Instant) -> Result<(), String> {
        loop {
            self.send()?;
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            self.wait(rest)?;
        }
    }

    /// Waits until something happens, at most so long, and sees to it. Says whether anything has happened.
    fn wait(&mut self, longest: Duration) -> Result<bool, String> {
        let longest = Timespec::try_from(longest).map_err(|error| error.to_string())?;
        let wait = || epoll::wait(&self.epoll, &mut self.events[..], Some(&longest));
        let count = rustix::io::retry_on_intr(wait).map_err(|error| error.to_string())?;
        for i in 0..count {
            let epoll::Event { flags, data, .. } = self.events[i];
            let number = usize::try_from(data.u64()).unwrap_or(usize::MAX);
            if flags.contains(epoll::EventFlags::OUT) {
                self.write(number)?;
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                self.read(number)?;
            }
        }
        Ok(count > 0)
    }

    fn lost(&self) -> String {
        let missing: usize = self.senders.iter().map(|sender| sender.under_way.len()).sum();
        let seconds = SILENCE_MAX.as_secs();
        format!("nothing has come for {seconds} s: {missing} messages are lost, {} had come", self.delivered)
    }

    /// Sends what may be sent by those for whom something has changed.
    fn send(&mut self) -> Result<(), String> {
        while let Some(number) = self.dirty.pop() {
            let sender = &mut self.senders[number];
            sender.dirty = false;
            let out = &mut self.lines[sender.client].out;
            while sender.sent < sender.allowed.min(sender.total) {
                for piece in &mut sender.pieces {
                    out.extend_from_slice(piece.bytes());
                    piece.advance();
                }
                sender.sent += 1;
                sender.under_way.push_back(0);
            }
            let client = sender.client;
            self.write(client)?;
        }
        Ok(())
    }

    fn write(&mut self, number: usize) -> Result<(), String> {
        let line = &mut self.lines[number];
        while line.written < line.out.len() {
            match line.socket.write(&line.out[line.written..]) {
                Ok(length) => line.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("cannot write: {error}")),
            }
        }
        let waits = line.written < line.out.len();
        if !waits {
            line.out.clear();
            line.written = 0;
        }
        if waits != line.waits {
            line.waits = waits;
            let out = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &line.socket, data, epoll::EventFlags::IN | out)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> Result<(), String> {
        let Talk { lines, senders, buffer, delivered, timed, turn_began, turns, dirty, .. } = self;
        let line = &mut lines[number];
        let held = line.held.len();
        buffer[..held].copy_from_slice(&line.held);
        let length = match line.socket.read(&mut buffer[held..]) {
            Ok(0) => return Err("the broker has closed a connection".to_owned()),
            Ok(length) => held + length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(format!("a connection is broken: {error}")),
        };
        let bytes = &buffer[..length];
        let then = line.then;
        let on_delivery = |from: usize, number: u64| {
            *delivered += 1;
            senders[from].arrived(number, then == Then::Acknowledge);
            mark(senders, dirty, from);
            match then {
                Then::Acknowledge => {}
                Then::Turn(next) => {
                    if next == *timed {
                        turns.push(turn_began.elapsed());
                        *turn_began = Instant::now();
                    }
                    senders[next].allowed += 1;
                    mark(senders, dirty, next);
                }
                Then::End => turns.push(turn_began.elapsed()),
            }
        };
        let taken = line.receiver.take(bytes, on_delivery, &mut line.out)?;
        line.held.clear();
        line.held.extend_from_slice(&bytes[taken..]);
        if !line.out.is_empty() && !line.waits {
            self.write(number)?;
        }
        Ok(())
    }
}

impl Sender {
    /// One more recipient has got the message with this number.
    fn arrived(&mut self, number: u64, acknowledged: bool) {
        let at = usize::try_from(number - self.complete).unwrap_or(usize::MAX);
        if let Some(got) = self.under_way.get_mut(at) {
            *got += 1;
        }
        while self.under_way.front() == Some(&self.recipients) {
            self.under_way.pop_front();
            self.complete += 1;
            self.allowed += u64::from(acknowledged);
        }
    }
}

/// Notes that a sender may have something to send.
fn mark(senders: &mut [Sender], dirty: &mut Vec<usize>, number: usize) {
    if !std::mem::replace(&mut senders[number].dirty, true) {
        dirty.push(number);
    }
}

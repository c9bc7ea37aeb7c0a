//! [`Stage`]: the pieces of a message's way through the core, each to be measured alone; and [`Whole`], all of it.

use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use clap::ValueEnum;
use seriatim::protocol::{Reply, Request, Session};
use std::sync::Arc;

use seriatim::server::outbox::{Outbox, Room, Take};
use seriatim::server::staged::{Push, Staged};
use seriatim::{Effect, Event, State, step, step_into};

use super::talk::{Read, Talk, client, conn};

/// A piece of the way, or the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Bytes become requests: `Session::feed`.
    Parse,
    /// Events become effects: `step_into`. Making the event, which copies the request (and so counts a reference), is in it.
    Step,
    /// Replies become bytes: `Reply::render`.
    Render,
    /// All of them, and through the outboxes into the batches to be written.
    Whole,
}

impl Stage {
    /// Sets everything up. Each call of what comes out is one round of the talk, and all rounds are alike.
    pub fn prepare(self, talk: &Talk) -> Box<dyn FnMut() + '_> {
        match self {
            Stage::Parse => Box::new(parse(talk)),
            Stage::Step => Box::new(step_through(talk)),
            Stage::Render => Box::new(render(talk)),
            Stage::Whole => {
                let mut whole = Whole::new(talk);
                Box::new(move || whole.round())
            }
        }
    }
}

fn parse(talk: &Talk) -> impl FnMut() {
    let (mut sessions, mut requests) = (sessions(talk), Vec::new());
    move || {
        for read in &talk.reads {
            sessions[read.from].feed(&read.bytes, &mut requests);
            black_box(&requests);
            requests.clear();
        }
    }
}

fn step_through(talk: &Talk) -> impl FnMut() {
    let (mut state, requests, mut effects) = (talk.state(), talk.requests(), Vec::new());
    move || {
        for (from, request) in &requests {
            step_into(&mut state, Event::Requested(*from, request.clone()), &mut effects);
            black_box(&effects);
            effects.clear();
        }
    }
}

fn render(talk: &Talk) -> impl FnMut() {
    let mut state = talk.state();
    let effects = talk.requests().into_iter().flat_map(|(from, request)| {
        let effects = step(&mut state, Event::Requested(from, request));
        effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { reply, .. } => Some(reply),
            _ => None,
        })
    });
    let (replies, mut lines): (Vec<Reply>, _) = (effects.collect(), Vec::new());
    move || {
        for reply in &replies {
            lines.clear();
            reply.render(talk.limits.line_bytes_max, &mut lines);
            black_box(&lines);
        }
    }
}

fn sessions(talk: &Talk) -> Vec<Session> {
    talk.names.iter().map(|_| Session::new(&talk.limits)).collect()
}

/// The whole way, from the bytes that are read to the bytes to be written, as the server goes it when everybody is busy:
/// what can be filled again is kept, and a connection writes once for each read.
pub struct Whole<'a> {
    talk: &'a Talk,
    state: State,
    clients: Vec<Client>,
    requests: Vec<Request>,
    effects: Vec<Effect>,
    lines: Vec<u8>,
    staged_bytes: usize,
}

struct Client {
    session: Session,
    staged: Staged,
    /// What its connection is writing.
    batch: Vec<u8>,
}

impl<'a> Whole<'a> {
    /// Everybody is logged in, and nothing has been said.
    pub fn new(talk: &'a Talk) -> Whole<'a> {
        let room = Room::new(1024 * 1024, 1024 * 1024 * 1024, 64 * 1024);
        let connect = |session| {
            let staged = Staged::new(Arc::new(Outbox::new(room.clone())));
            Client { session, staged, batch: Vec::new() }
        };
        let clients = sessions(talk).into_iter().map(connect).collect();
        let (requests, effects, lines) = (Vec::new(), Vec::new(), Vec::new());
        Whole { talk, state: talk.state(), clients, requests, effects, lines, staged_bytes: 0 }
    }

    /// Everything is read, and what it brings is written.
    pub fn round(&mut self) {
        for read in &self.talk.reads {
            self.read(read);
        }
        for client in &mut self.clients {
            client.write(&mut self.staged_bytes);
            black_box(&client.batch);
        }
    }

    /// What the connection of the client with this number wrote last.
    pub fn written(&self, client: usize) -> &[u8] {
        &self.clients[client].batch
    }

    fn read(&mut self, read: &Read) {
        self.clients[read.from].session.feed(&read.bytes, &mut self.requests);
        for request in self.requests.drain(..) {
            step_into(&mut self.state, Event::Requested(conn(read.from), request), &mut self.effects);
            for effect in self.effects.drain(..) {
                let Effect::Send { to, reply } = effect else { panic!("nobody leaves") };
                let line_bytes_max = self.talk.limits.line_bytes_max;
                if to.len() > 1 {
                    self.lines.clear();
                    reply.render(line_bytes_max, &mut self.lines);
                }
                let (lines, alone) = (&self.lines, to.len() == 1);
                for conn in to {
                    let staged = &mut self.clients[client(conn)].staged;
                    let pushed = staged.push(&mut self.staged_bytes, |out| match alone {
                        true => reply.render(line_bytes_max, out),
                        false => out.extend_from_slice(lines),
                    });
                    assert_eq!(pushed, Push::Accepted, "everybody reads");
                }
            }
        }
    }
}

impl Client {
    fn write(&mut self, staged_bytes: &mut usize) {
        self.staged.hand_over(staged_bytes);
        self.batch.clear();
        let taken = self.staged.outbox().poll_take(&mut Context::from_waker(Waker::noop()), &mut self.batch);
        if taken == Poll::Ready(Take::Write) {
            self.staged.outbox().wrote(self.batch.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::talk::{Kind, TEXT_BYTES};

    /// What the connection of a client wrote in the last of two rounds, as lines.
    fn written(whole: &Whole, client: usize) -> Vec<String> {
        String::from_utf8(whole.written(client).to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn whoever_talks_is_heard() {
        for (kind, from_of) in
            [(Kind::Pairs, (|client| client ^ 1) as fn(usize) -> usize), (Kind::FanOut, |_| 0)]
        {
            let talk = Talk::new(kind, 3);
            let mut whole = Whole::new(&talk);
            for _ in 0..2 {
                whole.round();
            }
            for client in 0..talk.names.len() {
                let lines = written(&whole, client);
                if (kind, client) == (Kind::FanOut, 0) {
                    assert!(lines.is_empty(), "whoever talks to others does not hear it");
                    continue;
                }
                let head = format!("from {}: line ", talk.names[from_of(client)]);
                assert_eq!(lines.len(), 3);
                for (number, line) in lines.iter().enumerate() {
                    assert!(line.starts_with(&format!("{head}{number}, ")), "{line}");
                    assert_eq!(line.len(), head.len() - "line ".len() + TEXT_BYTES);
                }
            }
        }
    }

    #[test]
    fn every_stage_has_something_to_do() {
        for kind in [Kind::Pairs, Kind::FanOut] {
            let talk = Talk::new(kind, 2);
            assert_eq!(talk.requests().len(), talk.lines);
            for stage in Stage::value_variants() {
                let mut round = stage.prepare(&talk);
                round();
                round();
            }
        }
    }
}

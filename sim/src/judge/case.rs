//! [`Case`]: what is known of a history.

use hashbrown::HashMap;

use super::same;
use crate::history::{History, Item, What};

/// What is known of the whole history.
#[derive(Default)]
pub(super) struct Case<'a> {
    pub(super) sessions: Vec<Session<'a>>,
    names: HashMap<&'a str, NameId>,
    /// By a name as compared.
    ids: HashMap<String, NameId>,
    pub(super) known: Vec<Known<'a>>,
    /// All messages read, those of one session in the order in which they were.
    pub(super) deliveries: Vec<Delivery<'a>>,
}

/// A name, however it is spelled: its place among all that are known.
pub(super) type NameId = usize;

/// What is known of a name.
pub(super) struct Known<'a> {
    /// As it was first spelled.
    pub(super) spelled: &'a str,
    /// The sessions that were welcome under it, in the order in which they read that.
    pub(super) holders: Vec<usize>,
    /// What reached it may not have been read: somebody held it who did not read to the end, or asked for it and did not
    /// live to read the answer.
    pub(super) unread: bool,
}

/// A message as it was read.
pub(super) struct Delivery<'a> {
    pub(super) reader: usize,
    pub(super) item: usize,
    pub(super) from: &'a str,
    pub(super) text: &'a str,
    /// The line that it says it is.
    pub(super) cause: (usize, usize),
}

/// What is known of one session.
#[derive(Default)]
pub(super) struct Session<'a> {
    /// The name it was welcome under, as it was spelled.
    pub(super) name: Option<(&'a str, NameId)>,
    /// If it was welcome under none, as far as it knows: those that it may have been given, as spelled.
    pub(super) asked_for: Vec<&'a str>,
    /// Its lines, in the order written.
    pub(super) lines: Vec<Line<'a>>,
    /// What it read, in order: which line caused it.
    pub(super) mailbox: Vec<Mail>,
    /// Where the welcome was read, and its name written.
    pub(super) welcome: Option<Login>,
    /// When this side began to end it, if it did: until then only the server can have ended it.
    pub(super) ended_at: Option<u64>,
    /// The server ended it: `bye` or a close that this side had not asked for.
    pub(super) ended_by_server: bool,
    /// The connection broke under it.
    pub(super) broke: bool,
    /// It read everything that the server wrote for it: to `bye`, or to the end of the stream.
    pub(super) read_to_the_end: bool,
    /// Of the lines of which it read what they led to, the one written last: when that was written, and where it read it.
    pub(super) got: (u64, usize),
    /// The place of its last item.
    pub(super) last: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Login {
    pub(super) written_at: u64,
    pub(super) read_at: u64,
    pub(super) item: usize,
}

/// A line as it was written.
pub(super) struct Line<'a> {
    pub(super) at: u64,
    pub(super) item: usize,
    pub(super) message: Option<Message<'a>>,
    /// What of its answer was read.
    pub(super) answer: Option<Answer>,
    /// Sessions that have it.
    pub(super) delivered: Vec<usize>,
}

/// A message as it was written: to which names, each once, and the whole text.
pub(super) struct Message<'a> {
    pub(super) to: Vec<NameId>,
    pub(super) text: &'a str,
}

pub(super) struct Answer {
    pub(super) at: u64,
    pub(super) item: usize,
    pub(super) told: Told,
}

/// What a sender was told.
pub(super) enum Told {
    /// Its line was done, but for these names, who are not there.
    Missing(Vec<NameId>),
    /// Its line was refused as a whole.
    Refused,
}

/// Something read: the line that caused it, and when it was read.
#[derive(Clone, Copy)]
pub(super) struct Mail {
    pub(super) cause: (usize, usize),
    pub(super) at: u64,
}

impl<'a> Case<'a> {
    /// Nothing is known yet, but how much there is to know.
    pub(super) fn of(history: &History) -> Case<'a> {
        let read = |item: &&Item| matches!(item.what, What::Read(_));
        let items = history.sessions.iter().flat_map(|session| &session.items);
        Case { deliveries: Vec::with_capacity(items.filter(read).count()), ..Case::default() }
    }

    /// The name that is spelled like this.
    pub(super) fn name(&mut self, spelled: &'a str) -> NameId {
        *self.names.entry(spelled).or_insert_with(|| {
            *self.ids.entry(same(spelled)).or_insert_with(|| {
                self.known.push(Known { spelled, holders: Vec::new(), unread: false });
                self.known.len() - 1
            })
        })
    }

    /// Takes a session in that is known to its end. Without a welcome it may have held any name that it asked for.
    pub(super) fn add(&mut self, mut session: Session<'a>) {
        let answered =
            session.lines.iter().rev().find_map(|line| Some((line.at, line.answer.as_ref()?.item)));
        session.got = answered.unwrap_or_default();
        let unread = !session.read_to_the_end;
        match session.name() {
            Some(name) => {
                self.known[name].holders.push(self.sessions.len());
                self.known[name].unread |= unread;
            }
            None => session.asked_for.iter().for_each(|name| {
                let name = self.name(name);
                self.known[name].unread |= unread;
            }),
        }
        self.sessions.push(session);
    }

    /// Puts those who held a name in the order in which they were welcome.
    pub(super) fn sort_holders(&mut self) {
        for name in &mut self.known {
            name.holders.sort_unstable_by_key(|&holder| self.sessions[holder].welcomed_at());
        }
    }
}

impl Session<'_> {
    /// The name it was welcome under.
    pub(super) fn name(&self) -> Option<NameId> {
        self.name.map(|(_, name)| name)
    }

    /// Whether it can have spoken under this name, spelled like this.
    pub(super) fn may_be(&self, spelled: &str) -> bool {
        self.name.map_or_else(|| self.asked_for.contains(&spelled), |(name, _)| name == spelled)
    }

    pub(super) fn welcomed_at(&self) -> u64 {
        self.welcome.map_or(u64::MAX, |welcome| welcome.read_at)
    }

    /// Up to when it surely held its name, if it was ever welcome: nothing comes to whoever does not.
    pub(super) fn surely_until(&self) -> u64 {
        let (got, _) = self.got;
        if !self.ended_by_server && !self.broke {
            return self.ended_at.unwrap_or(u64::MAX).max(got);
        }
        // When that happened this side cannot know.
        self.welcomed_at().max(got)
    }

    /// Up to when it surely has all that came to its name: as what comes to it has no gaps, up to the last of it.
    pub(super) fn has_all_until(&self) -> u64 {
        if self.read_to_the_end { self.surely_until() } else { self.got.0 }
    }
}

impl Line<'_> {
    /// It was refused as a whole.
    pub(super) fn is_refused(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| matches!(answer.told, Told::Refused))
    }
}

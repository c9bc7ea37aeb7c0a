//! The judge: an independent checker of the guarantees. It gets what the clients wrote and read and nothing else, and it
//! shares no code with the core.
//!
//! Every message of the simulator's clients is unique and carries a receipt (a recipient who cannot exist), so for every
//! line that was answered the judge knows who was told what. It works in time linear in the history:
//! 1. each session by itself: is every line one that the server may say, in answer to what was asked, in the order in
//!    which it was asked, and is every message one that was sent, as it was sent, to this name, once?
//! 2. each message by itself: was it either delivered or reported, for each of its names?
//! 3. each name by itself: did two sessions hold it at once, or one get the other's mail?
//! 4. all together (G1): does one order of all lines explain what everybody saw, given that what was read before something was
//!    written happened before it?

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::{History, Item, Sent, What, tag, token, untag};

/// A guarantee was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which one: `G1` … `G12`, or `protocol`.
    pub rule: String,
    /// What happened.
    pub what: String,
    /// The fewest things seen that prove it: sessions, and places in their histories.
    pub witness: Vec<(usize, usize)>,
}

impl Violation {
    /// A violation, with what proves it.
    pub fn new(rule: &str, what: String, witness: &[(usize, usize)]) -> Violation {
        Violation { rule: rule.to_owned(), what, witness: witness.to_vec() }
    }

    /// Somebody waits for ever.
    pub fn stuck(history: &History, what: String) -> Violation {
        let over = |items: &[Item]| {
            items.iter().any(|item| matches!(item.what, What::Closed(_) | What::Broke | What::Reset))
        };
        let waiting = history.sessions.iter().position(|session| !over(&session.items));
        let witness =
            waiting.map(|session| (session, history.sessions[session].items.len().saturating_sub(1)));
        Violation { rule: "G11".to_owned(), what, witness: witness.into_iter().collect() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Checks a history.
///
/// # Errors
/// The first violation found.
pub fn judge(history: &History) -> Result<(), Violation> {
    let mut case = Case::default();
    for (number, session) in history.sessions.iter().enumerate() {
        case.sessions.push(Session::default());
        read_session(&mut case, history, number, &session.items)?;
    }
    for holders in case.by_name.values_mut() {
        holders.sort_unstable_by_key(|&holder| case.sessions[holder].welcomed_at());
    }
    check_mailboxes(&mut case)?;
    check_messages(&case)?;
    check_names(&case)?;
    check_order(&case)
}

/// Why somebody is not let in.
pub(crate) const REFUSALS: [&str; 4] = [
    "server full",
    "too many connections from your address",
    "too many new connections from your address",
    "too many logins pending",
];

/// What is known of the whole history.
#[derive(Default)]
struct Case {
    sessions: Vec<Session>,
    /// Sessions that were welcome, by name as compared, in the order in which they read that.
    by_name: HashMap<String, Vec<usize>>,
    /// Names that somebody asked for who did not live to read the answer.
    perhaps: HashSet<String>,
    /// All messages read, those of one session in the order in which they were.
    deliveries: Vec<Delivery>,
}

struct Delivery {
    reader: usize,
    item: usize,
    from: String,
    text: String,
    /// The line that it says it is.
    cause: (usize, usize),
}

/// What is known of one session.
#[derive(Default)]
struct Session {
    name: Option<String>,
    /// Its lines, in the order written.
    lines: Vec<Line>,
    /// What it read, in order: which line caused it.
    mailbox: Vec<Mail>,
    /// Where the welcome was read, and its name written.
    welcome: Option<Login>,
    /// When this side began to end it, if it did: until then only the server can have ended it.
    ended_at: Option<u64>,
    /// The server ended it: `bye` or a close that this side had not asked for.
    ended_by_server: bool,
    /// The connection broke under it.
    broke: bool,
    /// It read everything that the server wrote for it: to `bye`, or to the end of the stream.
    read_to_the_end: bool,
    /// The place of its last item.
    last: usize,
}

#[derive(Clone, Copy)]
struct Login {
    written_at: u64,
    read_at: u64,
    item: usize,
}

struct Line {
    at: u64,
    item: usize,
    /// If it is a message: to which names (as compared), and the whole text.
    message: Option<(Vec<String>, String)>,
    /// What of its answer was read.
    answer: Option<Answer>,
    /// Sessions that have it.
    delivered: Vec<usize>,
}

struct Answer {
    at: u64,
    item: usize,
    told: Told,
}

/// What a sender was told.
enum Told {
    /// Its line was done, but for these names, who are not there.
    Missing(Vec<String>),
    /// Its line was refused as a whole.
    Refused,
}

/// Something read: the line that caused it, and when it was read.
#[derive(Clone, Copy)]
struct Mail {
    cause: (usize, usize),
    at: u64,
}

/// How the judge compares names: the simulator's are simple enough for that.
pub(crate) fn same(name: &str) -> String {
    name.to_lowercase().replace("e\u{308}", "\u{eb}")
}

/// Step 1, a session by itself.
fn read_session(case: &mut Case, history: &History, number: usize, items: &[Item]) -> Result<(), Violation> {
    let (sessions, recipients_max) = (history.sessions.len(), history.recipients_max);
    let mut reader = SessionReader {
        number,
        sessions,
        recipients_max,
        asked: Vec::new(),
        next: 0,
        bye: None,
        peers: None,
    };
    for (item, Item { at, what, .. }) in items.iter().enumerate() {
        let session = &mut case.sessions[number];
        session.last = item;
        match what {
            What::Wrote(sent) => {
                if *sent == Sent::Quit {
                    session.ended_at.get_or_insert(*at);
                }
                session.lines.push(Line {
                    at: *at,
                    item,
                    message: message(sent, recipients_max),
                    answer: None,
                    delivered: Vec::new(),
                });
                reader.asked.push(sent);
            }
            What::Ended | What::Reset => drop(session.ended_at.get_or_insert(*at)),
            What::Read(line) => reader.read(case, *at, item, line)?,
            What::Closed(rest) => {
                if !rest.is_empty() {
                    let what = format!("a line was cut off: {rest:?}");
                    return Err(Violation::new("G8", what, &[(number, item)]));
                }
                reader.closed(session, item)?;
            }
            What::Broke => session.broke = true,
        }
    }
    match &case.sessions[number].name {
        Some(name) => case.by_name.entry(same(name)).or_default().push(number),
        None if case.sessions[number].read_to_the_end => {}
        None => case.perhaps.extend(reader.asked.iter().filter_map(|sent| match sent {
            Sent::Name(name) => Some(same(name)),
            _ => None,
        })),
    }
    Ok(())
}

/// What a line says and to whom, unless it lists too many, the receipt among them: then it is to nobody.
fn message(sent: &Sent, recipients_max: usize) -> Option<(Vec<String>, String)> {
    match sent {
        Sent::Say { to, text, .. } if to.len() < recipients_max => {
            let mut names: Vec<String> = to.iter().map(|name| same(name)).collect();
            names.sort_unstable();
            names.dedup();
            Some((names, text.clone()))
        }
        _ => None,
    }
}

struct SessionReader<'a> {
    number: usize,
    /// How many sessions there are in all.
    sessions: usize,
    recipients_max: usize,
    asked: Vec<&'a Sent>,
    /// The first line whose answer has not come yet.
    next: usize,
    /// Where the goodbye was read.
    bye: Option<usize>,
    /// How many names of a list of peers are still to come, and which line asked.
    peers: Option<(usize, usize)>,
}

impl SessionReader<'_> {
    fn read(&mut self, case: &mut Case, at: u64, item: usize, line: &str) -> Result<(), Violation> {
        let here = (self.number, item);
        if let Some(bye) = self.bye {
            let what = format!("behind the goodbye came {line:?}");
            return Err(Violation::new("G6", what, &[(self.number, bye), here]));
        }
        let session = &mut case.sessions[self.number];
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "from" => {
                let Some((from, text)) = rest.split_once(": ") else { return Err(strange(here, line)) };
                let tagged = text.split(' ').next().and_then(|tag| untag(tag.strip_prefix('m')?));
                let Some(cause) = tagged.filter(|cause| cause.0 < self.sessions) else {
                    return Err(Violation::new(
                        "G6",
                        format!("a message that nobody sent: {text:?}"),
                        &[here],
                    ));
                };
                session.mailbox.push(Mail { cause, at });
                // What its sender wrote may not be known yet.
                let (from, text) = (from.to_owned(), text.to_owned());
                case.deliveries.push(Delivery { reader: self.number, item, from, text, cause });
                return Ok(());
            }
            "bye" => {
                self.bye = Some(item);
                session.read_to_the_end = true;
                return self.bye(session, at, item, rest);
            }
            "peers" if self.peers.is_some() => {
                let cause = self.peers(rest).ok_or_else(|| strange(here, line))?;
                session.mailbox.push(Mail { cause: (self.number, cause), at });
                return Ok(());
            }
            "welcome" | "error" | "pong" | "peers" => {}
            _ => return Err(strange(here, line)),
        }
        // The answer to the next line that gets one: to a line without a name, to a message by its receipt.
        let Some(sent) = self.asked.get(self.next) else {
            return Err(Violation::new("G6", format!("nobody asked for {line:?}"), &[here]));
        };
        let asked = self.next;
        self.next += 1;
        let Some(told) = self.answers(session, sent, word, rest) else {
            let what = format!("the answer to {sent:?} was {line:?}");
            return Err(Violation::new("G6", what, &[(self.number, session.lines[asked].item), here]));
        };
        if word == "welcome" {
            session.name = Some(rest.to_owned());
            session.welcome = Some(Login { written_at: session.lines[asked].at, read_at: at, item });
        }
        if word == "peers" {
            self.peers = Some((usize::MAX, asked));
            self.peers(rest).ok_or_else(|| strange(here, line))?;
        }
        session.lines[asked].answer = Some(Answer { at, item, told });
        session.mailbox.push(Mail { cause: (self.number, asked), at });
        Ok(())
    }

    /// What this tells, if it may be the answer to that line.
    fn answers(&self, session: &Session, sent: &Sent, word: &str, rest: &str) -> Option<Told> {
        let code = rest.split(':').next().unwrap_or_default();
        let error = |wanted: &str| word == "error" && code == wanted;
        let fits = match sent {
            // Without a name, nothing but a name is understood.
            Sent::Bad(rule) if session.name.is_none() => {
                use crate::scenario::BadLine;
                match rule {
                    BadLine::TooLong | BadLine::LongTail | BadLine::NotUtf8 => error(rule.code()),
                    _ => error("bad-name"),
                }
            }
            Sent::Name(name) if session.name.is_none() => {
                (word == "welcome" && rest == name) || error("name-taken") || error("bad-name")
            }
            _ if session.name.is_none() => error("bad-name"),
            Sent::Name(_) => error("no-colon"),
            Sent::Say { number, to, .. } => {
                if to.len() >= self.recipients_max {
                    return error("too-many-recipients").then_some(Told::Refused);
                }
                let reported: Vec<&str> = rest.strip_prefix("no-such-peer: ")?.split(", ").collect();
                let (receipt, missing) = reported.split_last()?;
                let known = |name: &&str| to.iter().any(|to| to == *name);
                if word != "error"
                    || *receipt != format!("~{}", tag(self.number, *number))
                    || !missing.iter().all(known)
                {
                    return None;
                }
                let missing: Vec<String> = missing.iter().map(|name| same(name)).collect();
                let each_once = missing.iter().collect::<HashSet<_>>().len() == missing.len();
                return each_once.then_some(Told::Missing(missing));
            }
            Sent::Ping { number } => word == "pong" && rest == token(self.number, *number),
            Sent::Who => word == "peers",
            Sent::Bad(rule) => error(rule.code()),
            Sent::Quit => false, // its answer is the goodbye
        };
        let told = if session.name.is_none() { Told::Refused } else { Told::Missing(Vec::new()) };
        fits.then_some(told)
    }

    /// One line of a list of peers; returns the line that asked.
    fn peers(&mut self, rest: &str) -> Option<usize> {
        let (count, names) = rest.split_once(':')?;
        let count: usize = count.parse().ok()?;
        let here = names.split(',').count();
        let (left, asked) = self.peers.take()?;
        let left = left.min(count).checked_sub(here)?;
        if left > 0 {
            self.peers = Some((left, asked));
        }
        Some(asked)
    }

    fn bye(&mut self, session: &mut Session, at: u64, item: usize, reason: &str) -> Result<(), Violation> {
        let here = (self.number, item);
        match reason {
            "quit" => {
                let quit = self.asked.iter().position(|sent| **sent == Sent::Quit);
                let Some(quit) = quit else {
                    return Err(Violation::new("G6", "nobody asked for the goodbye".to_owned(), &[here]));
                };
                // Everything before has been answered.
                if let Some(line) = (self.next..quit).next() {
                    let what =
                        format!("{:?} was never answered, but what came behind it was", self.asked[line]);
                    return Err(Violation::new("G6", what, &[(self.number, session.lines[line].item), here]));
                }
                session.lines[quit].answer = Some(Answer { at, item, told: Told::Missing(Vec::new()) });
                session.mailbox.push(Mail { cause: (self.number, quit), at });
                self.next = self.asked.len();
            }
            "login timeout" if session.name.is_none() => session.ended_by_server = true,
            "idle" if session.name.is_some() => session.ended_by_server = true,
            // Whoever is not let in is told nothing else.
            reason if REFUSALS.contains(&reason) && self.next == 0 => session.ended_by_server = true,
            "server shutting down" => session.ended_by_server = true,
            "too slow" => {
                session.ended_by_server = true;
                session.read_to_the_end = false; // there was more than it got
            }
            _ => return Err(strange(here, &format!("bye {reason}"))),
        }
        Ok(())
    }

    /// The server closed the connection.
    fn closed(&mut self, session: &mut Session, item: usize) -> Result<(), Violation> {
        if self.bye.is_some() {
            return Ok(());
        }
        session.read_to_the_end = true;
        if session.ended_at.is_none() {
            let what = "the server closed without a goodbye".to_owned();
            return Err(Violation::new("G10", what, &[(self.number, item)]));
        }
        // This side ended first: all it sent has been processed (G10).
        match self.asked.get(self.next) {
            Some(sent) => {
                let what =
                    format!("{sent:?} was never answered, though this side only said that it sends no more");
                Err(Violation::new(
                    "G10",
                    what,
                    &[(self.number, session.lines[self.next].item), (self.number, item)],
                ))
            }
            None => Ok(()),
        }
    }
}

fn strange(here: (usize, usize), line: &str) -> Violation {
    Violation::new("protocol", format!("the server said {line:?}"), &[here])
}

/// Step 1, the messages: each is one that was sent, by whom it says, to whoever read it, as it was, once, and in its
/// sender's order.
fn check_mailboxes(case: &mut Case) -> Result<(), Violation> {
    let mut last: HashMap<(usize, usize), (usize, usize)> = HashMap::new();
    for delivery in std::mem::take(&mut case.deliveries) {
        let Delivery { reader, item, from, text, cause: (sender, number) } = delivery;
        let here = (reader, item);
        let line = case.sessions.get(sender).and_then(|session| session.lines.get(number));
        let Some((line, (to, sent))) = line.and_then(|line| Some((line, line.message.as_ref()?))) else {
            return Err(Violation::new("G6", format!("a message that nobody sent: {text:?}"), &[here]));
        };
        let there = (sender, line.item);
        let fault = |rule, what: String| Err(Violation::new(rule, what, &[there, here]));
        if *sent != text {
            return fault("G6", format!("{sent:?} arrived as {text:?}"));
        }
        if case.sessions[sender].name.as_ref().is_some_and(|name| *name != from) {
            return fault("G8", format!("{text:?} was not sent by {from}"));
        }
        let (reader_name, welcome) = (&case.sessions[reader].name, case.sessions[reader].welcome);
        let reader_name = reader_name.as_deref().map(same).unwrap_or_default();
        if welcome.is_none_or(|welcome| welcome.item > item) {
            return fault("G5", format!("{text:?} came before the welcome"));
        }
        if !to.contains(&reader_name) {
            return fault("G6", format!("{text:?} was not for {reader_name}"));
        }
        if line.delivered.contains(&reader) {
            return fault("G6", format!("{text:?} came twice"));
        }
        if let Some(before) = last.insert((reader, sender), (number, item))
            && before.0 > number
        {
            let what = format!("{text:?} came behind what its sender sent later");
            return Err(Violation::new("G2", what, &[(reader, before.1), here]));
        }
        let login = welcome.map_or(0, |welcome| welcome.written_at);
        if reader == sender && line.answer.as_ref().is_some_and(|answer| answer.item < item) {
            return fault("G4", format!("{text:?} came behind the answer to it"));
        }
        if line.answer.as_ref().is_some_and(|answer| answer.at < login) {
            return fault("G7", format!("{text:?} was for the session that held {reader_name} before"));
        }
        case.sessions[sender].lines[number].delivered.push(reader);
    }
    Ok(())
}

/// Step 2: each message was delivered or reported, for each of its names, and never left out in between.
fn check_messages(case: &Case) -> Result<(), Violation> {
    // For each reader and sender: the first and the last message that came through.
    let mut spans: HashMap<(usize, usize), (usize, usize)> = HashMap::new();
    for (sender, session) in case.sessions.iter().enumerate() {
        for (number, line) in session.lines.iter().enumerate() {
            for &reader in &line.delivered {
                spans.entry((reader, sender)).or_insert((number, number)).1 = number;
            }
            let (Some((to, text)), Some(answer)) = (&line.message, &line.answer) else { continue };
            let to_itself = session.name.as_ref().is_some_and(|name| to.contains(&same(name)));
            if to_itself && matches!(answer.told, Told::Missing(_)) && !line.delivered.contains(&sender) {
                let what =
                    format!("{text:?} was answered, but its sender, whom it names, did not get it before");
                return Err(Violation::new("G6", what, &[(sender, line.item), (sender, answer.item)]));
            }
            for name in to {
                check_recipient(case, line, answer, name, text).map_err(|(rule, what)| {
                    Violation::new(rule, what, &[(sender, line.item), (sender, answer.item)])
                })?;
            }
        }
    }
    let mut spans: Vec<_> = spans.into_iter().collect();
    spans.sort_unstable();
    for ((reader, sender), (first, last)) in spans {
        let name = case.sessions[reader].name.as_deref().map(same).unwrap_or_default();
        for line in &case.sessions[sender].lines[first..=last] {
            if let Some((to, text)) = &line.message
                && to.contains(&name)
                && !line.delivered.contains(&reader)
                && !line.answer.as_ref().is_some_and(|answer| matches!(answer.told, Told::Refused))
            {
                let what =
                    format!("{text:?} is missing at {name}, who got what was sent before and behind it");
                return Err(Violation::new(
                    "G6",
                    what,
                    &[(sender, line.item), (reader, case.sessions[reader].last)],
                ));
            }
        }
    }
    Ok(())
}

/// One name of one message.
fn check_recipient(
    case: &Case,
    line: &Line,
    answer: &Answer,
    name: &str,
    text: &str,
) -> Result<(), (&'static str, String)> {
    let none = Vec::new();
    let holders = case.by_name.get(name).unwrap_or(&none);
    let got = line.delivered.iter().filter(|reader| holders.contains(reader)).count();
    let told = match &answer.told {
        Told::Refused if line.delivered.is_empty() => return Ok(()),
        Told::Refused => return Err(("G5", format!("{text:?} was refused and delivered"))),
        Told::Missing(missing) => missing.iter().any(|missing| missing == name),
    };
    if told && got > 0 {
        return Err(("G5", format!("{text:?} was delivered to {name} and reported as not delivered")));
    }
    if got > 1 {
        return Err(("G7", format!("{text:?} was delivered to {got} sessions of {name}")));
    }
    let unread = |holder: &usize| !case.sessions[*holder].read_to_the_end;
    if !told && got == 0 && !holders.iter().any(unread) && !case.perhaps.contains(name) {
        return Err(("G5", format!("{text:?} was neither delivered to {name} nor reported")));
    }
    // The last session that was welcome before this was written, if it surely was still there when it was answered.
    let before = holders.partition_point(|&holder| case.sessions[holder].welcomed_at() < line.at);
    if let Some(&holder) = before.checked_sub(1).and_then(|last| holders.get(last))
        && told
        && case.sessions[holder].surely_until() > answer.at
    {
        return Err((
            "G5",
            format!("{text:?} was reported as not delivered, but {name} was there all the time"),
        ));
    }
    Ok(())
}

impl Session {
    fn welcomed_at(&self) -> u64 {
        self.welcome.map_or(u64::MAX, |welcome| welcome.read_at)
    }

    /// Up to when it surely held its name, if it was ever welcome.
    fn surely_until(&self) -> u64 {
        if !self.ended_by_server && !self.broke {
            return self.ended_at.unwrap_or(u64::MAX);
        }
        // When that happened this side cannot know; but what it wrote and got an answer to was before.
        let answered = self.lines.iter().rev().find(|line| line.answer.is_some());
        answered.map_or(0, |line| line.at).max(self.welcomed_at())
    }
}

/// Step 3: nobody was welcome under a name that somebody else held all the while.
fn check_names(case: &Case) -> Result<(), Violation> {
    let mut names: Vec<_> = case.by_name.iter().collect();
    names.sort_unstable();
    for (name, holders) in names {
        for pair in holders.windows(2) {
            let (one, other) = (&case.sessions[pair[0]], &case.sessions[pair[1]]);
            let (Some(first), Some(second)) = (one.welcome, other.welcome) else { continue };
            if first.read_at < second.written_at && second.read_at < one.surely_until() {
                let what = format!("two sessions held {name} at once");
                return Err(Violation::new("G7", what, &[(pair[0], first.item), (pair[1], second.item)]));
            }
        }
    }
    Ok(())
}

/// Why one thing came before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// One session wrote them in this order.
    Written,
    /// One session saw them in this order.
    Seen,
    /// One was over before the other began.
    Time,
}

/// Step 4: one order explains it all. If there is none, some things come before themselves: a circle.
fn check_order(case: &Case) -> Result<(), Violation> {
    let mut graph = Graph::default();
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut first_node = Vec::new();
    for (number, session) in case.sessions.iter().enumerate() {
        first_node.push(places.len());
        places.extend(session.lines.iter().map(|line| (number, line.item)));
    }
    let node = |(session, line): (usize, usize)| first_node[session] + line;
    let mut moments: Vec<(u64, usize, bool)> = Vec::new();
    for (number, session) in case.sessions.iter().enumerate() {
        for line in 1..session.lines.len() {
            graph.edge(node((number, line - 1)), node((number, line)), Why::Written);
        }
        for pair in session.mailbox.windows(2).filter(|pair| pair[0].cause != pair[1].cause) {
            graph.edge(node(pair[0].cause), node(pair[1].cause), Why::Seen);
        }
        moments
            .extend(session.lines.iter().enumerate().map(|(line, it)| (it.at, node((number, line)), true)));
        moments.extend(session.mailbox.iter().map(|mail| (mail.at, node(mail.cause), false)));
    }
    moments.sort_unstable();
    for (moment, &(_, line, wrote)) in moments.iter().enumerate() {
        let now = places.len() + moment;
        if moment > 0 {
            graph.edge(now - 1, now, Why::Time);
        }
        if wrote {
            graph.edge(now, line, Why::Time);
        } else {
            graph.edge(line, now, Why::Time);
        }
    }
    let Some(circle) = graph.circle(places.len() + moments.len()) else { return Ok(()) };
    // What one sender wrote in one order and one reader saw in another was found before (G2).
    let rule = if circle.iter().all(|(_, why)| *why == Why::Seen) { "G3" } else { "G4" };
    let witness: Vec<(usize, usize)> =
        circle.iter().filter_map(|&(node, _)| places.get(node).copied()).collect();
    let what = format!(
        "no order explains it: {} lines each come before the next, and the last before the first",
        witness.len()
    );
    Err(Violation::new(rule, what, &witness))
}

/// What comes before what.
#[derive(Default)]
struct Graph {
    edges: Vec<(usize, usize, Why)>,
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize, why: Why) {
        self.edges.push((from, to, why));
    }

    /// A shortest circle through some node that is in one; each node with why it comes before the next.
    fn circle(&self, nodes: usize) -> Option<Vec<(usize, Why)>> {
        // Successors of all nodes in one list, in the order of the nodes.
        let mut starts = vec![0; nodes + 1];
        let mut waits = vec![0_u32; nodes];
        for &(from, to, _) in &self.edges {
            starts[from + 1] += 1;
            waits[to] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut fill = starts.clone();
        let mut successors = vec![(0, Why::Time); self.edges.len()];
        for &(from, to, why) in &self.edges {
            successors[fill[from]] = (to, why);
            fill[from] += 1;
        }
        // Take away whatever nothing comes before, as long as there is anything like that.
        let mut free: Vec<usize> = (0..nodes).filter(|&node| waits[node] == 0).collect();
        let mut left = nodes;
        while let Some(node) = free.pop() {
            left -= 1;
            for &(next, _) in &successors[starts[node]..starts[node + 1]] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    free.push(next);
                }
            }
        }
        if left == 0 {
            return None;
        }
        // What is left is in circles or behind one. Try a few nodes and keep the shortest circle.
        let candidates = (0..nodes).filter(|&node| waits[node] > 0).take(64);
        candidates.filter_map(|node| shortest_circle(node, &starts, &successors, &waits)).min_by_key(Vec::len)
    }
}

/// Breadth first from a node back to itself, among those that are left.
fn shortest_circle(
    start: usize,
    starts: &[usize],
    successors: &[(usize, Why)],
    waits: &[u32],
) -> Option<Vec<(usize, Why)>> {
    let mut came: HashMap<usize, (usize, Why)> = HashMap::new();
    let mut level = vec![start];
    while !level.is_empty() && !came.contains_key(&start) {
        let mut next_level = Vec::new();
        for node in level {
            for &(next, why) in &successors[starts[node]..starts[node + 1]] {
                if waits[next] > 0 && !came.contains_key(&next) {
                    came.insert(next, (node, why));
                    next_level.push(next);
                }
            }
        }
        level = next_level;
    }
    let mut circle = Vec::new();
    let mut node = start;
    loop {
        let &(before, why) = came.get(&node)?;
        circle.push((before, why));
        node = before;
        if node == start {
            break;
        }
    }
    circle.reverse();
    Some(circle)
}

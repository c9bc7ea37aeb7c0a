//! What the broker is supposed to do, once more, as naively as can be: strings, lists and no cleverness. It shares no
//! code with the core, and the properties hold the core to it.

use std::collections::VecDeque;

use super::world::{Seen, World};
use seriatim::protocol::Name;
use seriatim::{ConnId, Event, Limits, Origin};

/// What a client or the world does. Clients are numbered in the order in which they connect.
#[derive(Clone, Debug)]
pub enum Action {
    Connect(Origin),
    /// A line, without its newline.
    Send(usize, String),
    Eof(usize),
    Reset(usize),
    /// The client's outbox overflows.
    Overflow(usize),
    Pass(u64),
    /// Nobody reads on the way what this client sends.
    Secure(usize),
    /// It turns out whether this client's password is right.
    Verify(usize),
    /// These names have accounts from now on.
    Accounts(Vec<&'static str>),
    Kick(usize),
    Ban(Origin),
    Unban(Origin),
    Stop,
    Restart,
}

/// Small enough that every limit is met.
pub fn limits() -> Limits {
    Limits {
        line_bytes_max: 8192,
        recipients_max: 3,
        connections_max: 6,
        connections_per_address_max: Some(2),
        connects_per_minute_max: Some(3),
        logins_pending_max: 3,
        refusals_max: 2,
        login_ms_max: 100,
        account_required: false,
        clear_passwords_allowed: false,
        idle_ms_max: Some(90),
        flush_ms_max: 50,
        refusal_ms_max: 20,
        drain_ms_max: 30,
    }
}

/// Carries an action out on the real core; one about a client that is not there does nothing.
pub fn act(world: &mut World, action: &Action) -> Vec<(usize, Seen)> {
    let conn = |client: usize| ConnId(client as u64 + 1);
    match action {
        Action::Connect(origin) => drop(world.connect(*origin)),
        Action::Send(client, line) => world.send(conn(*client), format!("{line}\n").as_bytes()),
        Action::Eof(client) if world.is_connected(conn(*client)) => world.end_input(conn(*client)),
        Action::Overflow(client) if world.is_connected(conn(*client)) => {
            world.tell(Event::OutboxOverflowed(conn(*client)));
        }
        Action::Eof(_) | Action::Overflow(_) => {}
        Action::Reset(client) => world.disconnect(conn(*client)),
        Action::Pass(ms) => world.pass(*ms),
        Action::Secure(client) => world.tell(Event::Secured(conn(*client))),
        Action::Verify(client) => world.verify(conn(*client)),
        Action::Accounts(names) => {
            let names = names.iter().map(|name| Name::parse(name).unwrap()).collect();
            world.tell(Event::AccountsChanged(names));
        }
        Action::Kick(client) => world.tell(Event::Kicked(conn(*client))),
        Action::Ban(origin) => world.tell(Event::Banned(*origin)),
        Action::Unban(origin) => world.tell(Event::Unbanned(*origin)),
        Action::Stop => world.tell(Event::ShutdownRequested),
        Action::Restart => world.tell(Event::RestartRequested),
    }
    world.take_seen().into_iter().map(|(conn, seen)| (conn.0 as usize - 1, seen)).collect()
}

/// The naive broker.
pub struct Model {
    limits: Limits,
    now: u64,
    clients: Vec<Client>,
    /// When the drain must be over, and whether goodbye has been said.
    drain: Option<(u64, bool)>,
    /// It was not over by then.
    aborted: bool,
    /// What the goodbye is.
    farewell: &'static str,
    accounts: Vec<&'static str>,
    banned: Vec<Origin>,
    seen: Vec<(usize, Seen)>,
    ends: u64,
}

#[derive(Clone)]
struct Client {
    connected_at: u64,
    origin: Origin,
    entry: Entry,
    /// When it last said something, or logged in.
    heard_at: u64,
    name: Option<String>,
    /// When its session ended, and as which of all sessions.
    over: Option<(u64, u64)>,
    input_ended: bool,
    /// It does nothing more.
    away: bool,
    /// And the broker knows.
    gone: bool,
    secured: bool,
    /// The name that its password is being verified for, whether it is right, and what the client has done since.
    verifying: Option<(String, bool)>,
    kept: VecDeque<Kept>,
}

#[derive(Clone)]
enum Kept {
    Line(String),
    Eof,
    Leave,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    LetIn,
    Refused,
    Dropped,
}

impl Model {
    pub fn new(limits: Limits) -> Model {
        Model {
            limits,
            now: 0,
            clients: Vec::new(),
            drain: None,
            aborted: false,
            farewell: "",
            accounts: Vec::new(),
            banned: Vec::new(),
            seen: Vec::new(),
            ends: 0,
        }
    }

    pub fn act(&mut self, action: &Action) -> Vec<(usize, Seen)> {
        match action {
            Action::Connect(origin) => {
                let refusal = self.refusal(*origin);
                let entry = match &refusal {
                    Some(_) if self.drain.is_some() => Entry::Dropped,
                    Some(_)
                        if self.many(|client| client.entry == Entry::Refused, self.limits.refusals_max) =>
                    {
                        Entry::Dropped
                    }
                    Some(_) => Entry::Refused,
                    None => Entry::LetIn,
                };
                self.clients.push(Client {
                    connected_at: self.now,
                    origin: *origin,
                    entry,
                    heard_at: self.now,
                    name: None,
                    over: None,
                    input_ended: false,
                    away: false,
                    gone: false,
                    secured: false,
                    verifying: None,
                    kept: VecDeque::new(),
                });
                let newest = self.clients.len() - 1;
                if self.drain.is_some_and(|(deadline, _)| deadline <= self.now) {
                    self.seen.push((newest, Seen::Aborted));
                    self.leave(newest);
                } else if self.drain.is_some() {
                    self.clients[newest].input_ended = true;
                    self.end(newest, Some(self.farewell));
                } else if entry == Entry::Dropped {
                    self.seen.push((newest, Seen::Aborted));
                    self.leave(newest);
                } else if let Some(refusal) = refusal {
                    self.end(newest, Some(refusal));
                }
            }
            Action::Send(client, line) if self.is_here(*client) => {
                self.bring(*client, Kept::Line(line.clone()));
            }
            Action::Eof(client) if self.is_here(*client) => self.bring(*client, Kept::Eof),
            Action::Overflow(client) if self.is_here(*client) => self.end(*client, Some("too slow")),
            Action::Reset(client) if self.is_here(*client) => self.leave(*client),
            Action::Secure(client) if self.is_known(*client) => self.clients[*client].secured = true,
            Action::Verify(client) if self.is_known(*client) => self.verified(*client),
            Action::Kick(client) if self.is_known(*client) => self.end(*client, Some("kicked")),
            Action::Send(..) | Action::Eof(_) | Action::Overflow(_) | Action::Reset(_) => {}
            Action::Secure(_) | Action::Verify(_) | Action::Kick(_) => {}
            Action::Pass(ms) => self.pass(*ms),
            Action::Accounts(names) => self.accounts.clone_from(names),
            Action::Ban(Origin::Exempt) => {}
            Action::Ban(origin) => self.ban(*origin),
            Action::Unban(origin) => self.banned.retain(|banned| banned != origin),
            Action::Stop => self.stop("server shutting down"),
            Action::Restart => self.stop("server restarting"),
        }
        self.say_goodbye();
        std::mem::take(&mut self.seen)
    }

    fn stop(&mut self, farewell: &'static str) {
        if self.drain.is_none() {
            self.drain = Some((self.now + self.limits.drain_ms_max, false));
            self.farewell = farewell;
            // It waits for nobody's password.
            for client in 0..self.clients.len() {
                if self.clients[client].verifying.is_some() {
                    self.end(client, Some(farewell));
                }
            }
        }
    }

    fn ban(&mut self, origin: Origin) {
        self.banned.push(origin);
        for client in 0..self.clients.len() {
            let Client { gone, entry, origin: from, .. } = self.clients[client];
            if !gone && entry == Entry::LetIn && from == origin {
                self.end(client, Some("kicked"));
                self.say_goodbye(); // it may be the last that was waited for
            }
        }
    }

    /// A client has done something, which waits if its password is being verified.
    fn bring(&mut self, client: usize, kept: Kept) {
        if self.clients[client].verifying.is_some() {
            return self.clients[client].kept.push_back(kept);
        }
        match kept {
            Kept::Line(line) => self.line(client, &line),
            Kept::Eof => {
                self.clients[client].input_ended = true;
                if self.aborted || self.drain.is_none_or(|(_, goodbye)| goodbye) {
                    self.end(client, None);
                }
            }
            Kept::Leave => {
                self.clients[client].gone = true;
                self.clients[client].name = None;
                self.clients[client].over.get_or_insert((0, 0));
            }
        }
        self.say_goodbye();
    }

    fn verified(&mut self, client: usize) {
        let Some((name, is_right)) = self.clients[client].verifying.take() else { return };
        if self.clients[client].over.is_none() {
            if is_right {
                self.take_name(client, &name);
            } else {
                self.say(client, "error wrong-password".to_owned());
            }
        }
        self.release(client);
    }

    /// Nothing waits for this client's password any more.
    fn release(&mut self, client: usize) {
        self.clients[client].verifying = None;
        for kept in std::mem::take(&mut self.clients[client].kept) {
            self.bring(client, kept);
        }
    }

    /// Whether so many clients are like this.
    fn many(&self, like_this: impl Fn(&Client) -> bool, max: usize) -> bool {
        self.clients.iter().filter(|client| !client.gone && like_this(client)).count() >= max
    }

    /// Why somebody from there is not let in now, if so.
    fn refusal(&self, origin: Origin) -> Option<&'static str> {
        let limits = &self.limits;
        let let_in = |client: &Client| client.entry == Entry::LetIn;
        let from_there = |client: &Client| let_in(client) && client.origin == origin;
        if self.drain.is_some() {
            return Some(self.farewell);
        }
        if self.banned.contains(&origin) {
            return Some("banned");
        }
        if self.many(let_in, limits.connections_max) {
            return Some("server full");
        }
        if origin != Origin::Exempt {
            if limits.connections_per_address_max.is_some_and(|max| self.many(from_there, max)) {
                return Some("too many connections from your address");
            }
            if limits.connects_per_minute_max.is_some_and(|max| self.tokens(origin, f64::from(max)) < 1.0) {
                return Some("too many new connections from your address");
            }
        }
        let greets = |client: &Client| let_in(client) && client.name.is_none() && client.over.is_none();
        self.many(greets, limits.logins_pending_max).then_some("too many logins pending")
    }

    /// How many connections may still be made from there just now, told from all that ever were.
    fn tokens(&self, origin: Origin, max: f64) -> f64 {
        let mut tokens = (max, 0);
        let to = |(had, then): (f64, u64), now: u64| {
            (f64::min(max, had + (now - then) as f64 * max / 60_000.0), now)
        };
        for client in &self.clients {
            if client.entry == Entry::LetIn && client.origin == origin {
                tokens = to(tokens, client.connected_at);
                tokens.0 -= 1.0;
            }
        }
        to(tokens, self.now).0 + 1e-6 // what rounding may have lost
    }

    fn is_here(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|client| !client.away)
    }

    fn is_known(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|client| !client.gone)
    }

    fn say(&mut self, client: usize, line: String) {
        self.seen.push((client, Seen::Line(line)));
    }

    fn end(&mut self, client: usize, bye: Option<&str>) {
        if self.clients[client].over.is_some() {
            return;
        }
        self.ends += 1;
        self.clients[client].over = Some((self.now, self.ends));
        self.clients[client].name = None;
        if let Some(bye) = bye {
            self.say(client, format!("bye {bye}"));
        }
        self.seen.push((client, Seen::Closed));
        self.release(client);
    }

    fn leave(&mut self, client: usize) {
        self.clients[client].away = true;
        self.bring(client, Kept::Leave);
    }

    fn say_goodbye(&mut self) {
        let Some((deadline, false)) = self.drain else { return };
        if self.aborted {
            return;
        }
        if self.clients.iter().any(|client| client.over.is_none() && !client.input_ended) {
            return;
        }
        self.drain = Some((deadline, true));
        (0..self.clients.len()).for_each(|client| self.end(client, Some(self.farewell)));
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        for client in 0..self.clients.len() {
            let Client { connected_at, name, over, .. } = self.clients[client].clone();
            if over.is_none() && name.is_none() && connected_at + self.limits.login_ms_max <= self.now {
                self.end(client, Some("login timeout"));
                self.say_goodbye(); // it may be the last that was waited for
            }
        }
        if let (Some(idle_ms_max), None) = (self.limits.idle_ms_max, self.drain) {
            let named = self.clients.iter().enumerate().filter(|(_, client)| client.name.is_some());
            let due = named.map(|(number, client)| (client.heard_at + idle_ms_max, number));
            let mut idle: Vec<(u64, usize)> = due.filter(|&(at, _)| at <= self.now).collect();
            idle.sort_unstable();
            for (_, client) in idle {
                self.end(client, Some("idle"));
            }
        }
        self.say_goodbye();
        let mut late: Vec<(bool, u64, usize)> = Vec::new();
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.gone) {
            let refused = client.entry == Entry::Refused;
            let time = if refused { self.limits.refusal_ms_max } else { self.limits.flush_ms_max };
            if let Some((at, end)) = client.over
                && at + time <= self.now
            {
                late.push((!refused, end, number));
            }
        }
        late.sort_unstable();
        for (_, _, client) in late {
            if self.is_here(client) {
                self.seen.push((client, Seen::Aborted));
                self.leave(client);
            }
        }
        if self.drain.is_some_and(|(deadline, _)| deadline <= self.now) {
            self.aborted = true;
            for client in 0..self.clients.len() {
                if self.is_here(client) {
                    self.seen.push((client, Seen::Aborted));
                    self.leave(client);
                }
            }
        }
    }

    fn line(&mut self, client: usize, line: &str) {
        if self.clients[client].over.is_some() || line.trim().is_empty() {
            return;
        }
        self.clients[client].heard_at = self.now;
        let strange = line.chars().any(|c| c.is_control() && c != '\t');
        let line = line.trim();
        let Some(name) = self.clients[client].name.clone() else { return self.log_in(client, line, strange) };
        if strange {
            return self.say(client, "error bad-text".to_owned());
        }
        if let Some(command) = line.strip_prefix('/') {
            return self.command(client, command);
        }
        let Some((to, text)) = line.split_once(':') else {
            return self.say(client, "error no-colon".to_owned());
        };
        let to: Vec<&str> = to.split(',').map(str::trim).filter(|to| !to.is_empty()).collect();
        if to.is_empty() {
            self.say(client, "error no-recipient".to_owned());
        } else if to.len() > self.limits.recipients_max {
            self.say(client, "error too-many-recipients".to_owned());
        } else if text.trim().is_empty() {
            self.say(client, "error empty-message".to_owned());
        } else {
            self.message(client, &to, &format!("from {name}: {}", text.trim()));
        }
    }

    fn log_in(&mut self, client: usize, line: &str, strange: bool) {
        // The name ends where white space begins; a password follows.
        let (name, password) =
            line.split_once(char::is_whitespace).map_or((line, None), |(n, p)| (n, Some(p)));
        let is_command_or_message = line.starts_with('/')
            || line.split_once(':').is_some_and(|(to, text)| {
                to.chars().all(|c| c == ',' || c.is_whitespace())
                    || text.is_empty()
                    || to.split(',').filter(|to| !to.trim().is_empty()).count() > self.limits.recipients_max
            });
        let line = if password.is_some() { name } else { line };
        let is_long = line.chars().count() > 32 || line.len() > 64;
        let of_a_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if strange
            || is_command_or_message
            || !line.chars().all(of_a_name)
            || line.starts_with(['.', '-'])
            || is_long
        {
            return self.say(client, "error bad-name".to_owned());
        }
        let folded = line.to_lowercase();
        let reserved = self.accounts.iter().any(|account| *account == folded);
        let secured = self.clients[client].secured || self.limits.clear_passwords_allowed;
        match password {
            None if reserved => self.say(client, "error name-reserved".to_owned()),
            Some(_) if !reserved => self.say(client, "error no-such-account".to_owned()),
            Some(_) if !secured => self.say(client, "error unencrypted".to_owned()),
            Some(_) if self.drain.is_some() => self.end(client, Some(self.farewell)),
            Some(password) => {
                let is_right = password.trim_start() == format!("{folded}'s secret");
                self.clients[client].verifying = Some((line.to_owned(), is_right));
            }
            None if self.limits.account_required => self.say(client, "error account-required".to_owned()),
            None => self.take_name(client, line),
        }
    }

    fn take_name(&mut self, client: usize, name: &str) {
        if self.holder(name).is_some() {
            self.say(client, "error name-taken".to_owned());
        } else {
            self.clients[client].name = Some(name.to_owned());
            self.clients[client].heard_at = self.now;
            self.say(client, format!("welcome {name}"));
        }
    }

    fn holder(&self, name: &str) -> Option<usize> {
        let same = |held: &String| held.to_lowercase() == name.to_lowercase();
        self.clients.iter().position(|client| client.name.as_ref().is_some_and(same))
    }

    fn message(&mut self, client: usize, to: &[&str], line: &str) {
        let mut had: Vec<usize> = Vec::new();
        let mut missing: Vec<&str> = Vec::new();
        for name in to {
            match self.holder(name) {
                Some(holder) if had.contains(&holder) => {}
                Some(holder) => {
                    had.push(holder);
                    self.say(holder, line.to_owned());
                }
                None if missing.iter().any(|other| other.to_lowercase() == name.to_lowercase()) => {}
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            self.say(client, format!("error no-such-peer: {}", missing.join(", ")));
        }
    }

    fn command(&mut self, client: usize, command: &str) {
        if command == "quit" {
            self.end(client, Some("quit"));
        } else if command == "who" {
            let mut names: Vec<String> =
                self.clients.iter().filter_map(|client| client.name.clone()).collect();
            // By their folded form, in which an accent is a character of its own.
            let folded =
                |name: &String| name.to_lowercase().replace('ë', "e\u{308}").replace('é', "e\u{301}");
            names.sort_by_key(folded);
            self.say(client, format!("peers {}: {}", names.len(), names.join(", ")));
        } else if command == "help" {
            (0..5).for_each(|_| self.say(client, "help".to_owned()));
        } else if command == "ping" {
            self.say(client, "pong".to_owned());
        } else if let Some(("ping", token)) = command.split_once(char::is_whitespace) {
            self.say(client, format!("pong {}", token.trim()));
        } else {
            self.say(client, "error unknown-command".to_owned());
        }
    }
}

/// The words of an error and of help are for people: two errors are the same if their codes are, but for the names nobody
/// holds.
pub fn without_words(seen: Vec<(usize, Seen)>) -> Vec<(usize, Seen)> {
    let strip = |seen| match seen {
        Seen::Line(line) if line.starts_with("error ") && !line.starts_with("error no-such-peer") => {
            Seen::Line(line.split(':').next().unwrap_or_default().to_owned())
        }
        Seen::Line(line) if line.starts_with("help ") => Seen::Line("help".to_owned()),
        other => other,
    };
    seen.into_iter().map(|(client, seen)| (client, strip(seen))).collect()
}

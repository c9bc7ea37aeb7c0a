//! Step 1, a session by itself: is every line one that the server may say, in answer to what was asked, in the order in which
//! it was asked?

use super::case::{Answer, Case, Delivery, Line, Login, Mail, Message, NameId, Session, Told};
use super::{REFUSALS, Violation, same};
use crate::history::{Delivered, History, Item, Logins, Orders, Sent, What, delivered, tag, token};
use crate::scenario::BadLine;

/// Takes a session into the case.
pub(super) fn read<'a>(
    case: &mut Case<'a>,
    history: &'a History,
    number: usize,
    items: &'a [Item],
) -> Result<(), Violation> {
    let wrote = items.iter().filter(|item| matches!(item.what, What::Wrote(_))).count();
    let (lines, mailbox) = (Vec::with_capacity(wrote), Vec::with_capacity(items.len() - wrote));
    let mut reader = Reader {
        case,
        number,
        session: Session { lines, mailbox, ..Session::default() },
        sessions: history.sessions.len(),
        recipients_max: history.recipients_max,
        logins: &history.logins,
        orders: &history.orders,
        asked: Vec::with_capacity(wrote),
        next: 0,
        bye: None,
        peers: None,
    };
    for (place, item) in items.iter().enumerate() {
        reader.item(place, item)?;
    }
    let Reader { mut session, asked, .. } = reader;
    if session.name.is_none() {
        // Whatever was answered was refused.
        let open = asked.iter().zip(&session.lines).filter(|(_, line)| line.answer.is_none());
        session.asked_for = open.filter_map(|(sent, _)| sent.asks_for().map(String::as_str)).collect();
    }
    case.add(session);
    Ok(())
}

struct Reader<'a, 'c> {
    case: &'c mut Case<'a>,
    number: usize,
    session: Session<'a>,
    /// How many sessions there are in all.
    sessions: usize,
    recipients_max: usize,
    logins: &'a Logins,
    orders: &'a Orders,
    asked: Vec<&'a Sent>,
    /// The first line whose answer has not come yet.
    next: usize,
    /// Where the goodbye was read.
    bye: Option<usize>,
    /// How many names of a list of peers are still to come, and which line asked.
    peers: Option<(usize, usize)>,
}

impl<'a> Reader<'a, '_> {
    fn item(&mut self, place: usize, Item { at, what, .. }: &'a Item) -> Result<(), Violation> {
        self.session.last = place;
        match what {
            What::Wrote(sent) => {
                if *sent == Sent::Quit {
                    self.session.ended_at.get_or_insert(*at);
                }
                let message = self.message(sent);
                let line = Line { at: *at, item: place, message, answer: None, delivered: Vec::new() };
                self.session.lines.push(line);
                self.asked.push(sent);
            }
            What::Ended | What::Reset => drop(self.session.ended_at.get_or_insert(*at)),
            What::Read(line) => self.line(*at, place, line)?,
            What::Closed(rest) if !rest.is_empty() => {
                let what = format!("a line was cut off: {rest:?}");
                return Err(Violation::new("G8", what, &[(self.number, place)]));
            }
            What::Closed(_) => self.closed(place)?,
            What::Broke => self.session.broke = true,
        }
        Ok(())
    }

    /// What a line says and to whom, unless it lists too many, the receipt among them: then it is to nobody.
    fn message(&mut self, sent: &'a Sent) -> Option<Message<'a>> {
        match sent {
            Sent::Say { to, text, bare, .. } if !self.lists_too_many(to, *bare) => {
                let mut to: Vec<NameId> = to.iter().map(|name| self.case.name(name)).collect();
                to.sort_unstable();
                to.dedup();
                Some(Message { to, text })
            }
            _ => None,
        }
    }

    fn lists_too_many(&self, to: &[String], bare: bool) -> bool {
        to.len() + usize::from(!bare) > self.recipients_max
    }

    /// A line of the server's.
    fn line(&mut self, at: u64, item: usize, line: &'a str) -> Result<(), Violation> {
        let here = (self.number, item);
        if let Some(bye) = self.bye {
            let what = format!("behind the goodbye came {line:?}");
            return Err(Violation::new("G6", what, &[(self.number, bye), here]));
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word != "peers" {
            self.no_list_is_open(item)?;
        }
        match word {
            "from" => {
                let Some(Delivered { from, text, cause }) = delivered(line) else {
                    return Err(strange(here, line));
                };
                let Some(cause) = cause.filter(|cause| cause.0 < self.sessions) else {
                    let what = format!("a message that nobody sent: {text:?}");
                    return Err(Violation::new("G6", what, &[here]));
                };
                self.session.mailbox.push(Mail { cause, at });
                // What its sender wrote may not be known yet.
                self.case.deliveries.push(Delivery { reader: self.number, item, from, text, cause });
                Ok(())
            }
            "bye" => {
                self.bye = Some(item);
                self.session.read_to_the_end = true;
                self.bye(at, item, rest)
            }
            "peers" if self.peers.is_some() => {
                let cause = self.peers(rest).ok_or_else(|| strange(here, line))?;
                self.session.mailbox.push(Mail { cause: (self.number, cause), at });
                Ok(())
            }
            "welcome" | "error" | "pong" | "peers" => self.answer(at, item, line, word, rest),
            _ => Err(strange(here, line)),
        }
    }

    /// What has no receipt and nobody is missing of has been done when what is behind it is answered.
    fn pass_bare(&mut self, at: u64, item: usize, word: &str, rest: &str) {
        if word == "error" && rest.starts_with("no-such-peer: ") {
            return;
        }
        while let Some(Sent::Say { bare: true, .. }) = self.asked.get(self.next) {
            let told = Told::Missing(Vec::new());
            self.session.lines[self.next].answer = Some(Answer { at, item, told });
            self.next += 1;
        }
    }

    /// The answer to the next line that gets one: to a line without a name, to a message by its receipt.
    fn answer(
        &mut self,
        at: u64,
        item: usize,
        line: &str,
        word: &str,
        rest: &'a str,
    ) -> Result<(), Violation> {
        let here = (self.number, item);
        self.pass_bare(at, item, word, rest);
        let asked = self.next;
        let Some(&sent) = self.asked.get(asked) else {
            return Err(Violation::new("G6", format!("nobody asked for {line:?}"), &[here]));
        };
        self.next += 1;
        let Some(told) = self.told(sent, word, rest) else {
            let what = format!("the answer to {sent} was {line:?}");
            return Err(Violation::new("G6", what, &[(self.number, self.session.lines[asked].item), here]));
        };
        if word == "welcome" {
            self.session.name = Some((rest, self.case.name(rest)));
            let written_at = self.session.lines[asked].at;
            self.session.welcome = Some(Login { written_at, read_at: at, item });
        }
        if word == "peers" {
            self.peers = Some((usize::MAX, asked));
            self.peers(rest).ok_or_else(|| strange(here, line))?;
        }
        self.session.lines[asked].answer = Some(Answer { at, item, told });
        self.session.mailbox.push(Mail { cause: (self.number, asked), at });
        Ok(())
    }

    /// What this tells, if it may be the answer to that line.
    fn told(&mut self, sent: &Sent, word: &str, rest: &'a str) -> Option<Told> {
        let code = rest.split(':').next().unwrap_or_default();
        let error = |wanted: &str| word == "error" && code == wanted;
        let stranger = self.session.name.is_none();
        let fits = match sent {
            // Without a name, nothing but a name is understood.
            Sent::Bad(rule) if stranger => match rule {
                BadLine::TooLong | BadLine::LongTail | BadLine::NotUtf8 => error(rule.code()),
                _ => error("bad-name") || error("no-such-account"),
            },
            Sent::Proof { name, right } if stranger => match self.is_reserved(name) {
                true if !self.logins.taken => error("unencrypted"),
                true if *right && !(self.logins.may_panic && error("wrong-password")) => {
                    (word == "welcome" && rest == name) || error("name-taken")
                }
                true => error("wrong-password"),
                false => error("no-such-account") || error("bad-name"),
            },
            Sent::Name(name) if stranger && self.is_reserved(name) => error("name-reserved"),
            Sent::Name(name) if stranger && name.contains(char::is_whitespace) => {
                error("no-such-account") || error("bad-name")
            }
            Sent::Name(_) if stranger && self.logins.required => {
                error("account-required") || error("bad-name")
            }
            Sent::Name(name) if stranger => {
                (word == "welcome" && rest == name) || error("name-taken") || error("bad-name")
            }
            _ if stranger => error("bad-name") || error("no-such-account"),
            Sent::Name(_) | Sent::Proof { .. } => error("no-colon"),
            Sent::Say { to, bare, .. } if self.lists_too_many(to, *bare) => {
                return error("too-many-recipients").then_some(Told::Refused);
            }
            Sent::Say { number, to, bare, .. } => {
                return if word == "error" { self.missing(*number, to, *bare, rest) } else { None };
            }
            Sent::Ping { number } => word == "pong" && rest == token(self.number, *number),
            Sent::Who => word == "peers",
            Sent::Bad(rule) => error(rule.code()),
            Sent::Quit => false, // its answer is the goodbye
        };
        let told = if stranger { Told::Refused } else { Told::Missing(Vec::new()) };
        fits.then_some(told)
    }

    /// Whether the name belongs to somebody who knows its password.
    fn is_reserved(&self, name: &str) -> bool {
        self.logins.accounts.iter().any(|account| same(account) == same(name))
    }

    /// Who is missing, each once and as the sender wrote it, and behind them the receipt, if it asked for one.
    fn missing(&mut self, number: usize, to: &[String], bare: bool, rest: &'a str) -> Option<Told> {
        let reported = rest.strip_prefix("no-such-peer: ")?;
        let (reported, receipt) = match reported.rsplit_once(", ") {
            _ if bare => (Some(reported), None),
            Some((reported, receipt)) => (Some(reported), Some(receipt)),
            None => (None, Some(reported)),
        };
        if let Some(receipt) = receipt
            && receipt.strip_prefix('~')? != tag(self.number, number)
        {
            return None;
        }
        let mut missing = Vec::new();
        for name in reported.into_iter().flat_map(|reported| reported.split(", ")) {
            let known = to.iter().any(|to| to == name);
            let name = self.case.name(name);
            if !known || missing.contains(&name) {
                return None;
            }
            missing.push(name);
        }
        Some(Told::Missing(missing))
    }

    /// A list of peers is whole before anything else comes.
    fn no_list_is_open(&self, item: usize) -> Result<(), Violation> {
        let Some((left, _)) = self.peers else { return Ok(()) };
        let what = format!("a list of peers broke off: {left} of them are missing");
        Err(Violation::new("G8", what, &[(self.number, item)]))
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

    fn bye(&mut self, at: u64, item: usize, reason: &str) -> Result<(), Violation> {
        let here = (self.number, item);
        let (may_be_kicked, may_be_banned) = (self.may_be_kicked(), self.may_be_banned());
        let session = &mut self.session;
        match reason {
            "quit" => {
                let quit = self.asked.iter().position(|sent| **sent == Sent::Quit);
                let Some(quit) = quit else {
                    return Err(Violation::new("G6", "nobody asked for the goodbye".to_owned(), &[here]));
                };
                // Everything before has been answered.
                if let Some(line) = (self.next..quit).next() {
                    let what =
                        format!("{} was never answered, but what came behind it was", self.asked[line]);
                    return Err(Violation::new("G6", what, &[(self.number, session.lines[line].item), here]));
                }
                session.lines[quit].answer = Some(Answer { at, item, told: Told::Missing(Vec::new()) });
                session.mailbox.push(Mail { cause: (self.number, quit), at });
                self.next = self.asked.len();
            }
            "login timeout" if session.name.is_none() => session.ended_by_server = true,
            "idle" if session.name.is_some() => session.ended_by_server = true,
            "kicked" if may_be_kicked => session.ended_by_server = true,
            "banned" if !may_be_banned => return Err(strange(here, "bye banned")),
            // Whoever is not let in is told nothing else.
            reason if REFUSALS.contains(&reason) && self.next == 0 => session.ended_by_server = true,
            "server shutting down" if !self.orders.restart => session.ended_by_server = true,
            "server restarting" if self.orders.restart => session.ended_by_server = true,
            "too slow" => {
                session.ended_by_server = true;
                session.read_to_the_end = false; // there was more than it got
            }
            _ => return Err(strange(here, &format!("bye {reason}"))),
        }
        Ok(())
    }

    /// Whether the operator may have ended this session.
    fn may_be_kicked(&self) -> bool {
        let name = self.session.name.map(|(name, _)| name);
        self.orders.commands.iter().any(|command| command.ends(self.orders.origins, self.number, name))
    }

    /// Whether the operator may have banned the address that it comes from.
    fn may_be_banned(&self) -> bool {
        self.orders.commands.iter().any(|command| command.bans(self.orders.origins, self.number))
    }

    /// The server closed the connection.
    fn closed(&mut self, item: usize) -> Result<(), Violation> {
        self.no_list_is_open(item)?;
        if self.bye.is_some() {
            return Ok(());
        }
        self.session.read_to_the_end = true;
        if self.session.ended_at.is_none() {
            let what = "the server closed without a goodbye".to_owned();
            return Err(Violation::new("G10", what, &[(self.number, item)]));
        }
        // This side ended first: all it sent has been processed (G10).
        let Some(sent) = self.asked.get(self.next) else { return Ok(()) };
        let what = format!("{sent} was never answered, though this side only said that it sends no more");
        let asked = (self.number, self.session.lines[self.next].item);
        Err(Violation::new("G10", what, &[asked, (self.number, item)]))
    }
}

fn strange(here: (usize, usize), line: &str) -> Violation {
    Violation::new("protocol", format!("the server said {line:?}"), &[here])
}

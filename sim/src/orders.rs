//! The operator's orders, and the rules about them: each is carried out, nobody is kicked or banned without one, and whoever it
//! is for is not spared.
//!
//! An order is carried out somewhere between when it was given and when its answer came. In a run in which nothing ever has to
//! wait, all that follows from it shows in that millisecond.

use seriatim::server::operator::Operator;

use crate::history::{History, Item, SessionHistory, What, is_goodbye};
use crate::judge::Violation;
use crate::scenario::{Command, Scenario};
use crate::timing::Around;
use crate::world::World;

/// An order that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// What was ordered.
    pub what: Command,
    /// When: as a stamp, and in milliseconds.
    pub at: (u64, u64),
    /// When it surely had been carried out, if it was.
    pub done: Option<(u64, u64)>,
    /// It was a kick, and nobody held the name.
    pub found_nobody: bool,
    /// The operator was told what became of it, even if that was only that the server has ended.
    pub settled: bool,
}

/// What the operator is told of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// It was a kick, and nobody holds the name.
    Nobody,
    /// The server has ended.
    Ended,
}

impl Given {
    /// It has just been given.
    pub fn new(what: Command, at: (u64, u64)) -> Given {
        Given { what, at, done: None, found_nobody: false, settled: false }
    }

    /// The operator has been told what became of it, at this moment.
    pub fn answer(&mut self, answer: Answer, at: (u64, u64)) {
        self.settled = true;
        self.found_nobody = answer == Answer::Nobody;
        self.done = (answer != Answer::Ended).then_some(at);
    }
}

/// Gives an order, and waits for what becomes of it.
pub async fn give(what: &Command, operator: &Operator, scenario: &Scenario, world: &World) -> Answer {
    let done = match what {
        Command::Kick(name) => {
            let kicked = operator.kick(name).await;
            if kicked == Some(None) {
                world.log().marks.hit("a kick found nobody");
                return Answer::Nobody;
            }
            kicked.map(drop)
        }
        Command::Ban(origin) => operator.ban(scenario.origin(*origin)).await,
        Command::Unban(origin) => operator.unban(scenario.origin(*origin)).await,
    };
    done.map_or(Answer::Ended, |()| Answer::Done)
}

/// Checks what became of the orders.
///
/// # Errors
/// The first violation found.
pub(crate) fn check(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    check_settled(scenario, around)?;
    let prompt = scenario.is_prompt();
    for (number, session) in history.sessions.iter().enumerate() {
        let case = Case { scenario, around, number, session };
        case.check_kicked()?;
        case.check_let_in()?;
        if prompt {
            case.check_ended()?;
            case.check_refused()?;
        }
    }
    Ok(())
}

/// Whoever gives an order hears what became of it; and if nothing goes wrong, before time passes.
fn check_settled(scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    for Given { what, at: (_, ms), done, settled, .. } in &around.orders {
        let wrong = if !settled {
            "and the operator never hears of it".to_owned()
        } else if let Some((_, done)) = done.filter(|(_, done)| done > ms && scenario.is_calm()) {
            format!("and that was done at {done} ms")
        } else if done.is_none() && around.stopping.is_none() {
            "and the operator was told that the server has ended, which it has not".to_owned()
        } else {
            continue;
        };
        return Err(Violation::new("G11", format!("at {ms} ms the operator ordered {what:?}, {wrong}"), &[]));
    }
    Ok(())
}

/// Whether an order may have ended this session in the millisecond in which its client broke the connection, so that it
/// never read why. The order may also have been given after the client broke the connection: what the client wrote is
/// still on its way to the server then.
pub(crate) fn may_have_ended(
    history: &History,
    scenario: &Scenario,
    around: &Around,
    number: usize,
    broke: &Item,
) -> bool {
    let case = Case { scenario, around, number, session: &history.sessions[number] };
    case.ends().any(|given| given.at.1 == broke.ms)
}

/// Whether this connection may have come from a banned address.
///
/// # Errors
/// Why it cannot have.
pub(crate) fn believe_ban(
    scenario: &Scenario,
    around: &Around,
    number: usize,
    session: &SessionHistory,
    place: usize,
) -> Result<(), String> {
    let case = Case { scenario, around, number, session };
    let may_be = case.bans().any(|(ban, unban)| {
        let over = unban.and_then(|unban| unban.done).is_some_and(|(_, over)| over < session.ms);
        ban.at.0 < session.items[place].at && !over
    });
    if may_be { Ok(()) } else { Err("where it comes from was not banned".to_owned()) }
}

/// One session, and the orders.
struct Case<'a> {
    scenario: &'a Scenario,
    around: &'a Around,
    number: usize,
    session: &'a SessionHistory,
}

impl<'a> Case<'a> {
    /// The name that it was welcome under.
    fn name(&self) -> Option<&'a str> {
        let welcome = |item: &'a Item| {
            if let What::Read(line) = &item.what { line.strip_prefix("welcome ") } else { None }
        };
        self.session.items.iter().find_map(welcome)
    }

    /// The orders that end it if it is there.
    fn ends(&self) -> impl Iterator<Item = &'a Given> {
        let (origins, number, name) = (self.scenario.origins, self.number, self.name());
        self.around.orders.iter().filter(move |given| given.what.ends(origins, number, name))
    }

    /// The bans of where it comes from, each with the order that ended it.
    fn bans(&self) -> impl Iterator<Item = (&'a Given, Option<&'a Given>)> {
        let (origins, number, orders) = (self.scenario.origins, self.number, &self.around.orders);
        orders.iter().enumerate().filter(move |(_, given)| given.what.bans(origins, number)).map(
            move |(place, ban)| {
                (ban, orders[place..].iter().find(|given| given.what.unbans(origins, number)))
            },
        )
    }

    /// The server was being stopped by then, and all are told that.
    fn is_stopped_by(&self, ms: u64) -> bool {
        self.around.stopping.is_some_and(|(_, stopping)| stopping <= ms)
    }

    fn violation(&self, what: String, place: usize) -> Violation {
        let place = self.session.items.get(place).map(|_| (self.number, place));
        Violation::new("G9", what, place.as_slice())
    }

    /// Nobody is kicked without an order, nor later than it if nothing has to wait.
    fn check_kicked(&self) -> Result<(), Violation> {
        let kicked = |item: &Item| is_kicked(&item.what);
        let Some(place) = self.session.items.iter().position(kicked) else { return Ok(()) };
        let item = &self.session.items[place];
        let ordered = self.ends().any(|given| {
            let late = self.scenario.is_prompt() && given.at.1 != item.ms;
            given.at.0 < item.at && !given.found_nobody && !late
        });
        if ordered {
            return Ok(());
        }
        Err(self.violation(format!("\"bye kicked\" at {} ms: nobody ordered that", item.ms), place))
    }

    /// Nobody is let in who came after a ban had been carried out, and was heard before it was to be lifted.
    fn check_let_in(&self) -> Result<(), Violation> {
        let heard = self.session.items.iter().enumerate().find_map(|(place, item)| match &item.what {
            What::Read(line) => Some((place, item, line)),
            _ => None,
        });
        let Some((place, item, line)) = heard else { return Ok(()) };
        let banned = self.bans().any(|(ban, unban)| {
            let since = ban.done.is_some_and(|(_, done)| done < self.session.ms);
            since && unban.is_none_or(|unban| item.at < unban.at.0)
        });
        if !banned || line == "bye banned" || is_goodbye(line) {
            return Ok(());
        }
        let what = format!("{line:?}: at {} ms it came from where nobody is let in from", self.session.ms);
        Err(self.violation(what, place))
    }

    /// Whoever is there when its session is ended has its goodbye before time passes.
    fn check_ended(&self) -> Result<(), Violation> {
        let items = &self.session.items;
        for given in self.ends().filter(|given| !self.is_stopped_by(given.at.1)) {
            let (stamp, ms) = given.at;
            let is_there = match given.what {
                Command::Kick(_) => items.iter().any(|item| item.what.is_welcome() && item.at < stamp),
                _ => self.session.ms < ms || items.iter().any(|item| is_heard(&item.what) && item.at < stamp),
            };
            let over = items.iter().position(|item| item.what.is_over()).unwrap_or(items.len());
            if !is_there || items.get(over).is_some_and(|item| item.ms <= ms) {
                continue;
            }
            let what = format!("at {ms} ms the operator ordered {:?}, and it was not told then", given.what);
            return Err(self.violation(what, over.min(items.len().saturating_sub(1))));
        }
        Ok(())
    }

    /// Whoever comes from where nobody is let in from is told so before time passes.
    fn check_refused(&self) -> Result<(), Violation> {
        let SessionHistory { ms, items } = self.session;
        let banned = self.bans().any(|(ban, unban)| {
            ban.done.is_some_and(|(_, done)| done < *ms) && unban.is_none_or(|unban| *ms < unban.at.1)
        });
        // Whoever breaks its connection does not read that, and whoever is dropped without a word has its own rule.
        let settled = |item: &Item| match &item.what {
            What::Read(line) => line == "bye banned",
            What::Reset | What::Broke => true,
            _ => false,
        };
        if !banned || self.is_stopped_by(*ms) || items.iter().any(|item| item.ms == *ms && settled(item)) {
            return Ok(());
        }
        let what = format!("at {ms} ms it came from where nobody is let in from, and was not told then");
        Err(self.violation(what, 0))
    }
}

fn is_kicked(what: &What) -> bool {
    matches!(what, What::Read(line) if line == "bye kicked")
}

/// The server has let it in: it is told something that is no goodbye.
fn is_heard(what: &What) -> bool {
    matches!(what, What::Read(line) if !line.starts_with("bye "))
}

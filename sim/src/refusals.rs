//! The rules about who is let in: nobody is refused without cause, and no more are let in than may be.
//!
//! In a run in which nothing ever has to wait, whatever happens shows in the millisecond in which it happens. So what is open
//! at the end of a millisecond is known; and whoever is refused in one came while others were surely, or perhaps, there.

use crate::history::{History, SessionHistory, What};
use crate::judge::{REFUSALS, Violation};
use crate::orders;
use crate::scenario::Scenario;
use crate::timing::Around;

/// How long the server keeps a connection that it has closed for its client to close it, too, in milliseconds.
const LINGER_MS: u64 = 1_000;

const MINUTE_MS: u64 = 60_000;

/// How long accepting fails at a time, in milliseconds, and more.
const ACCEPTING_FAILS_MS_MAX: u64 = 1_000;

/// Checks who was refused and who was not.
///
/// # Errors
/// The first violation found.
pub(crate) fn check(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let case = Case::new(history, scenario);
    for (number, session) in history.sessions.iter().enumerate() {
        if let Some((place, reason)) = refusal(session)
            && let Err(what) = match reason {
                "banned" => orders::believe_ban(scenario, around, number, session, place),
                _ => case.believe(number, reason),
            }
        {
            let what = format!("\"bye {reason}\": {what}");
            return Err(Violation::new("G9", what, &[(number, place)]));
        }
    }
    if scenario.is_prompt() {
        case.check_bounds(around)?;
    }
    Ok(())
}

/// Whether this connection may have been dropped without a word: as many as may be were just being told why they are
/// refused.
pub(crate) fn may_be_dropped(history: &History, scenario: &Scenario, number: usize) -> bool {
    let session = &history.sessions[number];
    let silent = |it: &SessionHistory| !it.items.iter().any(|item| matches!(item.what, What::Read(_)));
    // Whoever broke its connection at once may have been told, too.
    let unread =
        |it: &SessionHistory| silent(it) && it.items.iter().any(|item| matches!(item.what, What::Reset));
    let refused = |other: &SessionHistory| {
        (refusal(other).is_some() || unread(other))
            && session.ms <= other.ms.saturating_add(scenario.limits.refusal_ms_max)
    };
    // Whoever came while faults were on, or when accepting might still fail, may have been let in and told at any time since.
    let until = scenario.faults.until_ms;
    let late = |other: &SessionHistory| until > 0 && other.ms < until.saturating_add(ACCEPTING_FAILS_MS_MAX);
    let came =
        history.sessions.iter().filter(|other| other.ms <= session.ms && !std::ptr::eq(*other, session));
    let told = came.filter(|other| late(other) || refused(other));
    silent(session) && told.count() >= scenario.limits.refusals_max && is_limited(scenario)
}

/// Whether anybody can be refused at all.
fn is_limited(scenario: &Scenario) -> bool {
    let limits = &scenario.limits;
    let few = usize::min(limits.connections_max, limits.logins_pending_max) < 1_000;
    few || scenario.origins > 0
}

/// Where and why somebody was refused, if so.
fn refusal(session: &SessionHistory) -> Option<(usize, &'static str)> {
    let (place, item) = session.last_read()?;
    let What::Read(line) = &item.what else { return None };
    let reason = line.strip_prefix("bye ")?;
    Some((place, *REFUSALS.iter().find(|known| **known == reason)?))
}

/// What is known of one connection. A moment that never came is `u64::MAX`.
struct Known {
    from_ms: u64,
    /// When it logged in.
    welcome_ms: u64,
    /// When one of the two sides was done with it.
    over_ms: u64,
    /// It was not told that it is not let in.
    not_refused: bool,
    /// And it was not dropped either.
    let_in: bool,
    origin: Option<usize>,
}

struct Case<'a> {
    scenario: &'a Scenario,
    known: Vec<Known>,
}

impl<'a> Case<'a> {
    fn new(history: &History, scenario: &'a Scenario) -> Case<'a> {
        let know = |(number, session): (usize, &SessionHistory)| {
            let first = |wanted: &dyn Fn(&What) -> bool| {
                session.items.iter().find(|item| wanted(&item.what)).map_or(u64::MAX, |item| item.ms)
            };
            let bye = session.last_read().filter(|(_, item)| item.what.is_bye());
            let broke = |what: &What| matches!(what, What::Broke);
            let heard = first(&|what| matches!(what, What::Read(_)));
            Known {
                from_ms: session.ms,
                welcome_ms: first(&What::is_welcome),
                over_ms: bye.map_or(u64::MAX, |(_, item)| item.ms).min(first(&What::is_gone)),
                not_refused: refusal(session).is_none(),
                // Whoever was dropped has heard nothing.
                let_in: refusal(session).is_none() && (first(&broke) == u64::MAX || heard != u64::MAX),
                origin: number.checked_rem(scenario.origins),
            }
        };
        Case { scenario, known: history.sessions.iter().enumerate().map(know).collect() }
    }

    /// Whether this connection can have been refused for this reason.
    fn believe(&self, number: usize, reason: &str) -> Result<(), String> {
        let limits = &self.scenario.limits;
        let here = &self.known[number];
        let prompt = self.scenario.is_prompt();
        // Those who may have been there with it, as far as anybody can tell.
        let others = || {
            self.known.iter().enumerate().filter(move |&(other, known)| {
                other != number && (!prompt || known.not_refused && known.from_ms <= here.from_ms)
            })
        };
        let there = |known: &Known| !prompt || known.over_ms.saturating_add(LINGER_MS) >= here.from_ms;
        let from_there = |known: &Known| here.origin.is_some() && known.origin == here.origin;
        let lately = |known: &Known| !prompt || known.from_ms.saturating_add(MINUTE_MS) >= here.from_ms;
        let greets = |known: &Known| !prompt || known.welcome_ms.min(known.over_ms) >= here.from_ms;
        let (count, max) = match reason {
            "server full" => (others().filter(|(_, it)| there(it)).count(), Some(limits.connections_max)),
            "too many logins pending" => {
                (others().filter(|(_, it)| greets(it)).count(), Some(limits.logins_pending_max))
            }
            "too many connections from your address" => (
                others().filter(|(_, it)| from_there(it) && there(it)).count(),
                limits.connections_per_address_max,
            ),
            _ => (
                others().filter(|(_, it)| from_there(it) && lately(it)).count(),
                limits.connects_per_minute_max.map(|max| max as usize),
            ),
        };
        match max {
            Some(max) if count >= max => Ok(()),
            Some(max) => Err(format!("at most {count} others can have been there, and {max} may be")),
            None => Err("there is no such limit".to_owned()),
        }
    }

    /// At the end of each millisecond, no more are there than may be.
    fn check_bounds(&self, around: &Around) -> Result<(), Violation> {
        let limits = &self.scenario.limits;
        let until = around.stopping.map_or(u64::MAX, |(_, stopping)| stopping);
        for here in self.known.iter().filter(|here| here.from_ms < until) {
            let now = here.from_ms;
            let all = || {
                self.known.iter().enumerate().filter(|&(number, it)| {
                    it.let_in && it.from_ms <= now && !around.unserved.contains(&number)
                })
            };
            let open = || all().filter(|(_, it)| it.over_ms > now);
            let from_here = |it: &Known| here.origin.is_some() && it.origin == here.origin;
            let made = all().filter(|(_, it)| from_here(it) && it.from_ms + MINUTE_MS > now).count();
            // As many as a full bucket holds, and as many as flow into it in a minute.
            let made_max = limits.connects_per_minute_max.map_or(usize::MAX, |max| 2 * max as usize);
            for (what, count, max) in [
                ("connections", open().count(), limits.connections_max),
                (
                    "connections without a name",
                    open().filter(|(_, it)| it.welcome_ms > now).count(),
                    limits.logins_pending_max,
                ),
                (
                    "connections from one address",
                    open().filter(|(_, it)| from_here(it)).count(),
                    limits.connections_per_address_max.unwrap_or(usize::MAX),
                ),
                ("new connections from one address in a minute", made, made_max),
            ] {
                if count > max {
                    let what = format!("at {now} ms there are {count} {what}, and {max} may be");
                    return Err(Violation::new("G9", what, &[]));
                }
            }
        }
        Ok(())
    }
}

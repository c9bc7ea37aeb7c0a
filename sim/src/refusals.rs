//! The rules about who is let in: nobody is refused without cause, and no more are let in than may be.
//!
//! In a run in which nothing ever has to wait, whatever happens shows in the millisecond in which it happens. So what is open
//! at the end of a millisecond is known; and whoever is refused in one came while others were surely, or perhaps, there.

use hashbrown::{HashMap, HashSet};

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
    let mut counted = HashMap::new();
    for (number, session) in history.sessions.iter().enumerate() {
        if let Some((place, reason)) = refusal(session)
            && let Err(what) = match reason {
                "banned" => orders::believe_ban(scenario, around, number, session, place),
                _ => case.believe(number, reason, &mut counted),
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

/// Connections that may have been told why they are refused, each for as long as that may have taken.
pub(crate) struct Told {
    spans: Spans,
    /// Whoever came before this may have been told at any time since: faults were on, or accepting might still fail.
    late_until: u64,
    enough: usize,
}

impl Told {
    pub(crate) fn of(history: &History, scenario: &Scenario) -> Told {
        let until = scenario.faults.until_ms;
        let late_until = if until > 0 { until.saturating_add(ACCEPTING_FAILS_MS_MAX) } else { 0 };
        // Whoever broke its connection at once may have been told, too.
        let unread = |it: &SessionHistory| {
            is_silent(it) && it.items.iter().any(|item| matches!(item.what, What::Reset))
        };
        let span = |it: &SessionHistory| {
            let told = it.ms.saturating_add(scenario.limits.refusal_ms_max).saturating_add(1);
            let late = it.ms < late_until;
            (late || refusal(it).is_some() || unread(it))
                .then_some((it.ms, if late { u64::MAX } else { told }))
        };
        let enough = if is_limited(scenario) { scenario.limits.refusals_max } else { usize::MAX };
        Told { spans: history.sessions.iter().filter_map(span).collect(), late_until, enough }
    }

    /// Whether a connection that broke may have been dropped without a word: as many as may be were just being told.
    pub(crate) fn excuses(&self, session: &SessionHistory) -> bool {
        let itself = usize::from(session.ms < self.late_until);
        is_silent(session) && self.spans.at(session.ms).saturating_sub(itself) >= self.enough
    }
}

fn is_silent(session: &SessionHistory) -> bool {
    !session.items.iter().any(|item| matches!(item.what, What::Read(_)))
}

/// Moments from which something is there, and from which it is there no more.
#[derive(Default)]
struct Spans {
    from: Vec<u64>,
    to: Vec<u64>,
}

impl FromIterator<(u64, u64)> for Spans {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(spans: T) -> Spans {
        let (mut from, mut to): (Vec<u64>, Vec<u64>) = spans.into_iter().unzip();
        from.sort_unstable();
        to.sort_unstable();
        Spans { from, to }
    }
}

impl Spans {
    /// How many are there at the end of this millisecond.
    fn at(&self, ms: u64) -> usize {
        let up_to = |moments: &[u64]| moments.partition_point(|moment| *moment <= ms);
        up_to(&self.from).saturating_sub(up_to(&self.to))
    }
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

/// When connections were there that count for a reason, and for an address.
type Counted = HashMap<(&'static str, Option<usize>), Spans>;

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

    /// Whether this connection can have been refused for this reason: so many others may have been there with it, as far as
    /// anybody can tell. Those are counted once for each reason and address.
    fn believe(&self, number: usize, reason: &'static str, counted: &mut Counted) -> Result<(), String> {
        let limits = &self.scenario.limits;
        let here = &self.known[number];
        let prompt = self.scenario.is_prompt();
        let (is_of_address, max) = match reason {
            "server full" => (false, Some(limits.connections_max)),
            "too many logins pending" => (false, Some(limits.logins_pending_max)),
            "too many connections from your address" => (true, limits.connections_per_address_max),
            _ => (true, limits.connects_per_minute_max.map(|max| max as usize)),
        };
        let last = |it: &Known| match reason {
            "too many logins pending" => it.welcome_ms.min(it.over_ms),
            "too many new connections from your address" => it.from_ms.saturating_add(MINUTE_MS),
            _ => it.over_ms.saturating_add(LINGER_MS),
        };
        let origin = here.origin.filter(|_| is_of_address);
        let spans = counted.entry((reason, origin)).or_insert_with(|| {
            let may_count = |it: &&Known| {
                (!prompt || it.not_refused) && (!is_of_address || origin.is_some() && it.origin == origin)
            };
            let span =
                |it: &Known| if prompt { (it.from_ms, last(it).saturating_add(1)) } else { (0, u64::MAX) };
            self.known.iter().filter(may_count).map(span).collect()
        });
        // If not even those who were refused can be told apart, it was counted itself.
        let itself = usize::from(!prompt && (!is_of_address || origin.is_some()));
        let count = spans.at(here.from_ms).saturating_sub(itself);
        match max {
            Some(max) if count >= max => Ok(()),
            Some(max) => Err(format!("at most {count} others can have been there, and {max} may be")),
            None => Err("there is no such limit".to_owned()),
        }
    }

    /// At the end of each millisecond, no more are there than may be.
    fn check_bounds(&self, around: &Around) -> Result<(), Violation> {
        let limits = &self.scenario.limits;
        let least = limits.connections_max.min(limits.logins_pending_max);
        if self.known.len() <= least && self.scenario.origins == 0 {
            return Ok(()); // as in most runs: not so many ever came
        }
        let until = around.stopping.map_or(u64::MAX, |(_, stopping)| stopping);
        let unserved: HashSet<usize> = around.unserved.iter().copied().collect();
        let let_in = || {
            let let_in = |(number, it): &(usize, &Known)| it.let_in && !unserved.contains(number);
            self.known.iter().enumerate().filter(let_in)
        };
        let bound = |what, max, all: &[(usize, u64, u64)]| check_bound(what, max, until, all);
        let open: Vec<_> = let_in().map(|(number, it)| (number, it.from_ms, it.over_ms)).collect();
        bound("connections", limits.connections_max, &open)?;
        let nameless = |(number, it): (usize, &Known)| (number, it.from_ms, it.over_ms.min(it.welcome_ms));
        let nameless: Vec<_> = let_in().map(nameless).collect();
        bound("connections without a name", limits.logins_pending_max, &nameless)?;
        for origin in 0..self.scenario.origins {
            let is_from_there = |number: usize| self.known[number].origin == Some(origin);
            let mut from_there: Vec<_> =
                open.iter().copied().filter(|&(number, ..)| is_from_there(number)).collect();
            let max = limits.connections_per_address_max.unwrap_or(usize::MAX);
            bound("connections from one address", max, &from_there)?;
            from_there.iter_mut().for_each(|(_, from, to)| *to = from.saturating_add(MINUTE_MS));
            // As many as a full bucket holds, and as many as flow into it in a minute.
            let max = limits.connects_per_minute_max.map_or(usize::MAX, |max| 2 * max as usize);
            bound("new connections from one address in a minute", max, &from_there)?;
        }
        Ok(())
    }
}

/// Never, before this moment, are more of these there than may be: connections, each from one moment to another.
fn check_bound(what: &str, max: usize, until: u64, all: &[(usize, u64, u64)]) -> Result<(), Violation> {
    if all.len() <= max {
        return Ok(());
    }
    let spans: Spans = all.iter().map(|&(_, from, to)| (from, to)).collect();
    let Some(&now) = spans.from.iter().find(|&&now| now < until && spans.at(now) > max) else {
        return Ok(());
    };
    let there = all.iter().filter(|&&(_, from, to)| from <= now && now < to);
    let witness: Vec<_> = there.map(|&(number, ..)| (number, 0)).collect();
    let what = format!("at {now} ms there are {} {what}, and {max} may be", witness.len());
    Err(Violation::new("G9", what, &witness))
}

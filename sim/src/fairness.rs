//! The rules about who is too slow: nobody who reads all it gets, unless it gets more at once than its outbox holds.

use hashbrown::{HashMap, HashSet};

use crate::history::{History, Sent, What};
use crate::judge::Violation;
use crate::scenario::Scenario;
use crate::timing::Around;

/// What any answer but a list of peers takes beside what it repeats, in bytes, and more.
const ANSWER_BYTES: usize = 96;

/// What a message takes beside its text and the name of its sender, in bytes.
const FROM_BYTES: usize = "from : \n".len();

/// What the head of a list of peers takes in each of its lines, in bytes, and more.
const HEAD_BYTES: usize = 16;

/// What the server may have said at most.
pub(crate) struct Said {
    /// In each millisecond.
    by_ms: HashMap<u64, Bytes>,
    /// In answer to one line.
    line: Bytes,
}

/// So many bytes.
#[derive(Clone, Copy, Default)]
struct Bytes {
    /// To any one client.
    one: usize,
    /// To all of them together.
    all: usize,
}

impl Said {
    /// In a run.
    pub(crate) fn of(history: &History) -> Said {
        let items = || history.sessions.iter().flat_map(|session| &session.items);
        let names: HashSet<&String> = items()
            .filter_map(|item| if let What::Wrote(sent) = &item.what { sent.asks_for() } else { None })
            .collect();
        let name_bytes_max = names.iter().map(|name| name.len()).max().unwrap_or_default();
        let list_bytes = names.iter().map(|name| name.len() + 2 + HEAD_BYTES).sum();
        let mut said = Said { by_ms: HashMap::new(), line: Bytes::default() };
        for item in items() {
            let What::Wrote(sent) = &item.what else { continue };
            let bytes = match sent {
                Sent::Say { to, text, .. } => {
                    let copy = FROM_BYTES + name_bytes_max + text.len();
                    let report = ANSWER_BYTES + to.iter().map(|name| name.len() + 2).sum::<usize>();
                    Bytes { one: copy + report, all: copy * to.len() + report }
                }
                Sent::Who => Bytes { one: list_bytes, all: list_bytes },
                Sent::Name(_) | Sent::Proof { .. } | Sent::Ping { .. } | Sent::Bad(_) | Sent::Quit => {
                    Bytes { one: ANSWER_BYTES + name_bytes_max, all: ANSWER_BYTES + name_bytes_max }
                }
            };
            let then = said.by_ms.entry(item.ms).or_default();
            *then = Bytes { one: then.one + bytes.one, all: then.all + bytes.all };
            said.line.one = said.line.one.max(bytes.one);
        }
        said
    }

    /// Whether so much was said in this millisecond that some outbox may have been full. What was said before had been read.
    pub(crate) fn fills(&self, scenario: &Scenario, ms: u64) -> bool {
        let Bytes { one, all } = self.by_ms.get(&ms).copied().unwrap_or_default();
        let max = scenario.outbox_bytes_max;
        one > max || (one > max.min(scenario.outbox_bytes_floor) && all > scenario.outbox_bytes_total_max)
    }
}

/// Checks who was too slow, in a run in which nothing has to wait.
///
/// # Errors
/// The first violation found.
pub(crate) fn check(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let mut said = None;
    for (number, session) in history.sessions.iter().enumerate() {
        let place = session.items.iter().position(|item| item.what.is_bye_too_slow());
        let Some(place) = place else { continue };
        let said = said.get_or_insert_with(|| Said::of(history));
        let ms = session.items[place].ms;
        let what = if !said.fills(scenario, ms) {
            let Bytes { one, .. } = said.by_ms.get(&ms).copied().unwrap_or_default();
            format!("it reads all it gets, and at {ms} ms it can have got {one} bytes at most")
        } else if around.in_turn
            && !around.waited.contains(&number)
            && scenario.outbox_bytes_total_max == usize::MAX
            && said.line.one <= scenario.outbox_bytes_max / 2
        {
            // Its turn comes when its outbox is half full, and one line more never fills the other half.
            "all that it got it took at once, when it had its turn".to_owned()
        } else {
            continue;
        };
        return Err(Violation::new("G6", format!("\"bye too slow\": {what}"), &[(number, place)]));
    }
    Ok(())
}

//! Which row brought about which. Lines are matched by what they say, not by counting, so that one that was lost, doubled or
//! overtaken shows itself.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Serialize;

use super::rows::{Passed, Story};
use crate::history::{History, Item, Sent, SessionHistory, What};
use crate::judge::Violation;

/// One row brought about another.
#[derive(Serialize)]
pub(super) struct Arrow {
    from: usize,
    to: usize,
    /// What arrived is not what was sent.
    changed: bool,
}

/// Something that arrived nowhere.
#[derive(PartialEq, Eq, Serialize)]
pub(super) struct Stray {
    /// The row it came from.
    from: usize,
    /// The session that did not read it.
    lane: usize,
    line: String,
}

/// All that holds the rows together.
pub(super) struct Links {
    pub(super) arrows: Vec<Arrow>,
    pub(super) unread: Vec<Stray>,
    pub(super) missing: Vec<Stray>,
}

impl Links {
    pub(super) fn of(story: &Story, history: &History, violation: Option<&Violation>) -> Links {
        let mut links = Links { arrows: Vec::new(), unread: Vec::new(), missing: Vec::new() };
        for (lane, passed) in story.passed.iter().enumerate() {
            // What never reached the broker shows itself by the arrow that is not there.
            pair(&passed.written, &passed.requested, &mut links.arrows);
            for (from, line) in pair(&passed.sent, &passed.read, &mut links.arrows) {
                links.unread.push(Stray { from, lane, line });
            }
            links.ends(passed);
        }
        for &(session, place) in violation.iter().flat_map(|violation| &violation.witness) {
            let item = history.sessions.get(session).and_then(|session| session.items.get(place));
            if let Some(What::Wrote(Sent::Say { to, text, .. })) = item.map(|item| &item.what) {
                links.missing(story, history, (session, place), to, text);
            }
        }
        links
    }

    /// The ends of a connection: the client's, of which the broker is told, and the broker's, which the client sees.
    fn ends(&mut self, passed: &Passed) {
        let mut gone = passed.gone.iter().copied();
        for &from in &passed.left {
            let told = gone.find(|&to| to > from);
            self.arrows.extend(told.map(|to| Arrow { from, to, changed: false }));
        }
        for &to in &passed.over {
            let closing = passed.closing.iter().copied().rfind(|&from| from < to);
            self.arrows.extend(closing.map(|from| Arrow { from, to, changed: false }));
        }
    }

    /// Who should have read a message, as far as its name was theirs while it was processed, and never did.
    fn missing(
        &mut self,
        story: &Story,
        history: &History,
        (session, place): (usize, usize),
        to: &[String],
        text: &str,
    ) {
        let Some(&written) = story.passed.get(session).and_then(|passed| passed.items.get(place)) else {
            return;
        };
        let processed = self.arrows.iter().find(|arrow| arrow.from == written);
        let from = processed.map_or(written, |arrow| arrow.to);
        for (lane, its) in history.sessions.iter().enumerate() {
            let Some(name) = &story.lanes[lane].name else { continue };
            let named = to.iter().any(|to| to.to_lowercase() == name.to_lowercase());
            let stray = Stray { from, lane, line: text.to_owned() };
            let came = |arrow: &Arrow| {
                let row = &story.rows[arrow.to];
                let is_mail = row.said.line.as_ref().is_some_and(|line| line.starts_with("from "));
                arrow.from == from && row.lane == Some(lane) && is_mail
            };
            let sent = self.arrows.iter().any(came)
                || self.unread.iter().any(|stray| (stray.from, stray.lane) == (from, lane));
            if named
                && !sent
                && !reads(its, text)
                && holds(&story.passed[lane], from)
                && !self.missing.contains(&stray)
            {
                self.missing.push(stray);
            }
        }
    }
}

/// Whether a session read this message.
fn reads(session: &SessionHistory, text: &str) -> bool {
    let says = |item: &Item| matches!(&item.what, What::Read(line) if line.ends_with(text));
    session.items.iter().any(says)
}

/// Whether the broker had welcomed a session before this row, and ended it only after.
fn holds(passed: &Passed, row: usize) -> bool {
    let welcome = passed.sent.iter().find(|(_, line)| line.starts_with("welcome "));
    let ended = passed.gone.iter().chain(&passed.closing).min();
    welcome.is_some_and(|(welcome, _)| *welcome < row) && ended.is_none_or(|&ended| ended > row)
}

/// Draws arrows from what went into a connection to what came out at its other end. Returns what went in and never came out.
fn pair(into: &[(usize, String)], out: &[(usize, String)], arrows: &mut Vec<Arrow>) -> Vec<(usize, String)> {
    let mut by_text: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (place, (_, text)) in into.iter().enumerate() {
        by_text.entry(text).or_default().push_back(place);
    }
    let mut used = HashSet::new();
    let mut strange = Vec::new();
    for (to, text) in out {
        let places = by_text.get_mut(text.as_str());
        match places.and_then(|places| places.pop_front_if(|place| into[*place].0 < *to)) {
            Some(place) => {
                used.insert(place);
                arrows.push(Arrow { from: into[place].0, to: *to, changed: false });
            }
            None => strange.push((*to, text)),
        }
    }
    for (to, text) in strange {
        let like = |place: &usize| {
            let (from, sent) = &into[*place];
            !used.contains(place) && *from < to && resembles(sent, text)
        };
        if let Some(place) = (0..into.len()).find(like) {
            used.insert(place);
            arrows.push(Arrow { from: into[place].0, to, changed: true });
        }
    }
    let unused = into.iter().enumerate().filter(|(place, _)| !used.contains(place));
    unused.map(|(_, line)| line.clone()).collect()
}

/// Whether one may be what became of the other.
fn resembles(sent: &str, came: &str) -> bool {
    let word = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    word(sent) == word(came) || sent.starts_with(came) || sent.ends_with(came) || came.ends_with(sent)
}

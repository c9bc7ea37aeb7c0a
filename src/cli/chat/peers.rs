//! [`Peers`]: who is known to be here, and how what is being typed can be completed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many names are kept at most: a server may make up as many as it likes.
const NAMES_MAX: usize = 100_000;

/// How many candidates are offered at most; of more, only what they have in common.
const CANDIDATES_MAX: usize = 200;

const COMMANDS: [&str; 4] = ["/help", "/ping ", "/quit", "/who"];

/// Who asks `/who`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The user, who wants to see the answer.
    User,
    /// The completion, which wants to know it.
    Completion,
}

/// Who is known to be here.
#[derive(Default)]
pub(super) struct Peers {
    knowledge: Mutex<Knowledge>,
    answered: Condvar,
}

#[derive(Default)]
struct Knowledge {
    /// By lower-case name.
    names: BTreeMap<String, String>,
    /// The questions without a whole answer yet, in the order in which they were asked.
    asked: VecDeque<Asker>,
    /// Names in the part of the current answer that has come, one or more lines of it.
    answer: Option<BTreeMap<String, String>>,
    /// How many names were in it, repeats counted.
    answer_count: usize,
}

impl Peers {
    /// A new session: nothing asked before will be answered.
    pub(super) fn forget_questions(&self) {
        let mut knowledge = self.lock();
        knowledge.asked.clear();
        knowledge.answer = None;
        knowledge.answer_count = 0;
    }

    /// To be called before `/who` is sent, with no other in between.
    pub(super) fn asked(&self, asker: Asker) {
        self.lock().asked.push_back(asker);
    }

    /// Learns from a line of the server and says whether the user is to see it.
    pub(super) fn heed(&self, line: &str) -> bool {
        let mut knowledge = self.lock();
        if let Some((name, _)) = line.strip_prefix("from ").and_then(|message| message.split_once(": ")) {
            insert(&mut knowledge.names, name);
            return true;
        }
        match line.strip_prefix("peers ").and_then(|peers| peers.split_once(':')) {
            Some((count, names)) => {
                let count = count.parse().unwrap_or(0);
                let shown = knowledge.heed_peers(count, names);
                self.answered.notify_all();
                shown
            }
            None => true,
        }
    }

    /// Waits until no question is open.
    pub(super) fn wait_for_answers(&self, timeout: Duration) {
        let open = |knowledge: &mut Knowledge| !knowledge.asked.is_empty();
        drop(self.answered.wait_timeout_while(self.lock(), timeout, open));
    }

    /// What the end of `head`, the line up to the cursor, may become: where it starts, and what may stand there instead.
    /// `at_end` says that nothing is behind the cursor.
    pub(super) fn complete(&self, head: &str, at_end: bool) -> (usize, Vec<String>) {
        if head.starts_with('/') {
            let fitting = COMMANDS.iter().filter(|command| command.starts_with(head));
            return (0, fitting.map(|&command| command.to_owned()).collect());
        }
        if head.contains(':') {
            return (head.len(), Vec::new());
        }
        let (listed, word) = head.split_at(head.rfind(',').map_or(0, |comma| comma + 1));
        let prefix = word.trim_start();
        let mut candidates = self.names_with(&prefix.to_lowercase(), listed);
        if let [only] = &mut candidates[..]
            && at_end
        {
            only.push_str(": ");
        }
        if candidates.len() > CANDIDATES_MAX {
            candidates = vec![common_prefix(&candidates).to_owned()];
        }
        (head.len() - prefix.len(), candidates)
    }

    /// The names that begin with `prefix` and are not among those `listed`.
    fn names_with(&self, prefix: &str, listed: &str) -> Vec<String> {
        let listed: Vec<String> = listed.split(',').map(|name| name.trim().to_lowercase()).collect();
        let knowledge = self.lock();
        let fitting =
            knowledge.names.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        fitting.filter(|(key, _)| !listed.contains(key)).map(|(_, name)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knowledge {
    /// Learns from one line of an answer to `/who`.
    fn heed_peers(&mut self, count: usize, names: &str) -> bool {
        let answer = self.answer.get_or_insert_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            insert(answer, name);
            self.answer_count += 1;
        }
        let shown = self.asked.front() != Some(&Asker::Completion);
        if self.answer_count >= count {
            // Those who are not in it have left.
            self.names = self.answer.take().unwrap_or_default();
            self.answer_count = 0;
            self.asked.pop_front();
        }
        shown
    }
}

fn insert(names: &mut BTreeMap<String, String>, name: &str) {
    if names.len() < NAMES_MAX {
        names.insert(name.to_lowercase(), name.to_owned());
    }
}

/// What all of them begin with.
fn common_prefix(names: &[String]) -> &str {
    let Some((first, rest)) = names.split_first() else { return "" };
    let mut length = first.len();
    for name in rest {
        let differs = first.char_indices().zip(name.chars()).find(|((_, a), b)| a != b);
        length = length.min(differs.map_or(name.len(), |((at, _), _)| at));
    }
    &first[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(lines: &[&str]) -> Peers {
        let peers = Peers::default();
        for line in lines {
            peers.heed(line);
        }
        peers
    }

    fn candidates(peers: &Peers, head: &str) -> Vec<String> {
        peers.complete(head, true).1
    }

    #[test]
    fn recipients_are_completed_without_regard_to_case() {
        let peers = peers(&["peers 4: Alice, alan, bob, Élodie"]);
        assert_eq!(peers.complete("AL", true), (0, vec!["alan".to_owned(), "Alice".to_owned()]));
        assert_eq!(peers.complete("b", true), (0, vec!["bob: ".to_owned()]));
        assert_eq!(peers.complete("b", false), (0, vec!["bob".to_owned()]));
        assert_eq!(peers.complete("bob, ali", true), (5, vec!["Alice: ".to_owned()]));
        assert_eq!(peers.complete("bob,al", true).0, 4);
        assert_eq!(candidates(&peers, "é"), ["Élodie: "]);
        assert_eq!(candidates(&peers, "bob, b"), [""; 0], "listed already");
        assert_eq!(candidates(&peers, "bob: al"), [""; 0], "the text is not a recipient");
        assert_eq!(candidates(&peers, "").len(), 4);
    }

    #[test]
    fn commands_are_completed_at_the_start_of_the_line() {
        let peers = peers(&["peers 1: who"]);
        assert_eq!(candidates(&peers, "/").len(), COMMANDS.len());
        assert_eq!(peers.complete("/w", true), (0, vec!["/who".to_owned()]));
        assert_eq!(candidates(&peers, "/ping w"), [""; 0]);
    }

    #[test]
    fn senders_are_known_until_an_answer_lacks_them() {
        let peers = peers(&["from bob: hi"]);
        assert_eq!(candidates(&peers, "b"), ["bob: "]);
        peers.heed("peers 1: al");
        assert_eq!(candidates(&peers, "b"), [""; 0]);
    }

    #[test]
    fn answers_are_shown_to_who_asked() {
        let peers = Peers::default();
        peers.asked(Asker::Completion);
        peers.asked(Asker::User);
        assert!(peers.heed("from bob: hi"));
        assert!(!peers.heed("peers 3: al, bob"));
        assert!(!peers.heed("peers 3: carol"));
        assert!(peers.heed("peers 3: al, bob"));
        assert!(peers.heed("peers 3: carol"));
        assert!(peers.heed("peers 1: al"), "an answer that nobody asked for");
        peers.asked(Asker::Completion);
        assert!(!peers.heed("peers 2: al"));
        peers.forget_questions();
        assert!(peers.heed("peers 1: al"));
    }

    #[test]
    fn of_too_many_candidates_only_the_beginning_is_offered() {
        let names: Vec<String> = (0..=CANDIDATES_MAX).map(|i| format!("user-é{i}")).collect();
        let peers = peers(&[&format!("peers {}: {}", names.len(), names.join(", "))]);
        assert_eq!(candidates(&peers, "u"), ["user-é"]);
    }
}

//! [`Choices`]: every decision of a run, drawn from one stream that is recorded and can be played again.
//!
//! A decision picks one of `n` possibilities, and possibility 0 is the ordinary one: the task that waited longest, the
//! whole chunk, no fault. So a run is a list of small numbers; the all-zero run is the one where nothing special happens;
//! the number of other numbers is a measure of how special a run is; and a search can take them in that order.

use fastrand::Rng;

/// Where the decisions of a run come from, and what they were.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    /// What was decided, so far.
    pub taken: Vec<Choice>,
    /// The tasks that the last decision about tasks passed over.
    passed_over: Vec<u64>,
    /// Those that the one before had passed over.
    before: Vec<u64>,
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What was picked, below `of`.
    pub picked: u32,
    /// Out of how many.
    pub of: u32,
    /// Which task runs next: a special one is no fault.
    pub task: bool,
    /// A task whose turn it was is passed over from now on. However long it is held back then, that is one preemption.
    pub preempts: bool,
}

#[derive(Debug)]
enum Source {
    /// Each task and each part with the same probability, each fault with its own.
    Random(Rng),
    /// Tasks by priority, which changes at a few random steps (Burckhardt et al., ASPLOS 2010); the rest at random.
    Pct(Pct),
    /// Tasks in their turn, but at a few random steps; the rest at random.
    InTurn(InTurn),
    /// As recorded, and ordinary behind the end of the record.
    Replay(Vec<u32>),
}

#[derive(Debug)]
struct Pct {
    rng: Rng,
    /// By the number of the task.
    priorities: Vec<i64>,
    /// What is lower than all of them.
    lowest: i64,
    /// The steps at which the running task falls to the lowest priority, the last first.
    changes: Vec<u64>,
    step: u64,
}

#[derive(Debug)]
struct InTurn {
    rng: Rng,
    /// The decisions about tasks at which one runs out of turn, the last first.
    delays: Vec<u64>,
    step: u64,
    /// Whoever is passed over then is held back for as long as anybody else can run.
    holds: bool,
    held: Vec<u64>,
}

impl Choices {
    /// Decisions at random.
    pub fn random(seed: u64) -> Choices {
        Choices::from(Source::Random(Rng::with_seed(seed)))
    }

    /// How a seed decides: every second one at random, most others by priorities, and some with tasks in turn, or nearly so.
    pub fn of_seed(seed: u64) -> Choices {
        if seed % 8 == 7 {
            let delays = usize::from(seed / 8 % 4 == 3);
            return Choices::in_turn(seed, delays, 1_000);
        }
        if seed.is_multiple_of(2) { Choices::random(seed) } else { Choices::pct(seed, 3, 1_000) }
    }

    /// Tasks by priority, which changes at `depth` of about `steps` steps.
    pub fn pct(seed: u64, depth: usize, steps: u64) -> Choices {
        let mut rng = Rng::with_seed(seed);
        let changes = random_steps(&mut rng, depth, steps);
        Choices::from(Source::Pct(Pct { rng, priorities: Vec::new(), lowest: 0, changes, step: 0 }))
    }

    /// Tasks in their turn, but for `delays` of the first `steps` decisions about them; the rest at random.
    pub fn in_turn(seed: u64, delays: usize, steps: u64) -> Choices {
        Choices::from(Source::InTurn(InTurn::new(seed, delays, steps, false)))
    }

    /// The same, but whoever is passed over stays held back for as long as anybody else can run.
    pub fn held_back(seed: u64, delays: usize, steps: u64) -> Choices {
        Choices::from(Source::InTurn(InTurn::new(seed, delays, steps, true)))
    }

    /// The decisions given, and ordinary ones behind them.
    pub fn replay(picks: Vec<u32>) -> Choices {
        Choices::from(Source::Replay(picks))
    }

    fn from(source: Source) -> Choices {
        Choices { source, taken: Vec::new(), passed_over: Vec::new(), before: Vec::new() }
    }

    /// Which of the runnable tasks, given by their numbers, runs next.
    pub fn task(&mut self, tasks: impl ExactSizeIterator<Item = u64> + Clone) -> usize {
        let count = tasks.len();
        if count < 2 {
            self.nobody_waits();
            return 0;
        }
        let picked = match &mut self.source {
            Source::Random(rng) => rng.usize(0..count),
            Source::Pct(pct) => pct.task(tasks.clone()),
            Source::InTurn(in_turn) => in_turn.task(tasks.clone()),
            Source::Replay(picks) => replayed(picks, self.taken.len(), count),
        };
        std::mem::swap(&mut self.passed_over, &mut self.before);
        self.passed_over.clear();
        self.passed_over.extend(tasks.take(picked));
        let preempts = self.held().next().is_some();
        self.take(picked, count, true, preempts)
    }

    /// The tasks that are held back as of the last decision about tasks, and were not before.
    pub fn held(&self) -> impl Iterator<Item = u64> {
        self.passed_over.iter().copied().filter(|task| !self.before.contains(task))
    }

    /// One of `count` possibilities.
    pub fn pick(&mut self, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        let picked = match &mut self.source {
            Source::Random(rng) | Source::Pct(Pct { rng, .. }) | Source::InTurn(InTurn { rng, .. }) => {
                rng.usize(0..count)
            }
            Source::Replay(picks) => replayed(picks, self.taken.len(), count),
        };
        self.take(picked, count, false, false)
    }

    /// Whether something happens that does in `permille` of 1000 cases. What cannot happen is no decision.
    pub fn happens(&mut self, permille: u32) -> bool {
        if permille == 0 {
            return false;
        }
        let picked = match &mut self.source {
            Source::Random(rng) | Source::Pct(Pct { rng, .. }) | Source::InTurn(InTurn { rng, .. }) => {
                usize::from(rng.u32(0..1000) < permille)
            }
            Source::Replay(picks) => replayed(picks, self.taken.len(), 2),
        };
        self.take(picked, 2, false, false) == 1
    }

    /// The decisions as a list that can be replayed, without the ordinary ones at its end.
    pub fn picks(&self) -> Vec<u32> {
        let end = self.taken.iter().rposition(|choice| choice.picked != 0).map_or(0, |last| last + 1);
        self.taken[..end].iter().map(|choice| choice.picked).collect()
    }

    /// The only task that can run does: nobody is passed over any more.
    fn nobody_waits(&mut self) {
        self.passed_over.clear();
        if let Source::InTurn(in_turn) = &mut self.source {
            in_turn.held.clear();
        }
    }

    fn take(&mut self, picked: usize, of: usize, task: bool, preempts: bool) -> usize {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.taken.push(Choice { picked: number(picked), of: number(of), task, preempts });
        picked
    }
}

/// So many steps up to the last, the last of them first.
fn random_steps(rng: &mut Rng, count: usize, last: u64) -> Vec<u64> {
    let mut steps: Vec<u64> = (0..count).map(|_| rng.u64(1..=last.max(1))).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    steps
}

fn replayed(picks: &[u32], at: usize, count: usize) -> usize {
    // A record of other code may ask for what is not there: then the last there is.
    picks.get(at).map_or(0, |&pick| usize::try_from(pick).unwrap_or(usize::MAX).min(count - 1))
}

impl Pct {
    fn task(&mut self, tasks: impl ExactSizeIterator<Item = u64>) -> usize {
        self.step += 1;
        let mut best = (0, i64::MIN, 0);
        for (place, task) in tasks.enumerate() {
            let number = usize::try_from(task).unwrap_or(usize::MAX);
            while self.priorities.len() <= number {
                self.priorities.push(self.rng.i64(0..));
            }
            if self.priorities[number] > best.1 {
                best = (place, self.priorities[number], number);
            }
        }
        if self.changes.last().is_some_and(|&change| change <= self.step) {
            self.changes.pop();
            self.lowest -= 1;
            self.priorities[best.2] = self.lowest;
        }
        best.0
    }
}

impl InTurn {
    fn new(seed: u64, delays: usize, steps: u64, holds: bool) -> InTurn {
        let mut rng = Rng::with_seed(seed);
        let delays = random_steps(&mut rng, delays, steps);
        InTurn { rng, delays, step: 0, holds, held: Vec::new() }
    }

    fn task(&mut self, mut tasks: impl ExactSizeIterator<Item = u64> + Clone) -> usize {
        self.step += 1;
        let count = tasks.len();
        let delayed = self.delays.pop_if(|delay| *delay <= self.step).is_some();
        if !self.holds {
            return if delayed { self.rng.usize(1..count) } else { 0 };
        }
        if delayed {
            let next = tasks.clone().find(|task| !self.held.contains(task));
            self.held.extend(next);
        }
        tasks.position(|task| !self.held.contains(&task)).unwrap_or_else(|| {
            self.held.clear(); // nobody else can run
            0
        })
    }
}

/// All runs with at most so many decisions that are not ordinary, one after another, each exactly once.
#[derive(Debug)]
pub struct Search {
    delays_max: u32,
    next: Option<Vec<u32>>,
}

impl Search {
    /// Begins with the ordinary run.
    pub fn new(delays_max: u32) -> Search {
        Search { delays_max, next: Some(Vec::new()) }
    }

    /// The decisions of the next run; `None` when all have been tried.
    pub fn next_run(&mut self) -> Option<Choices> {
        self.next.take().map(Choices::replay)
    }

    /// To be told how the run went before the next is asked for.
    pub fn ran(&mut self, taken: &[Choice]) {
        // The last decision that can be another one within the bound, and everything ordinary behind it.
        let mut spent: u32 = taken.iter().map(|choice| u32::from(choice.picked > 0)).sum();
        for (at, choice) in taken.iter().enumerate().rev() {
            spent -= u32::from(choice.picked > 0);
            if choice.picked + 1 < choice.of && spent < self.delays_max {
                let mut picks: Vec<u32> = taken[..at].iter().map(|choice| choice.picked).collect();
                picks.push(choice.picked + 1);
                self.next = Some(picks);
                return;
            }
        }
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three decisions, of 2, 3 and (if the first was 1) 2 possibilities.
    fn run(choices: &mut Choices) -> [usize; 3] {
        let first = choices.pick(2);
        [first, choices.pick(3), if first == 1 { choices.pick(2) } else { 0 }]
    }

    fn searched(delays_max: u32) -> Vec<[usize; 3]> {
        let mut search = Search::new(delays_max);
        let mut runs = Vec::new();
        while let Some(mut choices) = search.next_run() {
            runs.push(run(&mut choices));
            search.ran(&choices.taken);
        }
        runs
    }

    #[test]
    fn a_search_takes_every_run_within_its_bound_once() {
        assert_eq!(searched(0), [[0, 0, 0]]);
        assert_eq!(searched(1), [[0, 0, 0], [0, 1, 0], [0, 2, 0], [1, 0, 0]]);
        assert_eq!(searched(2).len(), 3 + 1 + 2 + 1);
        assert_eq!(searched(3).len(), 3 + 6);
        assert_eq!(searched(9).len(), 3 + 6);
    }

    #[test]
    fn tasks_run_in_turn_but_for_the_delays() {
        for seed in 0..100 {
            let mut choices = Choices::in_turn(seed, 2, 10);
            let out_of_turn = (0..20).filter(|_| choices.task([0_u64, 1, 2].into_iter()) != 0).count();
            assert_eq!(out_of_turn, 2, "of seed {seed}");
        }
    }

    #[test]
    fn whoever_is_held_back_waits_for_all_others_and_that_is_one_preemption() {
        let mut choices = Choices::held_back(0, 1, 1);
        let picked: Vec<usize> = (0..5).map(|_| choices.task([7_u64, 8].into_iter())).collect();
        assert_eq!(picked, [1; 5]);
        let preemptions = choices.taken.iter().filter(|choice| choice.preempts).count();
        assert_eq!(preemptions, 1);
        // Once it has run, it is held back no more.
        assert_eq!(choices.task([7_u64].into_iter()), 0);
        assert_eq!(choices.task([7_u64, 8].into_iter()), 0);
        // Two who are passed over one after the other are two.
        let mut choices = Choices::replay(vec![1, 0, 2, 2, 1]);
        let picked: Vec<usize> = (0..5).map(|_| choices.task([7_u64, 8, 9].into_iter())).collect();
        assert_eq!(picked, [1, 0, 2, 2, 1]);
        let preempts: Vec<bool> = choices.taken.iter().map(|choice| choice.preempts).collect();
        assert_eq!(preempts, [true, false, true, false, false]);
    }

    #[test]
    fn a_record_replays() {
        for seed in 0..100 {
            let mut original = Choices::random(seed);
            let ran = run(&mut original);
            assert_eq!(run(&mut Choices::replay(original.picks())), ran);
        }
    }
}

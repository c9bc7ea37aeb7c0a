//! Step 5, all together: one order explains it all. If there is none, some things come before themselves: a circle.

use hashbrown::HashMap;

use super::Violation;
use super::case::Case;

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

/// Checks that one order of all lines explains what everybody saw.
pub(super) fn check(case: &Case<'_>) -> Result<(), Violation> {
    let lines = Lines::of(case);
    let moments = moments(case, &lines);
    let graph = Graph::of(lines.count + moments.len(), edges(case, &lines, &moments));
    let Some(circle) = graph.circle() else { return Ok(()) };
    // What one sender wrote in one order and one reader saw in another was found before (G2).
    let rule = if circle.iter().all(|(_, why)| *why == Why::Seen) { "G3" } else { "G4" };
    let witness: Vec<(usize, usize)> =
        circle.iter().filter_map(|&(node, _)| lines.place(case, node)).collect();
    let what = format!(
        "no order explains it: {} lines each come before the next, and the last before the first",
        witness.len()
    );
    Err(Violation::new(rule, what, &witness))
}

/// A line, or a moment. There are so many of both that their size counts.
type Node = u32;

/// The lines as nodes, those of a session one after another.
struct Lines {
    first: Vec<usize>,
    count: usize,
}

impl Lines {
    fn of(case: &Case<'_>) -> Lines {
        let mut count = 0;
        let first = case.sessions.iter().map(|session| {
            count += session.lines.len();
            count - session.lines.len()
        });
        Lines { first: first.collect(), count }
    }

    fn node(&self, (session, line): (usize, usize)) -> usize {
        self.first[session] + line
    }

    /// The session of a line, and its place there. `None`: it is a moment.
    fn place(&self, case: &Case<'_>, node: usize) -> Option<(usize, usize)> {
        let session = self.first.partition_point(|&first| first <= node).checked_sub(1)?;
        let line = case.sessions[session].lines.get(node - self.first[session])?;
        Some((session, line.item))
    }
}

/// When a line was written, or something read that it caused: the stamp, the line, and whether it was written.
type Moment = (u64, Node, bool);

/// All of them, in their order.
fn moments(case: &Case<'_>, lines: &Lines) -> Vec<Moment> {
    let count = case.sessions.iter().map(|session| session.lines.len() + session.mailbox.len()).sum();
    let mut moments = Vec::with_capacity(count);
    for (number, session) in case.sessions.iter().enumerate() {
        let written = session.lines.iter().enumerate();
        moments.extend(written.map(|(line, it)| (it.at, as_node(lines.node((number, line))), true)));
        moments.extend(session.mailbox.iter().map(|mail| (mail.at, as_node(lines.node(mail.cause)), false)));
    }
    moments.sort(); // of each session they are in order, and this makes use of that
    moments
}

/// What comes before what, and why.
type Edge = (usize, usize, Why);

/// All edges, those that begin in one node always in the same order.
fn edges<'a>(
    case: &'a Case<'_>,
    lines: &'a Lines,
    moments: &'a [Moment],
) -> impl Iterator<Item = Edge> + Clone + 'a {
    let sessions = case.sessions.iter().enumerate().flat_map(move |(number, session)| {
        let place = move |line| lines.node((number, line));
        let written = (1..session.lines.len()).map(move |line| (place(line - 1), place(line), Why::Written));
        let seen = session.mailbox.windows(2).filter(|pair| pair[0].cause != pair[1].cause);
        written.chain(seen.map(move |pair| (lines.node(pair[0].cause), lines.node(pair[1].cause), Why::Seen)))
    });
    let happened = moments.iter().zip(lines.count..).map(|(&(_, line, wrote), now)| {
        let (from, to) = if wrote { (now, line as usize) } else { (line as usize, now) };
        (from, to, Why::Time)
    });
    let passed = (lines.count + 1..lines.count + moments.len()).map(|now| (now - 1, now, Why::Time));
    sessions.chain(happened).chain(passed)
}

fn as_node(node: usize) -> Node {
    Node::try_from(node).expect("no history is that long")
}

/// What comes before what.
struct Graph {
    /// Where the successors of each node begin, and where those of the last one end.
    starts: Vec<Node>,
    /// Of all nodes in one list, in the order of the nodes.
    successors: Vec<(Node, Why)>,
    /// How many edges lead to each node.
    waits: Vec<Node>,
}

impl Graph {
    fn of(nodes: usize, edges: impl Iterator<Item = Edge> + Clone) -> Graph {
        let mut starts: Vec<Node> = vec![0; nodes + 1];
        let mut waits: Vec<Node> = vec![0; nodes];
        edges.clone().for_each(|(from, to, _)| {
            starts[from + 1] += 1;
            waits[to] += 1;
        });
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut fill = starts.clone();
        let mut successors = vec![(0, Why::Time); starts[nodes] as usize];
        edges.for_each(|(from, to, why)| {
            successors[fill[from] as usize] = (as_node(to), why);
            fill[from] += 1;
        });
        Graph { starts, successors, waits }
    }

    fn successors(&self, node: usize) -> impl Iterator<Item = (usize, Why)> {
        let [start, end] = [node, node + 1].map(|node| self.starts[node] as usize);
        self.successors[start..end].iter().map(|&(next, why)| (next as usize, why))
    }

    /// A shortest circle through some node that is in one; each node with why it comes before the next.
    fn circle(mut self) -> Option<Vec<(usize, Why)>> {
        // Take away whatever nothing comes before, as long as there is anything like that.
        let mut waits = std::mem::take(&mut self.waits);
        let nodes = waits.len();
        let mut free: Vec<usize> = (0..nodes).filter(|&node| waits[node] == 0).collect();
        let mut left = nodes;
        while let Some(node) = free.pop() {
            left -= 1;
            for (next, _) in self.successors(node) {
                waits[next] -= 1;
                if waits[next] == 0 {
                    free.push(next);
                }
            }
        }
        if left == 0 {
            return None;
        }
        // Try a few of those in one circle, lines before moments, and keep the shortest circle through one of them.
        let mut circle = self.some_circle(&waits);
        circle.sort_unstable();
        let candidates = circle.into_iter().take(64);
        candidates.filter_map(|node| self.shortest_circle(node, &waits)).min_by_key(Vec::len)
    }

    /// A circle among the nodes that are left, as some are. Each is in one or behind one: whoever goes back from it to what is
    /// left before it, and so on, comes somewhere a second time.
    fn some_circle(&self, waits: &[Node]) -> Vec<usize> {
        let left = (0..waits.len()).filter(|&node| waits[node] > 0);
        let edges = left.clone().flat_map(|node| self.successors(node).map(move |(next, _)| (next, node)));
        let before: HashMap<usize, usize> = edges.filter(|&(next, _)| waits[next] > 0).collect();
        let (mut way, mut places) = (Vec::new(), HashMap::new());
        let mut node = left.min().unwrap_or_default();
        loop {
            if let Some(first) = places.insert(node, way.len()) {
                return way.split_off(first);
            }
            way.push(node);
            node = before[&node];
        }
    }

    /// Breadth first from a node back to itself, among those that are left.
    fn shortest_circle(&self, start: usize, waits: &[Node]) -> Option<Vec<(usize, Why)>> {
        let mut came: HashMap<usize, (usize, Why)> = HashMap::new();
        let mut level = vec![start];
        while !level.is_empty() && !came.contains_key(&start) {
            let mut next_level = Vec::new();
            for node in level {
                for (next, why) in self.successors(node) {
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
}

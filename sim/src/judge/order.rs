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
    let mut graph = Graph::default();
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut first_node = Vec::new();
    for (number, session) in case.sessions.iter().enumerate() {
        first_node.push(places.len());
        places.extend(session.lines.iter().map(|line| (number, line.item)));
    }
    let node = |(session, line): (usize, usize)| first_node[session] + line;
    let mut moments: Vec<(u64, usize, bool)> = Vec::new();
    for (number, session) in case.sessions.iter().enumerate() {
        for line in 1..session.lines.len() {
            graph.edge(node((number, line - 1)), node((number, line)), Why::Written);
        }
        for pair in session.mailbox.windows(2).filter(|pair| pair[0].cause != pair[1].cause) {
            graph.edge(node(pair[0].cause), node(pair[1].cause), Why::Seen);
        }
        moments
            .extend(session.lines.iter().enumerate().map(|(line, it)| (it.at, node((number, line)), true)));
        moments.extend(session.mailbox.iter().map(|mail| (mail.at, node(mail.cause), false)));
    }
    moments.sort_unstable();
    for (moment, &(_, line, wrote)) in moments.iter().enumerate() {
        let now = places.len() + moment;
        if moment > 0 {
            graph.edge(now - 1, now, Why::Time);
        }
        if wrote {
            graph.edge(now, line, Why::Time);
        } else {
            graph.edge(line, now, Why::Time);
        }
    }
    let Some(circle) = graph.circle(places.len() + moments.len()) else { return Ok(()) };
    // What one sender wrote in one order and one reader saw in another was found before (G2).
    let rule = if circle.iter().all(|(_, why)| *why == Why::Seen) { "G3" } else { "G4" };
    let witness: Vec<(usize, usize)> =
        circle.iter().filter_map(|&(node, _)| places.get(node).copied()).collect();
    let what = format!(
        "no order explains it: {} lines each come before the next, and the last before the first",
        witness.len()
    );
    Err(Violation::new(rule, what, &witness))
}

/// What comes before what.
#[derive(Default)]
struct Graph {
    edges: Vec<(usize, usize, Why)>,
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize, why: Why) {
        self.edges.push((from, to, why));
    }

    /// A shortest circle through some node that is in one; each node with why it comes before the next.
    fn circle(&self, nodes: usize) -> Option<Vec<(usize, Why)>> {
        // Successors of all nodes in one list, in the order of the nodes.
        let mut starts = vec![0; nodes + 1];
        let mut waits = vec![0_u32; nodes];
        for &(from, to, _) in &self.edges {
            starts[from + 1] += 1;
            waits[to] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut fill = starts.clone();
        let mut successors = vec![(0, Why::Time); self.edges.len()];
        for &(from, to, why) in &self.edges {
            successors[fill[from]] = (to, why);
            fill[from] += 1;
        }
        // Take away whatever nothing comes before, as long as there is anything like that.
        let mut free: Vec<usize> = (0..nodes).filter(|&node| waits[node] == 0).collect();
        let mut left = nodes;
        while let Some(node) = free.pop() {
            left -= 1;
            for &(next, _) in &successors[starts[node]..starts[node + 1]] {
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
        candidates.filter_map(|node| shortest_circle(node, &starts, &successors, &waits)).min_by_key(Vec::len)
    }

    /// A circle among the nodes that are left, as some are. Each is in one or behind one: whoever goes back from it to what is
    /// left before it, and so on, comes somewhere a second time.
    fn some_circle(&self, waits: &[u32]) -> Vec<usize> {
        let is_left = |node: usize| waits[node] > 0;
        let left = self.edges.iter().filter(|&&(from, to, _)| is_left(from) && is_left(to));
        let before: HashMap<usize, usize> = left.map(|&(from, to, _)| (to, from)).collect();
        let (mut way, mut places) = (Vec::new(), HashMap::new());
        let mut node = (0..waits.len()).find(|&node| is_left(node)).unwrap_or_default();
        loop {
            if let Some(first) = places.insert(node, way.len()) {
                return way.split_off(first);
            }
            way.push(node);
            node = before[&node];
        }
    }
}

/// Breadth first from a node back to itself, among those that are left.
fn shortest_circle(
    start: usize,
    starts: &[usize],
    successors: &[(usize, Why)],
    waits: &[u32],
) -> Option<Vec<(usize, Why)>> {
    let mut came: HashMap<usize, (usize, Why)> = HashMap::new();
    let mut level = vec![start];
    while !level.is_empty() && !came.contains_key(&start) {
        let mut next_level = Vec::new();
        for node in level {
            for &(next, why) in &successors[starts[node]..starts[node + 1]] {
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

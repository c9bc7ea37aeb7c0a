//! What Seriatim wants to reach beside the others, and whether it does.

use super::broker::TWO_THREADS;
use super::figure::Figure;
use super::outcome::Outcome;
use super::workload::WORKLOADS;

/// The names of the others, as their rows begin.
const NATS: &str = "nats-server";
const IRC: [&str; 2] = ["inspircd", "ngircd"];
const ALL: [&str; 4] = ["nats-server", "inspircd", "ngircd", "mosquitto"];
const FORWARDING: &str = "bare forwarding";

/// Whether more or less is wanted.
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

/// Something to reach: a ratio of Seriatim's median to the best of some others', or a figure by itself.
struct Aim {
    /// Whose figure, if not that of the first.
    who: Option<&'static str>,
    workload: &'static str,
    figure: Figure,
    wanted: Wanted,
    beside: &'static [&'static str],
    what: &'static str,
}

const fn at_most(
    ratio: f64,
    workload: &'static str,
    figure: Figure,
    beside: &'static [&'static str],
    what: &'static str,
) -> Aim {
    Aim { who: None, workload, figure, wanted: Wanted::AtMost(ratio), beside, what }
}

const AIMS: [Aim; 15] = [
    at_most(0.45, "pairs", Figure::CpuPerDelivery, &[NATS], "CPU per delivery, beside nats-server"),
    at_most(0.2, "pairs", Figure::CpuPerDelivery, &IRC, "CPU per delivery, beside the best IRC server"),
    Aim {
        who: Some(TWO_THREADS),
        workload: "pairs",
        figure: Figure::DeliveriesPerSecond,
        wanted: Wanted::AtLeast(1.5),
        beside: &[NATS],
        what: "deliveries/s with two threads, beside nats-server",
    },
    at_most(2.0, "pairs", Figure::CpuPerDelivery, &[FORWARDING], "CPU per delivery, beside bare forwarding"),
    at_most(0.7, "pairs-1k", Figure::CpuPerDelivery, &[NATS], "CPU per delivery, beside nats-server"),
    at_most(0.4, "fan-out-1-50", Figure::CpuPerDelivery, &[NATS], "CPU per delivery, beside nats-server"),
    at_most(0.7, "fan-out-1-1000", Figure::CpuPerDelivery, &ALL, "CPU per delivery, beside the best"),
    at_most(1.0, "round-trip", Figure::MedianMicros, &[NATS], "p50, beside nats-server"),
    at_most(1.0, "round-trip", Figure::P99Micros, &[NATS], "p99, beside nats-server"),
    at_most(1.0, "round-trip-loaded", Figure::MedianMicros, &[NATS], "p50, beside nats-server"),
    at_most(0.5, "round-trip-loaded", Figure::P99Micros, &[NATS], "p99, beside nats-server"),
    at_most(1.25, "trickle", Figure::MedianMicros, &[NATS], "p50, beside nats-server"),
    at_most(1.25, "trickle", Figure::P99Micros, &[NATS], "p99, beside nats-server"),
    at_most(1024.0, "idle", Figure::BytesPerConnection, &[], "bytes per connection"),
    at_most(0.1, "idle", Figure::IdleCpuPercent, &[], "CPU while idle, %"),
];

/// The workloads that differ in nothing but the number of connections.
const GROWTH: [&str; 2] = ["spread-", "beside-"];

/// How much slower the slowest of them may be.
const GROWTH_MAX: f64 = 0.3;

/// What was wanted and what came out, as a table in Markdown.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut rows: Vec<String> = AIMS.iter().filter_map(|aim| aim.row(outcomes)).collect();
    rows.extend(GROWTH.iter().filter_map(|prefix| growth(prefix, outcomes)));
    format!(
        "| workload | what | wanted | measured | reached |\n|---|---|---:|---:|---|\n{}\n",
        rows.join("\n")
    )
}

impl Aim {
    fn row(&self, outcomes: &[Outcome]) -> Option<String> {
        let outcome = outcomes.iter().find(|outcome| outcome.workload == self.workload)?;
        let own = match self.who {
            Some(name) => outcome.of(name, self.figure)?,
            None => outcome.own(self.figure)?,
        };
        let others = self.beside.iter().filter_map(|name| outcome.of(name, self.figure));
        let (sign, wanted, best) = match self.wanted {
            Wanted::AtMost(wanted) => ("≤", wanted, others.reduce(f64::min)),
            Wanted::AtLeast(wanted) => ("≥", wanted, others.reduce(f64::max)),
        };
        let measured = if self.beside.is_empty() { own } else { own / best? };
        let reached = match self.wanted {
            Wanted::AtMost(wanted) => measured <= wanted,
            Wanted::AtLeast(wanted) => measured >= wanted,
        };
        let unit = if self.beside.is_empty() { "" } else { "×" };
        let show = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let (workload, what) = (self.workload, self.what);
        let (wanted, measured, reached) =
            (show(wanted), show(measured), if reached { "yes" } else { "**no**" });
        Some(format!("| {workload} | {what} | {sign} {wanted}{unit} | {measured}{unit} | {reached} |"))
    }
}

/// How much slower the slowest is than the fastest of the workloads whose names begin so.
fn growth(prefix: &str, outcomes: &[Outcome]) -> Option<String> {
    let some = outcomes.iter().filter(|outcome| outcome.workload.starts_with(prefix));
    let per_second: Vec<f64> = some.filter_map(|outcome| outcome.own(Figure::DeliveriesPerSecond)).collect();
    // Of some of them alone it would say too little.
    let all = WORKLOADS.iter().filter(|workload| workload.name.starts_with(prefix)).count();
    if per_second.len() < all {
        return None;
    }
    let most = per_second.iter().copied().reduce(f64::max)?;
    let least = per_second.iter().copied().reduce(f64::min)?;
    let lost = 1.0 - least / most;
    let reached = if lost <= GROWTH_MAX { "yes" } else { "**no**" };
    let (wanted, lost) = (GROWTH_MAX * 100.0, lost * 100.0);
    Some(format!(
        "| {prefix}10 to {prefix}10000 | deliveries/s, slowest below fastest | ≤ {wanted:.0} % | {lost:.0} % | {reached} |"
    ))
}

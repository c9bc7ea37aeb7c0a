//! Brokers side by side: in turn, several times, medians and ratios.

use std::fmt::Write as _;

use crate::compare::broker::Broker;
use crate::compare::figure::{Figure, Measured, median};
use crate::compare::workload::Workload;

/// What came out of one workload, by broker; nothing where the broker cannot do it.
pub(crate) struct Outcome {
    /// Which.
    pub(crate) workload: &'static str,
    rows: Vec<(String, Vec<Vec<Measured>>)>,
}

/// Does a workload to all brokers in turn, `runs` times, so that whatever else the machine does at a time harms all of them.
///
/// # Errors
/// A broker does not do what it must.
pub(crate) fn compare(
    workload: &'static Workload,
    brokers: &[Broker],
    runs: usize,
    amount: u64,
    mut progress: impl FnMut(&str),
) -> Result<Outcome, String> {
    let mut rows: Vec<(String, Vec<Vec<Measured>>)> = Vec::new();
    for run in 0..runs {
        for (number, broker) in brokers.iter().filter(|broker| workload.suits(broker)).enumerate() {
            progress(&format!("{}, run {} of {runs}: {}", workload.name, run + 1, broker.name));
            let measured = workload
                .measure(broker, amount)
                .map_err(|error| format!("{}, {}: {error}", workload.name, broker.name))?;
            if run == 0 {
                rows.push((broker.name.clone(), Vec::new()));
            }
            rows[number].1.push(measured);
        }
    }
    Ok(Outcome { workload: workload.name, rows })
}

impl Outcome {
    /// Seriatim's median of a figure.
    pub(crate) fn own(&self, figure: Figure) -> Option<f64> {
        self.of("", figure)
    }

    /// The median of a figure, of the first broker whose name begins so.
    pub(crate) fn of(&self, name: &str, figure: Figure) -> Option<f64> {
        let (_, runs) = self.rows.iter().find(|(row, _)| row.starts_with(name))?;
        let values = Outcome::values(runs, figure);
        (!values.is_empty()).then(|| median(&values))
    }

    /// All values of one figure in one row.
    fn values(runs: &[Vec<Measured>], figure: Figure) -> Vec<f64> {
        let in_run = |run: &Vec<Measured>| run.iter().find(|(f, _)| *f == figure).map(|(_, value)| *value);
        runs.iter().filter_map(in_run).collect()
    }

    /// As a table in Markdown: medians, in parentheses the least and the most, and behind it how many times the first row's
    /// median it is.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("### {}\n\n", self.workload);
        let Some((_, first)) = self.rows.first() else { return out };
        let figures: Vec<Figure> = first.first().into_iter().flatten().map(|(figure, _)| *figure).collect();
        let _ = write!(out, "| |");
        for figure in &figures {
            let _ = write!(out, " {} |", figure.title());
        }
        let _ = writeln!(out, "\n|---|{}", "---:|".repeat(figures.len()));
        for (name, runs) in &self.rows {
            let _ = write!(out, "| {name} |");
            for &figure in &figures {
                let _ = write!(
                    out,
                    " {} |",
                    cell(figure, &Outcome::values(runs, figure), &Outcome::values(first, figure))
                );
            }
            out.push('\n');
        }
        out
    }
}

fn cell(figure: Figure, values: &[f64], first: &[f64]) -> String {
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    let mut cell = figure.show(median(values));
    if values.len() > 1 {
        let _ = write!(cell, " ({}–{})", figure.show(least), figure.show(most));
    }
    let ratio = median(values) / median(first);
    if figure.is_compared() && (ratio - 1.0).abs() > 1e-9 {
        let _ = write!(cell, " **{ratio:.2}×**");
    }
    cell
}

//! The table of `docs/instructions.md`: a row for each commit that was recorded, the last one last.

use std::fmt;

use super::stage::Stage;
use super::talk::Kind;

/// What the figures of a row are of, in order.
pub const COLUMNS: [(Kind, Stage); 8] = [
    (Kind::Pairs, Stage::Parse),
    (Kind::Pairs, Stage::Step),
    (Kind::Pairs, Stage::Render),
    (Kind::Pairs, Stage::Whole),
    (Kind::FanOut, Stage::Parse),
    (Kind::FanOut, Stage::Step),
    (Kind::FanOut, Stage::Render),
    (Kind::FanOut, Stage::Whole),
];

/// How far a figure may lie above the last row's before it counts as grown, in percent.
pub const TOLERANCE_PERCENT: u64 = 5;

/// Instructions for each message, of each column.
pub type Figures = [u64; COLUMNS.len()];

/// What was counted at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The commit's short hash.
    pub commit: String,
    /// Its date.
    pub date: String,
    /// What was counted.
    pub figures: Figures,
    /// Why a figure has grown, or whatever else there is to say.
    pub why: String,
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [commit, date, figures @ .., why] = &cells[..] else { return None };
        let figures: Vec<u64> = figures.iter().map(|figure| figure.parse().ok()).collect::<Option<_>>()?;
        let [commit, date, why] = [commit, date, why].map(|&cell| cell.to_owned());
        Some(Row { commit, date, figures: figures.try_into().ok()?, why })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.commit, self.date)?;
        for figure in self.figures {
            write!(f, " {figure} |")?;
        }
        write!(f, " {} |", self.why)
    }
}

/// The last row of the table that ends this document; `None` if there is only its head.
///
/// # Errors
/// The line that is no row.
pub fn last_row(document: &str) -> Result<Option<Row>, String> {
    let is_rule = |line: &str| line.chars().all(|c| "|- :".contains(c));
    match document.lines().rfind(|line| line.starts_with('|')) {
        None => Err("there is no table".to_owned()),
        Some(line) if is_rule(line) => Ok(None),
        Some(line) => Row::parse(line).map(Some).ok_or_else(|| format!("this is no row: {line}")),
    }
}

/// The columns whose figure has grown by more than [`TOLERANCE_PERCENT`].
pub fn grown(before: &Figures, now: &Figures) -> Vec<(Kind, Stage)> {
    let grown = |(before, now): (&u64, &u64)| now * 100 > before * (100 + TOLERANCE_PERCENT);
    let figures = before.iter().zip(now);
    COLUMNS
        .into_iter()
        .zip(figures)
        .filter(|&(_, figures)| grown(figures))
        .map(|(column, _)| column)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Title\n\n| commit | 1 | 2 |\n|---|--:|:-:|\n";

    fn row(why: &str) -> Row {
        let (commit, date) = ("abc1234".to_owned(), "2026-01-31".to_owned());
        Row { commit, date, figures: [1, 2, 3, 4, 5, 6, 7, 8000], why: why.to_owned() }
    }

    #[test]
    fn the_last_row_is_read_as_it_was_written() {
        assert_eq!(last_row(HEAD), Ok(None));
        let document = format!("{HEAD}{}\n{}\n", row("the first"), row(""));
        assert_eq!(last_row(&document), Ok(Some(row(""))));
        assert_eq!(last_row(&format!("{HEAD}{}\n", row("the first"))), Ok(Some(row("the first"))));
    }

    #[test]
    fn what_is_no_row_is_named() {
        let document = format!("{HEAD}{}\n| abc1234 | 2026-01-31 | 1 | 2 | |\n", row(""));
        assert_eq!(last_row(&document), Err("this is no row: | abc1234 | 2026-01-31 | 1 | 2 | |".to_owned()));
        assert_eq!(last_row("# Title\n"), Err("there is no table".to_owned()));
    }

    #[test]
    fn more_than_five_percent_is_growth() {
        let before = [100, 100, 100, 100, 1000, 1000, 1000, 1000];
        assert_eq!(grown(&before, &before), []);
        let now = [105, 106, 90, 100, 1050, 1051, 0, 9000];
        let expected =
            [(Kind::Pairs, Stage::Step), (Kind::FanOut, Stage::Step), (Kind::FanOut, Stage::Whole)];
        assert_eq!(grown(&before, &now), expected);
    }
}

//! How lines look on a terminal.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};

/// What names are coloured with: no red, which is for errors, and neither black nor white, which may be the background.
const NAME_COLOURS: [AnsiColor; 10] = [
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Magenta,
    AnsiColor::Cyan,
    AnsiColor::BrightGreen,
    AnsiColor::BrightYellow,
    AnsiColor::BrightBlue,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightCyan,
];

/// The text with every control character but tab spelt out, so that no text can command a terminal.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Dresses lines for the terminal, in colour or without.
pub(super) struct Paint {
    colours: bool,
}

impl Paint {
    /// In colour unless the user or the terminal wants none.
    pub(super) fn from_environment() -> Paint {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint { colours: !no_color && !dumb }
    }

    /// A line of the server.
    pub(super) fn server_line(&self, line: &str) -> String {
        if let Some(error) = line.strip_prefix("error ") {
            return self.alarm(error);
        }
        match line.strip_prefix("from ").and_then(|message| message.split_once(": ")) {
            Some((name, text)) => format!("{}: {text}", self.dress(name_style(name), name)),
            None => self.notice(line),
        }
    }

    /// Something to know.
    pub(super) fn notice(&self, text: &str) -> String {
        self.dress(Style::new().dimmed(), &format!("* {text}"))
    }

    /// Something that went wrong.
    pub(super) fn alarm(&self, text: &str) -> String {
        self.dress(AnsiColor::Red.on_default(), &format!("! {text}"))
    }

    fn dress(&self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// The same for a name in every session: the colour comes from a hash (FNV-1a) of the name alone.
fn name_style(name: &str) -> Style {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The low bits of FNV-1a are its weakest.
    let count = NAME_COLOURS.len() as u64;
    let index = usize::try_from((hash >> 32) % count).unwrap_or_default();
    NAME_COLOURS[index].on_default().bold()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_stays_and_nothing_else_changes() {
        assert_eq!(harmless("tab\tand é 李 \u{200d}"), "tab\tand é 李 \u{200d}");
        assert_eq!(harmless("\u{1b}[31m\r\n\0\u{7f}\u{9b}"), "\\u{1b}[31m\\u{d}\\u{a}\\u{0}\\u{7f}\\u{9b}");
        let everything: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        assert!(harmless(&everything).chars().all(|c| !c.is_control() || c == '\t'));
    }

    #[test]
    fn without_colours_lines_are_plain() {
        let paint = Paint { colours: false };
        for (line, shown) in [
            ("from bob: a: b", "bob: a: b"),
            ("error no-such-peer: eve", "! no-such-peer: eve"),
            ("peers 1: al", "* peers 1: al"),
            ("bye quit", "* bye quit"),
            ("from nowhere", "* from nowhere"),
            ("", "* "),
        ] {
            assert_eq!(paint.server_line(line), shown);
        }
    }

    #[test]
    fn with_colours_every_line_ends_without_a_style() {
        let paint = Paint { colours: true };
        assert_eq!(paint.server_line("error x: y"), "\u{1b}[31m! x: y\u{1b}[0m");
        assert_eq!(paint.server_line("help"), "\u{1b}[2m* help\u{1b}[0m");
        let line = paint.server_line("from bob: hi");
        assert!(line.starts_with("\u{1b}[1m") && line.ends_with("bob\u{1b}[0m: hi"), "{line:?}");
        assert_eq!(line, paint.server_line("from bob: hi"));
    }

    #[test]
    fn names_spread_over_the_colours() {
        let styles: std::collections::HashSet<String> =
            (0..100).map(|i| format!("{}", name_style(&format!("user{i}")))).collect();
        assert_eq!(styles.len(), NAME_COLOURS.len());
    }
}

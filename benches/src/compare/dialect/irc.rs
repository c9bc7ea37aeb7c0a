//! IRC's client protocol: RFC 2812.

use super::{Dialect, Step, To, first_line};

/// IRC. Groups are channels.
pub(crate) struct Irc {
    /// The longest line that the server passes on, in bytes.
    pub(crate) line_bytes_max: usize,
}

/// What the server puts around a text, at most: `:NAME!~USER@ADDRESS PRIVMSG NAME :` and the end of the line.
const AROUND_BYTES_MAX: usize = 100;

fn target(to: To) -> String {
    match to {
        To::Peer(name) => name.to_owned(),
        To::Group(group, _) => format!("#{group}"),
    }
}

impl Dialect for Irc {
    fn log_in(&self, name: &str) -> Vec<Step> {
        // A message of the day comes last, or that there is none; an answer to a ping comes behind either.
        let login = format!("NICK {name}\r\nUSER {name} 0 * :{name}\r\n");
        vec![Step::new(login, " 001 "), Step::new("PING logged-in\r\n", "logged-in\r\n")]
    }

    fn join(&self, group: &str) -> Vec<Step> {
        // So that whoever is not in the channel may speak there.
        vec![Step::new(format!("JOIN #{group}\r\nMODE #{group} -n\r\nPING joined\r\n"), "joined\r\n")]
    }

    fn ping(&self) -> Option<Step> {
        Some(Step::new("PING still-there\r\n", "still-there\r\n"))
    }

    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>> {
        vec![[format!("PRIVMSG {} :", target(to)).as_bytes(), text, b"\r\n"].concat()]
    }

    fn arriving(&self, from: &str, to: To, text: &[u8], begin: &[u8]) -> Option<Vec<u8>> {
        let line = first_line(begin)?;
        let head = format!(":{from}!");
        let tail = [format!(" PRIVMSG {} :", target(to)).as_bytes(), text, b"\r\n"].concat();
        let host = line.strip_prefix(head.as_bytes())?.split(|&byte| byte == b' ').next()?;
        Some([head.as_bytes(), host, &tail].concat())
    }

    fn aside(&self, begin: &[u8]) -> Option<(usize, Vec<u8>)> {
        let line = first_line(begin)?;
        if let Some(token) = line.strip_prefix(b"PING ") {
            return Some((line.len(), [b"PONG ", token].concat()));
        }
        // What others do in the channel, and numbers for us.
        let text = String::from_utf8_lossy(line);
        let command = text.split(' ').nth(1)?;
        let known = matches!(command, "JOIN" | "MODE" | "NOTICE" | "PONG") || command.parse::<u16>().is_ok();
        known.then_some((line.len(), Vec::new()))
    }

    fn text_bytes_max(&self) -> usize {
        self.line_bytes_max - AROUND_BYTES_MAX
    }
}

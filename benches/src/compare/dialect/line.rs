//! Seriatim's own protocol, and what is left of it when nobody looks at the lines.

use super::{Dialect, Step, To};

/// As many names as one line may list.
const NAMES_MAX: usize = 100;

/// Seriatim's line protocol.
pub(crate) struct Line;

impl Dialect for Line {
    fn log_in(&self, name: &str) -> Vec<Step> {
        vec![Step::new(format!("{name}\n"), format!("welcome {name}\n"))]
    }

    fn join(&self, _: &str) -> Vec<Step> {
        Vec::new()
    }

    fn ping(&self) -> Option<Step> {
        Some(Step::new("/ping x\n", "pong x\n"))
    }

    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>> {
        let line = |names: &str| [names.as_bytes(), b": ", text, b"\n"].concat();
        match to {
            To::Peer(name) => vec![line(name)],
            To::Group(_, names) => names.chunks(NAMES_MAX).map(|names| line(&names.join(","))).collect(),
        }
    }

    fn arriving(&self, from: &str, _: To, text: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        Some([b"from ", from.as_bytes(), b": ", text, b"\n"].concat())
    }

    fn aside(&self, _: &[u8]) -> Option<(usize, Vec<u8>)> {
        None
    }
}

/// The line protocol as the bare forwarder has it: what one says arrives as it is.
pub(crate) struct Forwarded;

impl Dialect for Forwarded {
    fn log_in(&self, name: &str) -> Vec<Step> {
        Line.log_in(name)
    }

    fn join(&self, _: &str) -> Vec<Step> {
        Vec::new()
    }

    fn ping(&self) -> Option<Step> {
        None
    }

    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>> {
        // Who is in a group it knows by itself.
        Line.message(To::Peer(to.name()), text)
    }

    fn arriving(&self, _: &str, to: To, text: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        self.message(to, text).pop()
    }

    fn aside(&self, _: &[u8]) -> Option<(usize, Vec<u8>)> {
        None
    }
}

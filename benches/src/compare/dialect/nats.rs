//! NATS's client protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use super::{Dialect, Step, To, first_line};

/// NATS, core messages.
pub(crate) struct Nats;

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"PONG\r\n";

impl Dialect for Nats {
    fn log_in(&self, name: &str) -> Vec<Step> {
        let connect =
            r#"CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":0}"#;
        vec![Step::new("", "\r\n"), Step::new(format!("{connect}\r\nSUB {name} 1\r\nPING\r\n"), PONG)]
    }

    fn join(&self, group: &str) -> Vec<Step> {
        vec![Step::new(format!("SUB {group} 2\r\nPING\r\n"), PONG)]
    }

    fn ping(&self) -> Option<Step> {
        Some(Step::new(PING, PONG))
    }

    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>> {
        let head = format!("PUB {} {}\r\n", to.name(), text.len());
        vec![[head.as_bytes(), text, b"\r\n"].concat()]
    }

    fn arriving(&self, _: &str, to: To, text: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        let sid = if matches!(to, To::Peer(_)) { 1 } else { 2 };
        let head = format!("MSG {} {sid} {}\r\n", to.name(), text.len());
        Some([head.as_bytes(), text, b"\r\n"].concat())
    }

    fn aside(&self, begin: &[u8]) -> Option<(usize, Vec<u8>)> {
        if begin.starts_with(PING) {
            return Some((PING.len(), PONG.to_vec()));
        }
        let line = first_line(begin)?;
        (line == PONG || line.starts_with(b"INFO ")).then_some((line.len(), Vec::new()))
    }
}

//! MQTT 3.1.1: <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>.

use super::{Dialect, Step, To};

/// MQTT 3.1.1 at quality of service 0. Names and groups are topics.
pub(crate) struct Mqtt;

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const PINGRESP: &[u8] = &[0xd0, 0];

/// A control packet: its type, how long the rest is, and the rest.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut left = body.len();
    loop {
        let seven = u8::try_from(left % 128).unwrap_or_default();
        left /= 128;
        packet.push(if left > 0 { seven | 0x80 } else { seven });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A text with its length in front.
fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn subscribe(topic: &str, id: u8) -> Step {
    let body = [&[0, id][..], &string(topic), &[0]].concat();
    Step::new(packet(SUBSCRIBE, &body), [0x90, 3, 0, id, 0])
}

impl Dialect for Mqtt {
    fn log_in(&self, name: &str) -> Vec<Step> {
        // Version 4, a clean session, no keep-alive.
        let body = [&string("MQTT")[..], &[4, 2, 0, 0], &string(name)].concat();
        vec![Step::new(packet(CONNECT, &body), [0x20, 2, 0, 0]), subscribe(name, 1)]
    }

    fn join(&self, group: &str) -> Vec<Step> {
        vec![subscribe(group, 2)]
    }

    fn ping(&self) -> Option<Step> {
        Some(Step::new([0xc0, 0], PINGRESP))
    }

    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>> {
        vec![packet(PUBLISH, &[&string(to.name()), text].concat())]
    }

    fn arriving(&self, _: &str, to: To, text: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        self.message(to, text).pop()
    }

    fn aside(&self, begin: &[u8]) -> Option<(usize, Vec<u8>)> {
        begin.starts_with(PINGRESP).then_some((PINGRESP.len(), Vec::new()))
    }
}

//! [`Staged`]: what the driver has for one client and has not put into its outbox yet.
//!
//! Only the driver puts anything into an outbox, and while it works no connection has a turn. So it gathers what it has for
//! each of them, and hands it over in one piece before they have. A client whose outbox would overflow is sealed: nothing is
//! put behind the gap, so that it sees a gap-free prefix of its mailbox (guarantee G6).

use std::sync::Arc;

use super::outbox::Outbox;
use crate::CloseReason;

/// The driver's end of an outbox.
pub struct Staged {
    outbox: Arc<Outbox>,
    lines: Vec<u8>,
    /// The most bytes that the outbox can hold by now: so many were in it at the last look, and none has come since.
    held_max: usize,
    /// Nothing more is accepted.
    sealed: bool,
    /// Kept for the driver.
    pub listed: Listed,
}

/// In which of the driver's lists of those for whom something is staged a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// It is handed over the next time.
    pub urgent: bool,
    /// It is handed over when those who have waited longer are.
    pub waiting: bool,
}

impl Listed {
    /// It is no more in this list.
    pub fn remove(&mut self, list: Listed) {
        self.urgent &= !list.urgent;
        self.waiting &= !list.waiting;
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It will be written.
    Accepted,
    /// It will be written; but the outbox is half full, and the connection's task had no turn to do anything about it.
    Pressing,
    /// It did not fit, and nothing will be accepted from now on. Said once.
    Overflowed,
    /// Nothing is accepted any more.
    Sealed,
}

impl Staged {
    /// Nothing is staged for this outbox, and nothing is in it.
    pub fn new(outbox: Arc<Outbox>) -> Staged {
        Staged { outbox, lines: Vec::new(), held_max: 0, sealed: false, listed: Listed::default() }
    }

    /// Whether nothing waits to be handed over.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Stages the whole lines that `write` appends, or seals if they do not fit. `total` is how many bytes are staged for all
    /// clients together.
    pub fn push(&mut self, total: &mut usize, write: impl FnOnce(&mut Vec<u8>)) -> Push {
        if self.sealed {
            return Push::Sealed;
        }
        let room = self.outbox.room();
        if self.lines.is_empty() {
            self.lines = room.buffer();
        }
        let before = self.lines.len();
        write(&mut self.lines);
        let staged = self.lines.len();
        let bytes_max = room.bytes_max_with(*total + staged - before);
        let mut pressing = false;
        if self.held_max + staged > bytes_max / 2 {
            // As far as is known: the connection may have written since.
            let (held, waits) = self.outbox.look();
            self.held_max = held;
            if held + staged > bytes_max {
                self.lines.truncate(before);
                self.sealed = true;
                return Push::Overflowed;
            }
            pressing = waits && held + staged > bytes_max / 2;
        }
        *total += staged - before;
        if pressing { Push::Pressing } else { Push::Accepted }
    }

    /// Puts what is staged into the outbox.
    pub fn hand_over(&mut self, total: &mut usize) {
        if !self.lines.is_empty() {
            *total -= self.lines.len();
            self.held_max = self.outbox.put(&mut self.lines);
        }
    }

    /// Puts the last line in, behind all that is staged, if it fits at all, and seals.
    pub fn push_farewell(&mut self, line: &[u8], total: &mut usize) {
        self.hand_over(total);
        self.sealed = true;
        self.outbox.put_farewell(line);
    }

    /// [`Effect::Close`](crate::Effect::Close).
    pub fn close(&mut self, reason: CloseReason, total: &mut usize) {
        self.hand_over(total);
        self.sealed = true;
        self.outbox.close(reason);
    }

    /// [`Effect::Abort`](crate::Effect::Abort).
    pub fn abort(&mut self, total: &mut usize) {
        self.hand_over(total);
        self.sealed = true;
        self.outbox.abort();
    }

    /// The outbox itself, for orders that are not about lines.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::super::outbox::{Room, Take};
    use super::*;

    fn take(outbox: &Outbox) -> Vec<u8> {
        let mut batch = Vec::new();
        let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut batch);
        assert_eq!(taken, Poll::Ready(Take::Write));
        batch
    }

    fn push(staged: &mut Staged, bytes: usize, total: &mut usize) -> Push {
        staged.push(total, |lines| lines.resize(lines.len() + bytes, b'x'))
    }

    #[test]
    fn g9_beyond_the_room_of_all_each_keeps_a_floor() {
        let room = Room::new(100, 150, 10);
        let mut total = 0;
        let [mut one, mut two, mut three] =
            [(); 3].map(|()| Staged::new(Arc::new(Outbox::new(room.clone()))));
        assert_eq!(push(&mut one, 100, &mut total), Push::Pressing);
        assert_eq!(push(&mut two, 50, &mut total), Push::Accepted);
        assert_eq!((total, room.used()), (150, 0));
        one.hand_over(&mut total);
        two.hand_over(&mut total);
        assert_eq!((total, room.used()), (0, 150));
        // Whoever holds little goes on; whoever holds more than the floor gets no more.
        assert_eq!(push(&mut three, 10, &mut total), Push::Pressing);
        assert_eq!(push(&mut two, 1, &mut total), Push::Overflowed);
        two.push_farewell(b"bye\n", &mut total);
        assert_eq!(push(&mut three, 1, &mut total), Push::Overflowed);
        assert_eq!(push(&mut three, 1, &mut total), Push::Sealed);
        three.close(CloseReason::TooSlow, &mut total);
        assert_eq!((total, room.used()), (0, 164), "what was accepted is handed over");
        // What is written, or given up, is room for others.
        assert_eq!(take(one.outbox()).len(), 100);
        assert_eq!(room.used(), 164, "it is still being written");
        one.outbox().wrote(60);
        assert_eq!(room.used(), 104);
        assert_eq!(push(&mut one, 46, &mut total), Push::Accepted);
        one.hand_over(&mut total);
        drop((one, two));
        assert_eq!(room.used(), 10);
        drop(three);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn g6_what_the_connection_wrote_meanwhile_is_room_again() {
        let mut total = 0;
        let mut staged = Staged::new(Arc::new(Outbox::new(Room::new(100, 1000, 10))));
        for _ in 0..10 {
            assert_ne!(push(&mut staged, 90, &mut total), Push::Overflowed);
            staged.hand_over(&mut total);
            assert_eq!(take(staged.outbox()).len(), 90);
            staged.outbox().wrote(90);
        }
        assert_ne!(push(&mut staged, 90, &mut total), Push::Overflowed);
        assert_eq!(push(&mut staged, 11, &mut total), Push::Overflowed);
    }
}

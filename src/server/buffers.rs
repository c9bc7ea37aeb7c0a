//! [`Buffers`]: memory to read into, for all connections together. None holds a buffer while it waits.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The most bytes one read brings. The longer the reads are, the more a recipient's next write carries: with 64 KiB a message of
/// 1 KiB costs half as much again.
pub(super) const READ_BYTES_MAX: u32 = 128 * 1024;

/// What is no more than that is copied, and the large buffer is free for the next read at once: what waits in the queue, a line
/// or two of everybody, needs no large ones.
pub(super) const COPIED_BYTES_MAX: usize = 1024;

/// How much of what a read has brought is wiped when it has been processed: whatever is copied, in both places. There a login
/// line stands, if there is one, and in it perhaps a password.
const WIPED_BYTES: usize = COPIED_BYTES_MAX;

/// Those that are free.
#[derive(Clone)]
pub(super) struct Buffers(Arc<Mutex<Free>>);

struct Free {
    /// Of each kind.
    count_max: usize,
    large: Vec<Vec<u8>>,
    small: Vec<Vec<u8>>,
}

impl Free {
    fn of(&mut self, size: usize) -> &mut Vec<Vec<u8>> {
        if size > COPIED_BYTES_MAX { &mut self.large } else { &mut self.small }
    }
}

impl Buffers {
    /// Keeps so many of each kind at most.
    pub(super) fn new(count_max: usize) -> Buffers {
        Buffers(Arc::new(Mutex::new(Free { count_max, large: Vec::new(), small: Vec::new() })))
    }

    /// A large buffer, with nothing in it.
    pub(super) fn take(&self) -> Buffer {
        self.take_of(READ_BYTES_MAX as usize)
    }

    /// A small buffer with these bytes, at most [`COPIED_BYTES_MAX`] of them.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        let mut buffer = self.take_of(COPIED_BYTES_MAX);
        buffer.room(bytes.len()).copy_from_slice(bytes);
        buffer.fill(bytes.len());
        Bytes::from_owner(buffer)
    }

    fn take_of(&self, size: usize) -> Buffer {
        let memory = self.lock().of(size).pop();
        Buffer { memory: memory.unwrap_or_else(|| vec![0; size]), length: 0, home: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one read has brought. Its memory is used again when all of it has been processed.
pub(super) struct Buffer {
    memory: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl Buffer {
    /// Where to read to, so many bytes at most.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        &mut self.memory[..most]
    }

    /// So many bytes have been read.
    pub(super) fn fill(&mut self, length: usize) {
        self.length = length;
    }

    /// The bytes, in no larger a buffer than they need.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.length > COPIED_BYTES_MAX { Bytes::from_owner(self) } else { self.home.copy(self.as_ref()) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut memory = mem::take(&mut self.memory);
        memory[..self.length.min(WIPED_BYTES)].fill(0);
        let mut free = self.home.lock();
        let count_max = free.count_max;
        let free = free.of(memory.len());
        if free.len() < count_max {
            free.push(memory);
        }
    }
}

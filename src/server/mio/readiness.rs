//! Which sockets are ready, and who waits for them.
//!
//! Each socket is registered once, for all that can happen to it, and the operating system tells of changes alone: what it
//! has told is true until a read or a write finds otherwise, and nobody asks again before.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker, ready};

use ::mio::event::{Event, Source};
use ::mio::{Interest, Registry, Token};
use slab::Slab;

use super::lock;

/// What can be watched.
pub(super) trait Socket: Send + Sync + 'static {
    fn source(&mut self) -> &mut dyn Source;
}

/// All sockets there are.
pub(super) struct Sockets {
    registry: Registry,
    places: Mutex<Slab<Weak<Watched<dyn Send + Sync>>>>,
}

/// A socket, and whether it is ready.
pub(super) struct Watched<T: ?Sized> {
    sockets: Arc<Sockets>,
    state: Mutex<State>,
    socket: T,
}

#[derive(Default)]
struct State {
    /// Where it stands among all. It never changes, and is here because here it takes no room.
    place: u32,
    /// A read is worth a try.
    readable: bool,
    /// More than the next read may be there to learn, however little that one brings: the end, an error, or what stands
    /// behind an urgent byte, which no read passes.
    more: bool,
    /// The last read was not the last that is worth a try: others have their turn before the next.
    had_turn: bool,
    /// A write is worth a try.
    writable: bool,
    reader: Option<Waker>,
    /// Few have more to write than the operating system takes at once.
    writer: Option<Box<Waker>>,
}

impl Sockets {
    pub(super) fn new(registry: Registry) -> Sockets {
        Sockets { registry, places: Mutex::default() }
    }

    /// Watches a connected socket, which can be written to.
    pub(super) fn watch<T: Socket>(self: &Arc<Self>, socket: T) -> io::Result<Arc<Watched<T>>> {
        let watched = self.watch_for(socket, both_ways())?;
        lock(&watched.state).writable = true;
        Ok(watched)
    }

    /// Watches a socket that is being connected: it can be written to when that has come to an end.
    pub(super) fn watch_connecting<T: Socket>(self: &Arc<Self>, socket: T) -> io::Result<Arc<Watched<T>>> {
        self.watch_for(socket, both_ways())
    }

    /// Watches a socket that listens.
    pub(super) fn watch_listening<T: Socket>(self: &Arc<Self>, socket: T) -> io::Result<Arc<Watched<T>>> {
        self.watch_for(socket, Interest::READABLE)
    }

    fn watch_for<T: Socket>(
        self: &Arc<Self>,
        mut socket: T,
        interest: Interest,
    ) -> io::Result<Arc<Watched<T>>> {
        let mut places = lock(&self.places);
        let entry = places.vacant_entry();
        let place = u32::try_from(entry.key()).expect("there are fewer files than that");
        self.registry.register(socket.source(), Token(entry.key()), interest)?;
        let state = Mutex::new(State { place, ..State::default() });
        let watched = Arc::new(Watched { sockets: self.clone(), state, socket });
        // What is told from now on finds it: the list is locked.
        let known: Arc<Watched<dyn Send + Sync>> = watched.clone();
        entry.insert(Arc::downgrade(&known));
        Ok(watched)
    }

    /// Hands on what the operating system has told.
    pub(super) fn tell(&self, event: &Event) {
        let watched = lock(&self.places).get(event.token().0).and_then(Weak::upgrade);
        // It may be gone by now.
        if let Some(watched) = watched {
            watched.tell(event);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.places).len()
    }
}

fn both_ways() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(target_os = "linux")]
    let interest = interest | Interest::PRIORITY;
    interest
}

#[cfg(target_os = "linux")]
fn is_urgent(event: &Event) -> bool {
    event.is_priority()
}

#[cfg(not(target_os = "linux"))]
fn is_urgent(_: &Event) -> bool {
    false
}

impl<T: ?Sized> Watched<T> {
    pub(super) fn socket(&self) -> &T {
        &self.socket
    }

    /// Where others like it can be watched.
    pub(super) fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    fn tell(&self, event: &Event) {
        let mut state = lock(&self.state);
        let more = event.is_read_closed() || event.is_error() || is_urgent(event);
        state.more |= more;
        state.readable |= more || event.is_readable();
        state.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        let reader = if state.readable { state.reader.take() } else { None };
        let writer = if state.writable { state.writer.take().map(|waker| *waker) } else { None };
        drop(state);
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Ready when [`read`](Watched::read) is worth a try.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if !state.readable {
            match &mut state.reader {
                Some(waker) => waker.clone_from(cx.waker()),
                None => state.reader = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        if state.had_turn {
            state.had_turn = false;
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Reads. `is_all` says of what was read that nothing is left: then the operating system tells when there is more.
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&T) -> io::Result<R>,
        is_all: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        // Before the read: what is told after it is not to be lost.
        let more = {
            let mut state = lock(&self.state);
            (state.readable, state.had_turn) = (false, false);
            std::mem::take(&mut state.more)
        };
        let result = read(&self.socket);
        let again = match &result {
            Ok(done) => more || !is_all(done),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        if again {
            let mut state = lock(&self.state);
            (state.readable, state.had_turn) = (true, true);
            state.more |= more;
        }
        result
    }

    /// Ready when [`poll_write`](Watched::poll_write) is worth a try.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.writable {
            return Poll::Ready(());
        }
        match &mut state.writer {
            Some(waker) => Waker::clone_from(waker, cx.waker()),
            None => state.writer = Some(Box::new(cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Writes as soon as that is possible.
    pub(super) fn poll_write<R>(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            ready!(self.poll_writable(cx));
            // Before the write, as in `read`.
            lock(&self.state).writable = false;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    lock(&self.state).writable = true;
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<T: ?Sized> Drop for Watched<T> {
    /// The socket closes now, and what is closed the operating system watches no more.
    fn drop(&mut self) {
        let place = lock(&self.state).place;
        let known = lock(&self.sockets.places).try_remove(place as usize);
        drop(known);
    }
}

//! The network: connections that hold few bytes, break, tear, stall and lie about being ready.

mod link;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Poll, Waker};

use hashbrown::{HashMap, HashSet};
use seriatim::server::runtime::{Listener, PeerAddr};

use crate::scenario::Scenario;
use crate::world::{World, lock};
pub use link::SimStream;
use link::{Kept, Link, Side};

/// The network of one run: the place where clients find the server.
pub struct Net {
    world: Arc<World>,
    scenario: Arc<Scenario>,
    /// One for each listener.
    doors: Vec<Mutex<Door>>,
    made: Mutex<Made>,
}

/// What is known of the connections ever made.
#[derive(Default)]
struct Made {
    links: Vec<Weak<Mutex<Link>>>,
    /// Those that the server never accepted, by their number.
    unserved: Vec<usize>,
    /// When somebody first found nobody listening.
    found_closed_at: Option<u64>,
    /// When the last listener so far was gone, as a stamp.
    closed_at: Option<u64>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Door {
    waiting: VecDeque<(usize, SimStream, PeerAddr)>,
    closed: bool,
    listener: Option<Waker>,
    /// Accepting fails before this moment.
    failing_until: u64,
    /// When it failed last, and how often it has done so at that moment.
    failed: (u64, u32),
}

impl Net {
    /// A network in which nobody is connected.
    pub fn new(world: Arc<World>, scenario: &Arc<Scenario>) -> Arc<Net> {
        Arc::new(Net {
            world,
            scenario: scenario.clone(),
            doors: (0..scenario.listeners.max(1)).map(|_| Mutex::default()).collect(),
            made: Mutex::default(),
        })
    }

    /// Connects to the server.
    ///
    /// # Errors
    /// Nobody listens any more, or the connection is refused by chance.
    pub fn connect(&self) -> io::Result<SimStream> {
        let mut made = lock(&self.made);
        let number = made.links.len();
        let mut door = lock(&self.doors[number % self.doors.len()]);
        if door.closed {
            made.found_closed_at.get_or_insert(self.world.now());
            self.world.befalls("nobody listened any more", None, || "nobody listens any more".to_owned());
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.world.goes_wrong(self.world.faults.refuse) {
            self.world.befalls("a connection was refused", None, || "a connection is refused".to_owned());
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let peer = PeerAddr::Tcp(self.scenario.address(number));
        let link = Arc::new(Mutex::new(Link::new(number, &self.scenario, &made.kept)));
        made.links.push(Arc::downgrade(&link));
        door.waiting.push_back((number, SimStream::new(&self.world, &link, Side::Server), peer));
        if let Some(listener) = door.listener.take() {
            listener.wake();
        }
        Ok(SimStream::new(&self.world, &link, Side::Client))
    }

    /// When somebody first found nobody listening.
    pub fn found_closed_at(&self) -> Option<u64> {
        lock(&self.made).found_closed_at
    }

    /// When the server let go of each connection, in milliseconds, by the number of the connection.
    pub fn gone_ms(&self) -> HashMap<usize, u64> {
        lock(&lock(&self.made).kept).gone_ms.clone()
    }

    /// When the last listener was gone, as a stamp.
    pub fn closed_at(&self) -> Option<u64> {
        lock(&self.made).closed_at
    }

    /// How many lines the server has taken so far from each connection that is still there, by the number of the connection.
    pub fn lines_taken(&self) -> HashMap<usize, usize> {
        let made = lock(&self.made);
        made.links.iter().filter_map(Weak::upgrade).map(|link| lock(&link).lines_taken()).collect()
    }

    /// The connections that did not take at once what the server wrote, by their number.
    pub fn waited(&self) -> HashSet<usize> {
        lock(&lock(&self.made).kept).waited.clone()
    }

    /// How many lines the server took in all from each connection that it let go of, by the number of the connection.
    pub fn lines_taken_in_all(&self) -> HashMap<usize, usize> {
        lock(&lock(&self.made).kept).lines_taken.clone()
    }

    /// The connections that the server never accepted, by their number in the order in which they were made.
    pub fn unserved(&self) -> Vec<usize> {
        lock(&self.made).unserved.clone()
    }

    /// Breaks every connection that is still there.
    pub fn break_all(&self) {
        let links = lock(&self.made).links.clone();
        links.iter().filter_map(Weak::upgrade).for_each(|link| lock(&link).reset(&self.world));
    }
}

/// One of the server's doors. Whoever has not been let in when it closes is reset.
pub struct SimListener {
    net: Arc<Net>,
    number: usize,
}

impl SimListener {
    /// All the doors there are.
    pub fn all(net: &Arc<Net>) -> Vec<SimListener> {
        (0..net.doors.len()).map(|number| SimListener { net: net.clone(), number }).collect()
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.net.doors[self.number])
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut door = self.door();
        door.closed = true;
        let waiting = std::mem::take(&mut door.waiting);
        drop(door);
        {
            let mut made = lock(&self.net.made);
            made.closed_at = Some(self.net.world.next_stamp());
            made.unserved.extend(waiting.iter().map(|(number, ..)| number));
        }
        for (_, stream, _) in waiting {
            stream.break_off();
        }
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<(SimStream, PeerAddr)> {
        poll_fn(|cx| {
            let mut door = self.door();
            if door.waiting.is_empty() {
                door.listener = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let world = &self.net.world;
            if door.failing_until > world.now() || world.goes_wrong(world.faults.accept_error) {
                door.fails(world);
                let errors =
                    [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other, io::ErrorKind::NotConnected];
                let error = errors[world.choices().pick(errors.len())];
                world.note(None, false, || format!("accepting fails: {error}"));
                return Poll::Ready(Err(error.into()));
            }
            match door.waiting.pop_front() {
                Some((_, stream, peer)) => Poll::Ready(Ok((stream, peer))),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Door {
    /// Accepting fails, and perhaps goes on failing for a while.
    fn fails(&mut self, world: &World) {
        world.log().marks.hit("accepting failed");
        let now = world.now();
        if self.failing_until <= now {
            self.failing_until = now + [0, 30, 300][world.choices().pick(3)];
        }
        self.failed = (now, if self.failed.0 == now { self.failed.1 + 1 } else { 1 });
        // Whoever tries again at once would do so for ever.
        assert!(self.failed.1 < 1_000, "the server tries to accept without a pause");
    }
}

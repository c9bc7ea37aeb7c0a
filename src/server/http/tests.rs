use std::future::{pending, ready};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::Millis;
use crate::server::mio::Mio;
use crate::server::mio::sockets::{Address, MioListener, MioStream};
use crate::server::{Config, start};

/// The world as it is, but all waiting is over at once.
#[derive(Clone)]
struct Hasty(Mio);

impl Runtime for Hasty {
    type Listener = MioListener;
    type Stream = MioStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    fn now(&self) -> Millis {
        self.0.now()
    }

    fn sleep_until(&self, _: Millis) -> impl Future<Output = ()> + Send + 'static {
        ready(())
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        self.0.unblock(work)
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        self.0.preempt()
    }
}

#[test]
fn g9_whoever_takes_too_long_is_dropped() {
    let mio = Mio::new().unwrap();
    let door = MioListener::bind(&mio, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
    let address = door.address().to_string();
    let (watch, _, served) = start(mio.clone(), Vec::new(), Config::default(), pending::<()>());
    mio.spawn(serve(Hasty(mio.clone()), door, watch));
    let (done, is_done) = async_channel::bounded::<()>(1);
    let client = thread::spawn(move || {
        let _done = done;
        let (mut silent, mut slow) = (TcpStream::connect(&address)?, TcpStream::connect(&address)?);
        // Only a failure takes so long.
        silent.set_read_timeout(Some(Duration::from_secs(60)))?;
        slow.write_all(b"GET /met")?;
        let mut all = Vec::new();
        silent.read_to_end(&mut all)?;
        // What it said may or may not have been read before.
        let _ = slow.read_to_end(&mut all);
        std::io::Result::Ok(all)
    });
    mio.block_on(or(served, async {
        let _ = is_done.recv().await;
    }));
    assert_eq!(client.join().unwrap().unwrap(), b"");
}

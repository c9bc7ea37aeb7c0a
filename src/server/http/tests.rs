use std::future::{pending, ready};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use super::*;
use crate::Millis;
use crate::server::smol::sockets::{Address, SmolListener, SmolStream};
use crate::server::smol::{Smol, run};
use crate::server::{Config, start};

/// The real runtime, but no timer ever waits.
#[derive(Clone)]
struct Hasty(Smol);

impl Runtime for Hasty {
    type Listener = SmolListener;
    type Stream = SmolStream;

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

    fn yield_point(&self) -> impl Future<Output = ()> + Send {
        self.0.yield_point()
    }
}

#[test]
fn g9_whoever_takes_too_long_is_dropped() {
    let door = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
    let address = door.address().to_string();
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
    run(NonZeroUsize::MIN, |smol| async move {
        let (watch, _, served) = start(smol.clone(), Vec::new(), Config::default(), pending::<()>());
        smol.spawn(serve(Hasty(smol.clone()), door, watch));
        or(served, async {
            let _ = is_done.recv().await;
        })
        .await;
    });
    assert_eq!(client.join().unwrap().unwrap(), b"");
}

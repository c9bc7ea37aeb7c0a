use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Poll, Waker};

use ::smol::block_on;
use ::smol::future::{or, poll_once, yield_now};
use async_channel::{bounded, unbounded};
use futures::io::{AsyncReadExt, AsyncWrite};
use socket2::SockRef;

use super::sockets::Address;
use super::*;
use crate::server::runtime::Listener;
use crate::server::{Config, start};

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

fn listen() -> SmolListener {
    SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap()
}

/// A connection of the runtime's, and its other end.
fn connected() -> (SmolStream, TcpStream) {
    let listener = listen();
    let client = TcpStream::connect(listener.address().to_string()).unwrap();
    (block_on(listener.accept()).unwrap().0, client)
}

async fn read_all(stream: &mut SmolStream, buffer_bytes: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; buffer_bytes]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return all,
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

#[test]
fn whatever_a_read_leaves_behind_is_read() {
    for (text, buffer_bytes) in [
        (&b"abc"[..], &[1, 2, 3, 64][..]),
        // Around the length of a read after which a connection tries again at once.
        (&[b'x'; 10_000], &[4095, 4096, 4097, 10_000, 1 << 16]),
    ] {
        for &buffer_bytes in buffer_bytes {
            let (mut stream, mut client) = connected();
            client.write_all(text).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert!(block_on(read_all(&mut stream, buffer_bytes)) == text, "reads of {buffer_bytes}");
        }
    }
}

/// The end comes before the read, between two reads, or while a read waits.
#[test]
fn an_end_that_comes_late_is_noticed() {
    let (mut stream, mut client) = connected();
    block_on(async {
        let mut buffer = [0; 64];
        let mut read = stream.read(&mut buffer);
        assert!(poll_once(&mut read).await.is_none());
        client.write_all(b"abc").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read.await.unwrap(), 3);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });

    let (mut stream, mut client) = connected();
    client.write_all(b"abc").unwrap();
    block_on(async {
        let mut buffer = [0; 64];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });

    let (mut stream, mut client) = connected();
    client.write_all(b"abc").unwrap();
    block_on(async {
        let mut buffer = [0; 64];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
        let mut read = stream.read(&mut buffer);
        assert!(poll_once(&mut read).await.is_none());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read.await.unwrap(), 0);
    });
}

/// No read goes past an urgent byte, so that it looks as if nothing were left.
#[test]
fn what_is_behind_an_urgent_byte_is_read() {
    let (mut stream, mut client) = connected();
    client.write_all(b"ab").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"cd").unwrap();
    let mut seen = Vec::new();
    block_on(async {
        while seen != b"abcd" {
            let mut buffer = [0; 64];
            let length = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..length]);
        }
    });
}

#[test]
fn a_write_waits_until_the_peer_reads() {
    const BYTES: usize = 16 << 20;
    let (mut stream, mut client) = connected();
    let (full, is_full) = mpsc::sync_channel(1);
    let reading = thread::spawn(move || {
        is_full.recv().unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    block_on(async move {
        let (chunk, mut wrote) = (vec![0; BYTES], 0);
        while wrote < BYTES {
            let length = poll_fn(|cx| {
                let written = Pin::new(&mut stream).poll_write(cx, &chunk[wrote..]);
                if written.is_pending() {
                    let _ = full.try_send(());
                }
                written
            });
            wrote += length.await.unwrap();
        }
    });
    assert_eq!(reading.join().unwrap(), BYTES);
}

/// Logs in and asks a hundred times, each time for an answer.
pub(super) fn is_answered(client: &mut (impl Read + Write)) {
    let mut hear = |said: &str, heard: &str| {
        client.write_all(said.as_bytes()).unwrap();
        let mut line = vec![0; heard.len()];
        client.read_exact(&mut line).unwrap();
        assert_eq!(line, heard.as_bytes());
    };
    hear("other\n", "welcome other\n");
    for _ in 0..100 {
        hear("nobody: ?\n", "error no-such-peer: nobody\n");
    }
}

/// A line that never ends comes faster than it is read, and a task wakes itself for ever: both leave others their turns.
#[test]
fn g9_nobody_takes_all_turns() {
    let listener = listen();
    let address = listener.address().to_string();
    let connect = || {
        let stream = TcpStream::connect(&address).unwrap();
        // Only a failure takes so long.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    };
    let (mut flooding, mut other) = (connect(), connect());
    flooding.write_all(b"flooding\n").unwrap();
    let (done, is_done) = bounded::<()>(1);
    let other = thread::spawn(move || {
        let _done = done;
        is_answered(&mut other);
    });
    let flood = thread::spawn(move || while flooding.write_all(&[b'x'; 1 << 16]).is_ok() {});
    let flood = run(ONE, |smol| async move {
        let (_, _, served) = start(smol.clone(), vec![listener], Config::default(), pending::<()>());
        smol.spawn(served);
        smol.spawn(async {
            loop {
                yield_now().await;
            }
        });
        let _ = is_done.recv().await;
        for _ in 0..100 {
            smol.sleep_until(smol.now().plus(1)).await;
        }
        assert!(!flood.is_finished(), "it is still being read");
        flood
    });
    other.join().unwrap();
    // The task that read has gone, and with it the socket.
    flood.join().unwrap();
}

/// The driver lets everybody have a turn before it goes on.
#[test]
fn who_is_woken_first_runs_first() {
    let order = run(ONE, |smol| async move {
        let (done, turns) = unbounded();
        for task in 0..3 {
            let done = done.clone();
            smol.spawn(async move {
                for turn in 0..3 {
                    done.try_send((turn, task)).unwrap();
                    yield_now().await;
                }
            });
        }
        drop(done);
        let mut order = Vec::new();
        while let Ok(turn) = turns.recv().await {
            order.push(turn);
        }
        order
    });
    assert!(order.is_sorted() && order.len() == 9, "{order:?}");
}

#[test]
fn another_thread_ends_the_wait() {
    let (here, there) = (bounded(1), bounded(1));
    let other = thread::spawn(move || {
        while let Ok(number) = there.1.recv_blocking() {
            here.0.send_blocking(number).unwrap();
        }
    });
    run(ONE, |_| async move {
        for number in 0..1000 {
            there.0.send(number).await.unwrap();
            assert_eq!(here.1.recv().await, Ok(number));
        }
    });
    other.join().unwrap();
}

#[test]
fn nobody_wakes_early_and_whoever_gives_up_is_forgotten() {
    run(ONE, |smol| async move {
        for ms in [0, 1, 2, 5, 10] {
            let at = smol.now().plus(ms);
            or(smol.sleep_until(at), smol.sleep_until(at.plus(60_000))).await;
            assert!(smol.now() >= at);
            assert!(smol.now() < at.plus(60_000));
        }
        or(smol.sleep_until(smol.now().plus(1)), smol.sleep_until(Millis(u64::MAX))).await;
    });
}

#[test]
fn what_is_left_at_the_end_is_dropped() {
    struct Dropped(async_channel::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.try_send(()).unwrap();
        }
    }
    for threads in [ONE, FOUR] {
        let (mut stream, mut client) = connected();
        let (dropped, drops) = unbounded();
        let (waiting, waits) = unbounded::<Waker>();
        let late = run(threads, |smol| async move {
            for wait in 0..3 {
                let (dropped, waiting) = (Dropped(dropped.clone()), waiting.clone());
                let inner = smol.clone();
                smol.spawn(async move {
                    let dropped = dropped;
                    match wait {
                        0 => say_and_wait(waiting, pending()).await,
                        1 => say_and_wait(waiting, inner.sleep_until(Millis(60_000))).await,
                        _ => inner.spawn(async move {
                            say_and_wait(waiting, pending()).await;
                            drop(dropped);
                        }),
                    }
                });
            }
            smol.spawn(async move {
                say_and_wait(waiting, async { drop(stream.read(&mut [0; 64]).await) }).await;
            });
            let mut wakers = Vec::new();
            for _ in 0..4 {
                wakers.push(waits.recv().await.unwrap());
            }
            wakers.push(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
            (wakers, smol)
        });
        assert_eq!(drops.len(), 3);
        assert_eq!(client.read(&mut [0; 64]).unwrap(), 0, "the socket is closed");
        // Whoever still wakes what is gone does no harm, nor does whoever comes too late.
        let (wakers, smol) = late;
        wakers.into_iter().for_each(Waker::wake);
        let (_held, is_held) = bounded::<()>(1);
        smol.spawn(async move { drop((_held, pending::<()>().await)) });
        assert!(is_held.is_closed());
        run(threads, |_| yield_now());
    }

    /// Waits, and says that it does: hands out what wakes it.
    async fn say_and_wait(waiting: async_channel::Sender<Waker>, wait: impl Future<Output = ()>) {
        let mut wait = Box::pin(wait);
        poll_fn(|cx| {
            let polled = wait.as_mut().poll(cx);
            let _ = waiting.try_send(cx.waker().clone());
            polled
        })
        .await;
    }
}

#[test]
fn a_panic_of_a_task_ends_that_task() {
    for threads in [ONE, FOUR] {
        run(threads, |smol| async move {
            let (alive, is_alive) = bounded::<()>(1);
            smol.spawn(async move {
                let _alive = alive;
                panic!("planted");
            });
            assert!(is_alive.recv().await.is_err());
            let (done, is_done) = bounded(1);
            smol.spawn(async move { done.try_send(()).unwrap() });
            is_done.recv().await.unwrap();
        });
    }
}

/// The other threads do not wait for ever.
#[test]
fn a_panic_of_what_is_run_ends_the_run() {
    for threads in [ONE, FOUR] {
        let run = || run(threads, |_| async { panic!("planted") });
        assert!(std::panic::catch_unwind(run).is_err());
    }
}

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::task::{Poll, Waker};
use std::thread;

use async_channel::{bounded, unbounded};
use futures_io::AsyncWrite;
use futures_lite::future::{or, yield_now};
use socket2::SockRef;

use super::sockets::{Address, Half};
use super::*;
use crate::server::runtime::{Listener, Reader, Stream};

/// A connection of the runtime's, and its other end.
fn connected(mio: &Mio) -> (Half, Half, TcpStream) {
    let listener = MioListener::bind(mio, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
    let client = TcpStream::connect(listener.address().to_string()).unwrap();
    let (stream, _) = mio.block_on(listener.accept()).unwrap();
    let (reader, writer) = stream.split();
    (reader, writer, client)
}

/// Waits, and reads what is there.
async fn read(reader: &mut Half, buffer: &mut [u8]) -> usize {
    loop {
        poll_fn(|cx| reader.poll_readable(cx)).await.unwrap();
        match reader.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            length => return length.unwrap(),
        }
    }
}

async fn read_all(reader: &mut Half, buffer_bytes: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; buffer_bytes]);
    loop {
        match read(reader, &mut buffer).await {
            0 => return all,
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

#[test]
fn whatever_a_read_leaves_behind_is_read() {
    let mio = Mio::new().unwrap();
    for buffer_bytes in [1, 2, 3, 64] {
        let (mut reader, _writer, mut client) = connected(&mio);
        client.write_all(b"abc").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(mio.block_on(read_all(&mut reader, buffer_bytes)), b"abc");
    }
}

/// The end comes between the waiting and the read.
#[test]
fn an_end_that_comes_late_is_noticed() {
    let mio = Mio::new().unwrap();
    let (mut reader, _writer, mut client) = connected(&mio);
    client.write_all(b"abc").unwrap();
    let all = mio.block_on(async {
        poll_fn(|cx| reader.poll_readable(cx)).await.unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(&mut reader, 64).await
    });
    assert_eq!(all, b"abc");
}

/// No read goes past an urgent byte, so that it looks as if nothing were left.
#[test]
fn what_is_behind_an_urgent_byte_is_read() {
    let mio = Mio::new().unwrap();
    let (mut reader, _writer, mut client) = connected(&mio);
    client.write_all(b"ab").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"cd").unwrap();
    let mut seen = Vec::new();
    mio.block_on(async {
        while seen != b"abcd" {
            let mut buffer = [0; 64];
            let length = read(&mut reader, &mut buffer).await;
            seen.extend_from_slice(&buffer[..length]);
        }
    });
}

#[test]
fn a_write_waits_until_the_peer_reads() {
    const BYTES: usize = 16 << 20;
    let mio = Mio::new().unwrap();
    let (_reader, mut writer, mut client) = connected(&mio);
    let (full, is_full) = bounded(1);
    let reading = thread::spawn(move || {
        is_full.recv_blocking().unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    mio.block_on(async move {
        let (chunk, mut wrote) = (vec![0; BYTES], 0);
        while wrote < BYTES {
            let length = poll_fn(|cx| {
                let written = std::pin::Pin::new(&mut writer).poll_write(cx, &chunk[wrote..]);
                if written.is_pending() {
                    let _ = full.try_send(());
                }
                written
            });
            wrote += length.await.unwrap();
        }
        drop((writer, _reader));
    });
    assert_eq!(reading.join().unwrap(), BYTES);
}

/// Bytes come faster than they are read, and a task wakes itself for ever: both let others have their turn.
#[test]
fn g9_nobody_takes_all_turns() {
    let mio = Mio::new().unwrap();
    let (mut flooded, _writer, mut client) = connected(&mio);
    let (mut other, _other_writer, mut other_client) = connected(&mio);
    let flood = thread::spawn(move || while client.write_all(&[b'x'; 1 << 16]).is_ok() {});
    mio.block_on(async {
        mio.spawn(async {
            loop {
                yield_now().await;
            }
        });
        mio.spawn(async move {
            let mut buffer = [0; 16];
            while read(&mut flooded, &mut buffer).await > 0 {}
        });
        for _ in 0..100 {
            mio.sleep_until(mio.now().plus(1)).await;
            other_client.write_all(b"?").unwrap();
            assert_eq!(read(&mut other, &mut [0; 64]).await, 1);
        }
    });
    // The task that read has gone, and with it the socket.
    drop(_writer);
    flood.join().unwrap();
}

#[test]
fn who_is_woken_first_runs_first() {
    let mio = Mio::new().unwrap();
    let (done, turns) = unbounded();
    for task in 0..3 {
        let done = done.clone();
        mio.spawn(async move {
            for turn in 0..3 {
                done.try_send((turn, task)).unwrap();
                yield_now().await;
            }
        });
    }
    drop(done);
    let order = mio.block_on(async {
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
    let mio = Mio::new().unwrap();
    let (here, there) = (bounded(1), bounded(1));
    let other = thread::spawn(move || {
        while let Ok(number) = there.1.recv_blocking() {
            here.0.send_blocking(number).unwrap();
        }
    });
    mio.block_on(async move {
        for number in 0..1000 {
            there.0.send(number).await.unwrap();
            assert_eq!(here.1.recv().await, Ok(number));
        }
    });
    other.join().unwrap();
}

#[test]
fn nobody_wakes_early_and_whoever_gives_up_is_forgotten() {
    let mio = Mio::new().unwrap();
    mio.block_on(async {
        for ms in [0, 1, 2, 5, 10] {
            let at = mio.now().plus(ms);
            or(mio.sleep_until(at), mio.sleep_until(at.plus(60_000))).await;
            assert!(mio.now() >= at);
            assert_eq!(mio.timers.sleepers(), 0);
        }
        or(mio.sleep_until(mio.now().plus(1)), mio.sleep_until(Millis(u64::MAX))).await;
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
    let mio = Mio::new().unwrap();
    let (mut reader, writer, mut client) = connected(&mio);
    let (dropped, drops) = unbounded();
    let waker = Cell::new(None::<Waker>);
    mio.block_on(async {
        for wait in 0..3 {
            let (mio, dropped) = (mio.clone(), Dropped(dropped.clone()));
            let inner = mio.clone();
            mio.spawn(async move {
                let dropped = dropped;
                match wait {
                    0 => pending().await,
                    1 => inner.sleep_until(Millis(60_000)).await,
                    _ => inner.spawn(async move {
                        pending::<()>().await;
                        drop(dropped);
                    }),
                }
            });
        }
        mio.spawn(async move {
            let _writer = writer;
            read(&mut reader, &mut [0; 64]).await;
        });
        // All have had their turn, and wait.
        for _ in 0..3 {
            yield_now().await;
        }
        poll_fn(|cx| {
            waker.set(Some(cx.waker().clone()));
            Poll::Ready(())
        })
        .await;
    });
    assert_eq!(drops.len(), 3);
    assert_eq!((mio.timers.sleepers(), mio.sockets.len()), (0, 0));
    assert_eq!(client.read(&mut [0; 64]).unwrap(), 0, "the socket is closed");
    // Whoever still wakes what is gone does no harm.
    waker.take().unwrap().wake();
    mio.block_on(yield_now());
}

#[test]
fn a_panic_of_a_task_ends_that_task() {
    let mio = Mio::new().unwrap();
    mio.block_on(async {
        mio.spawn(async { panic!("planted") });
        yield_now().await;
        yield_now().await;
    });
}

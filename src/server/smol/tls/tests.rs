//! Connections of the runtime's behind TLS, and clients that are threads of their own.

use std::fs;
use std::future::pending;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, UdpSocket};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::smol::block_on;
use ::smol::future::{poll_fn, poll_once, zip};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::server::runtime::{Listener, Runtime, Stream};
use crate::server::smol::run;
use crate::server::smol::sockets::{Address, SmolListener, SmolStream};
use crate::server::smol::tests::is_answered;
use crate::server::{Config, start};

type Issuer = CertifiedIssuer<'static, KeyPair>;
type Client = StreamOwned<ClientConnection, TcpStream>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this common name and `localhost`, with its key.
fn issue(authority: &Issuer, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

/// A listener behind TLS, and all that clients of it need.
struct World {
    listener: SmolListener,
    authority: Issuer,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let authority = authority("authority");
        let folder = tempfile::tempdir().unwrap();
        let ca: PathBuf = folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let (certificate, key) = issue(&authority, "server");
        let settings = TlsSettings::load(TlsSource::Made { certificate, key }, Some(ca)).unwrap();
        let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
        World { listener: listener.with_tls(settings), authority, folder }
    }

    /// A client without a certificate, or with one that somebody has signed for it. Connected, but has said nothing.
    fn client(&self, signed: Option<(&Issuer, &str)>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        let config = match signed {
            Some((authority, name)) => {
                let (certificate, key) = issue(authority, name);
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(session, TcpStream::connect(self.listener.address().to_string()).unwrap())
    }

    fn accept(&self) -> SmolStream {
        block_on(self.listener.accept()).unwrap().0
    }

    /// Accepts what this client, on a thread of its own, has connected.
    fn serve<T: Send + 'static>(
        &self,
        mut client: Client,
        talk: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> (SmolStream, JoinHandle<T>) {
        (self.accept(), thread::spawn(move || talk(&mut client)))
    }
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin), buffer_bytes: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; buffer_bytes]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The session, whose handshake is done.
fn session(stream: &mut SmolStream) -> &mut ServerConnection {
    let SmolStream::Tls(stream) = stream else { panic!("it is TLS") };
    let State::Open(stream) = &mut stream.state else { panic!("it is open") };
    stream.get_mut().1
}

fn say_and_close(client: &mut Client, text: &[u8]) {
    client.write_all(text).unwrap();
    client.conn.send_close_notify();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut client.sock).unwrap();
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect()
}

#[test]
fn a_mebibyte_each_way_at_once_in_reads_of_any_size() {
    const BYTES: usize = 1 << 20;
    let world = World::new();
    for buffer_bytes in [1, 7, 4096, 64 * 1024] {
        let bytes = if buffer_bytes == 1 { BYTES / 8 } else { BYTES };
        let text = pattern(bytes);
        // The client writes all before it reads anything.
        let (stream, client) = world.serve(world.client(None), {
            let text = text.clone();
            move |client| {
                say_and_close(client, &text);
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                all
            }
        });
        let (mut reader, mut writer) = stream.split();
        let read = block_on(async {
            let write = async {
                writer.write_all(&text).await.unwrap();
                writer.close().await.unwrap();
            };
            zip(read_all(&mut reader, buffer_bytes), write).await.0
        });
        assert!(read.unwrap() == text, "reads of {buffer_bytes}");
        assert!(client.join().unwrap() == text);
    }
}

#[test]
fn a_write_waits_until_the_peer_reads_and_the_session_holds_little() {
    const BYTES: usize = 16 << 20;
    let world = World::new();
    let text = pattern(BYTES);
    for looks_into_the_session in [true, false] {
        let (full, is_full) = mpsc::channel();
        let (mut stream, client) = world.serve(world.client(None), move |client| {
            client.write_all(b"al\n").unwrap();
            let mut all = Vec::new();
            if is_full.recv().is_ok() {
                client.read_to_end(&mut all).unwrap();
            }
            all
        });
        block_on(async {
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 3);
            let mut wrote = 0;
            while wrote < BYTES {
                let length = poll_fn(|cx| {
                    let written = Pin::new(&mut stream).poll_write(cx, &text[wrote..]);
                    if written.is_pending() && looks_into_the_session {
                        return Poll::Ready(Ok(0));
                    }
                    if written.is_pending() {
                        let _ = full.send(());
                    }
                    written
                });
                match length.await.unwrap() {
                    0 => break,
                    length => wrote += length,
                }
            }
            if looks_into_the_session {
                // Nothing has been read: no session ever holds more. To see how much it is, this takes it out.
                let mut held = Vec::new();
                while session(&mut stream).wants_write() {
                    session(&mut stream).write_tls(&mut held).unwrap();
                }
                let held = held.len();
                assert!(0 < held && held <= WRITE_BYTES_MAX + 1024, "{held} bytes");
                drop(full);
                return;
            }
            stream.flush().await.unwrap();
            assert!(!session(&mut stream).wants_write(), "what is flushed is on its way");
            stream.close().await.unwrap();
        });
        let read = client.join().unwrap();
        assert!(looks_into_the_session || read == text);
    }
}

#[test]
fn each_half_ends_on_its_own() {
    let world = World::new();
    let (mut stream, client) = world.serve(world.client(None), |client| {
        say_and_close(client, b"al\nlast");
        let mut all = Vec::new();
        // A clean end, or this would fail.
        client.read_to_end(&mut all).unwrap();
        all
    });
    block_on(async {
        // What was said last counts, whole line or not: the client says that it is all.
        assert_eq!(read_all(&mut stream, 64).await.unwrap(), b"al\nlast");
        stream.write_all(b"welcome al\n").await.unwrap();
        stream.close().await.unwrap();
    });
    assert_eq!(client.join().unwrap(), b"welcome al\n");

    // The other way round.
    let (mut stream, client) = world.serve(world.client(None), |client| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        say_and_close(client, b"al\nlast");
        all
    });
    block_on(async {
        stream.write_all(b"bye\n").await.unwrap();
        stream.close().await.unwrap();
        assert_eq!(read_all(&mut stream, 64).await.unwrap(), b"al\nlast");
    });
    assert_eq!(client.join().unwrap(), b"bye\n");
}

#[test]
fn a_reset_is_no_end() {
    let world = World::new();
    let (mut stream, client) = world.serve(world.client(None), |client| {
        client.write_all(b"al\n").unwrap();
        client.read_to_end(&mut Vec::new()).unwrap_err().kind()
    });
    assert_eq!(block_on(stream.read(&mut [0; 64])).unwrap(), 3);
    stream.reset();
    drop(stream);
    assert_eq!(client.join().unwrap(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_before_the_handshake_is_done_just_closes() {
    let world = World::new();
    let mut client = TcpStream::connect(world.listener.address().to_string()).unwrap();
    let mut stream = world.accept();
    assert!(block_on(poll_once(stream.read(&mut [0; 64]))).is_none());
    stream.reset();
    drop(stream);
    assert_eq!(client.read(&mut [0; 64]).unwrap(), 0);
}

#[test]
fn who_leaves_without_a_word_has_ended_unless_in_mid_line() {
    let world = World::new();
    for (said, end) in [
        (&b"al\nal: hi\n"[..], Ok(b"al\nal: hi\n".to_vec())),
        (b"", Ok(Vec::new())),
        (b"al\nal: hi, you owe me 10", Err("cut off in the middle of a line")),
    ] {
        let (mut stream, client) = world.serve(world.client(None), move |client| {
            while client.conn.is_handshaking() {
                client.conn.complete_io(&mut client.sock).unwrap();
            }
            client.write_all(said).unwrap();
            client.flush().unwrap();
            client.sock.shutdown(Shutdown::Both).unwrap();
        });
        let read = block_on(read_all(&mut stream, 64));
        assert_eq!(read.map_err(|error| error.to_string()), end.map_err(str::to_owned));
        client.join().unwrap();
    }
}

#[test]
fn what_is_no_handshake_is_said_in_plain_words() {
    let world = World::new();
    let handshake = [22, 3, 1, 0, 100, 1];
    for (said, why) in [
        (&b""[..], Ok(0)),
        (
            b"al\nal: hello, is anybody there?\n",
            Err("plain text, or something else that is not TLS, on a port for TLS"),
        ),
        (&handshake, Err("the client left in the middle of the TLS handshake")),
        (&[22, 3, 1, 0, 4, 99, 0, 0, 0], Err("the TLS handshake failed: ")),
    ] {
        let mut client = TcpStream::connect(world.listener.address().to_string()).unwrap();
        client.write_all(said).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut stream = world.accept();
        let read = block_on(stream.read(&mut [0; 64]));
        match (read, why) {
            (Ok(length), Ok(expected)) => assert_eq!(length, expected),
            (Err(error), Err(why)) => assert!(error.to_string().starts_with(why), "{error}"),
            (read, why) => panic!("{read:?}, not {why:?}"),
        }
    }
}

/// The broker may turn a client away before its handshake is done: it gets to know why all the same.
#[test]
fn what_is_written_before_the_handshake_is_done_comes_behind_it() {
    let world = World::new();
    let client = world.client(None);
    let mut stream = world.accept();
    let client = block_on(async {
        let mut writing = pin!(async {
            stream.write_all(b"bye server full\n").await.unwrap();
            stream.close().await.unwrap();
            stream
        });
        assert!(poll_once(&mut writing).await.is_none());
        let client = listen(client);
        assert_eq!(read_all(&mut writing.await, 64).await.unwrap(), b"");
        client
    });
    assert_eq!(client.join().unwrap().unwrap(), b"bye server full\n");
}

/// A client that listens, to the end, on a thread of its own.
fn listen(mut client: Client) -> JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all)
    })
}

#[test]
fn before_the_handshake_is_done_nothing_is_accepted() {
    let world = World::new();
    let client = world.client(None);
    let mut stream = world.accept();
    let text = pattern(1 << 20);
    let (read, client) = block_on(async {
        for length in [text.len(), 1] {
            assert!(poll_once(stream.write(&text[..length])).await.is_none());
        }
        let client = listen(client);
        let (mut reader, mut writer) = stream.split();
        let write = async {
            writer.write_all(&text).await.unwrap();
            writer.close().await.unwrap();
        };
        (zip(write, read_all(&mut reader, 64)).await.1, client)
    });
    assert_eq!(read.unwrap(), b"");
    assert!(client.join().unwrap().unwrap() == text);
}

#[test]
fn a_certificate_says_who_the_client_is() {
    let world = World::new();
    for (signed, identity) in [(Some((&world.authority, "alice")), Some("alice")), (None, None)] {
        let (mut stream, client) = world.serve(world.client(signed), |client| say_and_close(client, b"al\n"));
        assert_eq!(stream.identity(), None, "nobody knows yet");
        assert_eq!(block_on(stream.read(&mut [0; 64])).unwrap(), 3);
        assert_eq!(stream.identity(), identity);
        client.join().unwrap();
    }
    // One that somebody else has signed is worse than none.
    let stranger = authority("stranger");
    let client = world.client(Some((&stranger, "alice")));
    let (mut stream, client) = world.serve(client, |client| {
        let _ = client.write_all(b"al\n");
        let _ = client.read_to_end(&mut Vec::new());
    });
    let error = block_on(stream.read(&mut [0; 64])).unwrap_err().to_string();
    assert!(error.starts_with("the TLS handshake failed: invalid peer certificate"), "{error}");
    assert_eq!(stream.identity(), None);
    drop(stream);
    client.join().unwrap();
}

#[test]
fn what_nobody_can_read_on_the_way_is_private() {
    let world = World::new();
    let _client = world.client(None);
    assert!(world.accept().is_private(), "TLS");

    let path = world.folder.path().join("socket");
    let unix = SmolListener::bind(&Address::Unix(path.clone())).unwrap();
    let _client = UnixStream::connect(path).unwrap();
    let (stream, _) = block_on(unix.accept()).unwrap();
    assert!(stream.is_private() && stream.identity().is_none(), "a unix socket");

    let plain = SmolListener::bind(&Address::Tcp("0.0.0.0:0".to_owned())).unwrap();
    let port = plain.address().to_string().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let accept = |address: IpAddr| {
        let _client = TcpStream::connect((address, port)).unwrap();
        block_on(plain.accept()).unwrap().0
    };
    assert!(accept(Ipv4Addr::LOCALHOST.into()).is_private(), "the loopback");
    // An address of this machine that is not of the loopback, if it has any: no packet is sent to find it.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(own) if !own.ip().is_loopback() => assert!(!accept(own.ip()).is_private(), "{own}"),
        _ => eprintln!("SKIPPED: this machine has no address but the loopback's"),
    }
}

/// Whoever sends text that never ends, and whoever never finishes the handshake, leave others their turns.
#[test]
fn g9_a_flood_behind_tls_leaves_others_their_turns() {
    let world = World::new();
    let (mut flooding, mut other) = (world.client(None), world.client(None));
    let mut unfinished = TcpStream::connect(world.listener.address().to_string()).unwrap();
    unfinished.write_all(&[22, 3, 1, 0, 100, 1]).unwrap();
    let (done, is_done) = async_channel::bounded::<()>(1);
    let asking = thread::spawn(move || {
        let _done = done;
        // Only a failure takes so long.
        other.sock.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        is_answered(&mut other);
    });
    let flood = thread::spawn(move || {
        flooding.write_all(b"flooding\n").unwrap();
        while flooding.write_all(&[b'x'; 1 << 14]).is_ok() {}
    });
    let listeners = vec![world.listener];
    let flood = run(NonZeroUsize::MIN, |smol| async move {
        let (_, _, served) = start(smol.clone(), listeners, Config::default(), pending::<()>());
        smol.spawn(served);
        let _ = is_done.recv().await;
        assert!(!flood.is_finished(), "it is still being read");
        flood
    });
    flood.join().unwrap();
    asking.join().unwrap();
}

//! Connections of the runtime's behind TLS, and clients that are threads of their own.

use std::fs;
use std::future::poll_fn;
use std::net::{self, Ipv4Addr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use futures_io::AsyncWrite;
use futures_lite::future::{or, zip};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::server::mio::Mio;
use crate::server::mio::sockets::{Address, Half, MioListener, MioStream};
use crate::server::runtime::{Listener, Reader as _, Stream, Writer as _};

type Issuer = CertifiedIssuer<'static, KeyPair>;
type Client = StreamOwned<ClientConnection, net::TcpStream>;

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
    mio: Mio,
    listener: MioListener,
    authority: Issuer,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (mio, authority) = (Mio::new().unwrap(), authority("authority"));
        let folder = tempfile::tempdir().unwrap();
        let ca: PathBuf = folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let (certificate, key) = issue(&authority, "server");
        let settings = TlsSettings::load(TlsSource::Made { certificate, key }, Some(ca)).unwrap();
        let listener = MioListener::bind(&mio, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
        World { mio, listener: listener.with_tls(settings), authority, _folder: folder }
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
        StreamOwned::new(session, net::TcpStream::connect(self.listener.address().to_string()).unwrap())
    }

    fn accept(&self) -> (Half, Half) {
        self.mio.block_on(self.listener.accept()).unwrap().0.split()
    }

    /// Accepts what this client, on a thread of its own, has connected.
    fn serve<T: Send + 'static>(
        &self,
        mut client: Client,
        talk: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> (Half, Half, JoinHandle<T>) {
        let (reader, writer) = self.accept();
        (reader, writer, thread::spawn(move || talk(&mut client)))
    }
}

async fn read(reader: &mut Half, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| reader.poll_readable(cx)).await.unwrap();
        match reader.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn read_all(reader: &mut Half, buffer_bytes: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; buffer_bytes]);
    loop {
        match read(reader, &mut buffer).await? {
            0 => return Ok(all),
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

async fn write_all(writer: &mut Half, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let length = poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[length..];
    }
}

async fn close(writer: &mut Half) {
    poll_fn(|cx| Pin::new(&mut *writer).poll_close(cx)).await.unwrap();
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
        let (mut reader, mut writer, client) = world.serve(world.client(None), {
            let text = text.clone();
            move |client| {
                say_and_close(client, &text);
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                all
            }
        });
        let read = world.mio.block_on(async {
            let write = async {
                write_all(&mut writer, &text).await;
                close(&mut writer).await;
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
    let (full, is_full) = std::sync::mpsc::channel();
    let (mut reader, mut writer, client) = world.serve(world.client(None), move |client| {
        client.write_all(b"al\n").unwrap();
        is_full.recv().unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let text = pattern(BYTES);
    world.mio.block_on(async {
        assert_eq!(read(&mut reader, &mut [0; 64]).await.unwrap(), 3);
        let mut wrote = 0;
        while wrote < BYTES {
            let length = poll_fn(|cx| {
                let written = Pin::new(&mut writer).poll_write(cx, &text[wrote..]);
                let held = writer.tls().held();
                assert!(held <= WRITE_BYTES_MAX + 1024, "{held} bytes");
                if written.is_pending() {
                    let _ = full.send(());
                }
                written
            });
            wrote += length.await.unwrap();
        }
        assert_eq!(writer.tls().held(), 0, "what counts as written is on its way");
        close(&mut writer).await;
    });
    assert!(client.join().unwrap() == text);
}

#[test]
fn each_half_ends_on_its_own() {
    let world = World::new();
    let (mut reader, mut writer, client) = world.serve(world.client(None), |client| {
        say_and_close(client, b"al\nlast");
        let mut all = Vec::new();
        // A clean end, or this would fail.
        client.read_to_end(&mut all).unwrap();
        all
    });
    world.mio.block_on(async {
        // What was said last counts, whole line or not: the client says that it is all.
        assert_eq!(read_all(&mut reader, 64).await.unwrap(), b"al\nlast");
        write_all(&mut writer, b"welcome al\n").await;
        close(&mut writer).await;
    });
    assert_eq!(client.join().unwrap(), b"welcome al\n");
}

#[test]
fn a_reset_is_no_end() {
    let world = World::new();
    let (mut reader, mut writer, client) = world.serve(world.client(None), |client| {
        client.write_all(b"al\n").unwrap();
        client.read_to_end(&mut Vec::new()).unwrap_err().kind()
    });
    assert_eq!(world.mio.block_on(read(&mut reader, &mut [0; 64])).unwrap(), 3);
    writer.reset();
    drop((reader, writer));
    assert_eq!(client.join().unwrap(), io::ErrorKind::ConnectionReset);
}

#[test]
fn who_leaves_without_a_word_has_ended_unless_in_mid_line() {
    let world = World::new();
    for (said, end) in [
        (&b"al\nal: hi\n"[..], Ok(b"al\nal: hi\n".to_vec())),
        (b"", Ok(Vec::new())),
        (b"al\nal: hi, you owe me 10", Err("cut off in the middle of a line")),
    ] {
        let (mut reader, _writer, client) = world.serve(world.client(None), move |client| {
            while client.conn.is_handshaking() {
                client.conn.complete_io(&mut client.sock).unwrap();
            }
            client.write_all(said).unwrap();
            client.flush().unwrap();
            client.sock.shutdown(Shutdown::Both).unwrap();
        });
        let read = world.mio.block_on(read_all(&mut reader, 64));
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
        let mut client = net::TcpStream::connect(world.listener.address().to_string()).unwrap();
        client.write_all(said).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut reader, _writer) = world.accept();
        let read = world.mio.block_on(read(&mut reader, &mut [0; 64]));
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
    let (mut reader, mut writer) = world.accept();
    let client = world.mio.block_on(async {
        write_all(&mut writer, b"bye server full\n").await;
        close(&mut writer).await;
        let client = thread::spawn(move || {
            let (mut client, mut all) = (client, Vec::new());
            client.read_to_end(&mut all).map(|_| all)
        });
        assert_eq!(read_all(&mut reader, 64).await.unwrap(), b"");
        client
    });
    assert_eq!(client.join().unwrap().unwrap(), b"bye server full\n");
}

#[test]
fn before_the_handshake_is_done_little_is_accepted() {
    let world = World::new();
    let client = world.client(None);
    let (mut reader, mut writer) = world.accept();
    let text = pattern(1 << 20);
    let (written, client) = world.mio.block_on(async {
        let first = poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, &text)).await.unwrap();
        assert!(first <= WRITE_BYTES_MAX);
        poll_fn(|cx| {
            assert!(Pin::new(&mut writer).poll_write(cx, &text[first..]).is_pending());
            Poll::Ready(())
        })
        .await;
        let client = thread::spawn(move || {
            let (mut client, mut all) = (client, Vec::new());
            client.read_to_end(&mut all).map(|_| all)
        });
        let write = async {
            write_all(&mut writer, &text[first..]).await;
            close(&mut writer).await;
        };
        (zip(write, read_all(&mut reader, 64)).await.1, client)
    });
    assert_eq!(written.unwrap(), b"");
    assert!(client.join().unwrap().unwrap() == text);
}

#[test]
fn a_certificate_says_who_the_client_is() {
    let world = World::new();
    for (signed, identity) in [(Some((&world.authority, "alice")), Some("alice")), (None, None)] {
        let (mut reader, _writer, client) =
            world.serve(world.client(signed), |client| say_and_close(client, b"al\n"));
        assert_eq!(reader.identity(), None, "nobody knows yet");
        assert_eq!(world.mio.block_on(read(&mut reader, &mut [0; 64])).unwrap(), 3);
        assert_eq!(reader.identity(), identity);
        client.join().unwrap();
    }
    // One that somebody else has signed is worse than none.
    let stranger = authority("stranger");
    let client = world.client(Some((&stranger, "alice")));
    let (mut reader, _writer, client) = world.serve(client, |client| {
        let _ = client.write_all(b"al\n");
        let _ = client.read_to_end(&mut Vec::new());
    });
    let error = world.mio.block_on(read(&mut reader, &mut [0; 64])).unwrap_err().to_string();
    assert!(error.starts_with("the TLS handshake failed: invalid peer certificate"), "{error}");
    assert_eq!(reader.identity(), None);
    drop((reader, _writer));
    client.join().unwrap();
}

#[test]
fn what_nobody_can_read_on_the_way_is_private() {
    let world = World::new();
    let _client = world.client(None);
    let (reader, _writer) = world.accept();
    assert!(reader.is_private(), "TLS");

    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (reader, _writer) = MioStream::from_unix(&world.mio, unix).unwrap().split();
    assert!(reader.is_private() && reader.identity().is_none(), "a unix socket");

    let plain = MioListener::bind(&world.mio, &Address::Tcp("0.0.0.0:0".to_owned())).unwrap();
    let port = plain.address().to_string().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let accept = |address: net::IpAddr| {
        let client = net::TcpStream::connect((address, port)).unwrap();
        let (reader, _writer) = world.mio.block_on(plain.accept()).unwrap().0.split();
        drop(client);
        reader
    };
    assert!(accept(Ipv4Addr::LOCALHOST.into()).is_private(), "the loopback");
    // An address of this machine that is not of the loopback, if it has any: no packet is sent to find it.
    let socket = net::UdpSocket::bind("0.0.0.0:0").unwrap();
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(own) if !own.ip().is_loopback() => assert!(!accept(own.ip()).is_private(), "{own}"),
        _ => eprintln!("SKIPPED: this machine has no address but the loopback's"),
    }
}

/// Whoever sends text that never ends, and whoever never finishes the handshake, leave others their turns.
#[test]
fn g9_a_flood_behind_tls_leaves_others_their_turns() {
    let world = World::new();
    let (mut flooded, _flooded_writer, flood) =
        world.serve(world.client(None), |client| while client.write_all(&[b'\n'; 1 << 14]).is_ok() {});
    let (mut other, mut writer, asking) = world.serve(world.client(None), |client| {
        for _ in 0..100 {
            client.write_all(b"?").unwrap();
            assert_eq!(client.read(&mut [0; 64]).unwrap(), 1);
        }
    });
    world.mio.block_on(async {
        let swallow = async {
            let mut buffer = [0; 16];
            while read(&mut flooded, &mut buffer).await.unwrap() > 0 {}
        };
        let answer = async {
            for _ in 0..100 {
                assert_eq!(read(&mut other, &mut [0; 64]).await.unwrap(), 1);
                write_all(&mut writer, b"!").await;
            }
        };
        or(answer, swallow).await;
    });
    drop((flooded, _flooded_writer));
    flood.join().unwrap();
    asking.join().unwrap();
}

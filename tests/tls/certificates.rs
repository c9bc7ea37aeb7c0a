//! Certificates of every kind, files that hold them, and a client that trusts whom it likes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::process::{HANG, Server, seriatim};

/// Who signs certificates, and a folder for files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        Authority::named("an authority")
    }

    pub(crate) fn named(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: tempfile::tempdir().unwrap() }
    }

    /// The path of a file that is or will be here.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = PathBuf::from(self.path(name));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The file with the authority's own certificate.
    pub(crate) fn ca(&self) -> String {
        self.write("ca.pem", self.issuer.pem())
    }

    /// Signs a certificate, and writes it and its key to files.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = self.write(&format!("{name}.pem"), certificate.pem());
        (file, self.write(&format!("{name}.key"), key.serialize_pem()))
    }

    /// A server with a certificate for this machine, that listens for TLS alone.
    pub(crate) fn serve(&self, flags: &[&str]) -> Server {
        let (certificate, key) = self.issue("server", |_| ());
        serve(&certificate, &key, flags)
    }

    pub(crate) fn trust(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }
}

pub(crate) fn serve(certificate: &str, key: &str, flags: &[&str]) -> Server {
    let tls = ["--tls-listen=127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key];
    Server::spawn(seriatim().arg("serve").args(tls).args(flags))
}

/// A client that knows nothing but lines, behind TLS.
pub(crate) struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    /// Connects, and trusts these.
    pub(crate) fn connect(address: SocketAddr, roots: RootCertStore) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::from(address.ip());
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        Client(BufReader::new(StreamOwned::new(session, stream)))
    }

    /// Connects and logs in.
    pub(crate) fn log_in(address: SocketAddr, roots: RootCertStore, name: &str) -> Client {
        let mut client = Client::connect(address, roots);
        client.send(name);
        client.expect(&format!("welcome {name}"));
        client
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(line.strip_suffix('\n').expect("a whole line").to_owned()),
        }
    }

    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    /// All up to the end of the stream, which is a clean one.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Says that no more is to be sent.
    pub(crate) fn end_input(&mut self) {
        let stream = self.0.get_mut();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

//! Certificates, keys, and how they are replaced while the server runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use tracing::warn;

use super::certificate;
use crate::server::smol::lock;

/// Where the server's certificate comes from.
#[derive(Debug)]
pub enum TlsSource {
    /// Files in PEM.
    Files {
        /// The certificate, and behind it those that lead to one that clients trust.
        certificate: PathBuf,
        /// Its key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// Made for the occasion, in DER.
    Made {
        /// The certificate.
        certificate: CertificateDer<'static>,
        /// Its key.
        key: PrivateKeyDer<'static>,
    },
}

/// How TLS is spoken. All clones are the same settings, and [`reload`](TlsSettings::reload) replaces what is in force: who
/// comes afterwards gets the new, and whoever is here keeps what it has.
#[derive(Clone)]
pub struct TlsSettings(Arc<Shared>);

struct Shared {
    source: TlsSource,
    client_ca: Option<PathBuf>,
    current: Mutex<Arc<ServerConfig>>,
}

impl TlsSettings {
    /// Reads what there is to read. With `client_ca`, certificates in PEM, a client may show a certificate that one of them
    /// has signed; one that shows none is let in as any other.
    ///
    /// # Errors
    /// What is wrong with which file, and what to do about it, in one line.
    pub fn load(source: TlsSource, client_ca: Option<PathBuf>) -> Result<TlsSettings, String> {
        let current = Mutex::new(read(&source, client_ca.as_deref())?);
        Ok(TlsSettings(Arc::new(Shared { source, client_ca, current })))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As for [`load`](TlsSettings::load); what was in force still is.
    pub fn reload(&self) -> Result<(), String> {
        let fresh = read(&self.0.source, self.0.client_ca.as_deref())?;
        *lock(&self.0.current) = fresh;
        Ok(())
    }

    /// What is in force now.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        lock(&self.0.current).clone()
    }
}

fn read(source: &TlsSource, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let certified = match source {
        TlsSource::Files { certificate, key } => read_certified(&provider, certificate, key)?,
        TlsSource::Made { certificate, key } => {
            let (chain, key) = (vec![certificate.clone()], key.clone_key());
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())?
        }
    };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_client_cert_verifier(client_verifier(&provider, client_ca)?);
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // Sessions of chat are long: to take them up again would save little, and cost memory for each.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Reads a certificate and its key, and sees whether they belong together.
fn read_certified(provider: &CryptoProvider, certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let chain = read_certificates(certificate)?;
    let (certificate_file, key_file) = (certificate.display(), key.display());
    let key = provider.key_provider.load_private_key(read_key(key)?).map_err(|_| {
        format!(
            "{key_file} holds a key of a kind that is not supported: use RSA, ECDSA (P-256, P-384) or Ed25519"
        )
    })?;
    if let Some(since) = certificate::expired_since(&chain[0]) {
        warn!(
            "{certificate_file} holds a certificate that expired at {since}: clients will refuse it, so renew it"
        );
    }
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(format!(
            "the key in {key_file} does not belong to the first certificate in {certificate_file}: give the key it was made with"
        )),
        Err(error) => Err(malformed(certificate, &error)),
    }
}

/// Verifies clients' certificates, if they are to be asked for any.
fn client_verifier(
    provider: &Arc<CryptoProvider>,
    ca: Option<&Path>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(ca) = ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let roots = Arc::new(read_roots(ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    verifier.allow_unauthenticated().build().map_err(|error| malformed(ca, &error))
}

/// Reads certificates (PEM) of authorities that are to be trusted.
///
/// # Errors
/// What is wrong with the file, and what to do about it, in one line.
pub fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| malformed(file, &error))?;
    }
    Ok(roots)
}

/// Reads all certificates in a file (PEM), of which there is at least one.
///
/// # Errors
/// What is wrong with the file, and what to do about it, in one line.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_file(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!(
            "{} holds no certificate: it must be PEM, with a line -----BEGIN CERTIFICATE-----",
            file.display()
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(malformed(file, &error)),
    }
}

/// Reads a private key (PEM).
///
/// # Errors
/// What is wrong with the file, and what to do about it, in one line.
pub fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED";
    let bytes = read_file(file)?;
    let name = file.display();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        _ if bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) => {
            format!("the key in {name} is encrypted: write it down as it is with openssl pkey -in {name}")
        }
        pem::Error::NoItemsFound => {
            format!("{name} holds no private key: it must be PEM, with a line -----BEGIN PRIVATE KEY-----")
        }
        error => malformed(file, &error),
    })
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn malformed(file: &Path, error: &dyn std::error::Error) -> String {
    format!("{} is malformed: {error}: make it anew, or copy it again", file.display())
}

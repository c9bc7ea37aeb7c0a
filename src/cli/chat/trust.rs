//! [`Trust`]: by what the server's certificate is judged, and what is said of one that is not good enough.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use seriatim::server::smol::tls::certificate::{date, fingerprint};
use seriatim::server::smol::tls::settings::{read_certificates, read_key, read_roots};

use super::super::args::TrustOptions;
use super::show::harmless;

/// By what the server's certificate is judged, and what is shown to the server.
pub(super) struct Trust {
    config: Arc<ClientConfig>,
    judge: Arc<Judge>,
    /// A certificate is shown, which the server may refuse.
    introduces_itself: bool,
}

impl Trust {
    /// Reads what there is to read, or says in one line why that is not possible.
    pub(super) fn load(options: &TrustOptions) -> Result<Trust, String> {
        let provider = Arc::new(crypto::ring::default_provider());
        let by = match (&options.fingerprint, &options.ca) {
            (Some(fingerprint), _) => By::Fingerprint(fingerprint.0.clone()),
            (None, ca) => By::Authorities(authorities(&provider, ca.as_deref())?),
        };
        let judge = Arc::new(Judge { by, provider: provider.clone(), shown: Mutex::default() });
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(judge.clone());
        let own = options.tls_certificate.as_deref().zip(options.tls_key.as_deref());
        let mut config = match own {
            Some((certificate, key)) => {
                let chain = read_certificates(certificate)?;
                builder.with_client_auth_cert(chain, read_key(key)?).map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    format!("the certificate {certificate} and the key {key} are of no use together: {error}")
                })?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Trust { config: Arc::new(config), judge, introduces_itself: own.is_some() })
    }

    /// A session with the server at HOST:PORT that has said nothing yet.
    pub(super) fn session(&self, address: &str) -> Result<ClientConnection, String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("no certificate can be for {host}: use the server's name or address"))?;
        ClientConnection::new(self.config.clone(), name).map_err(|error| error.to_string())
    }

    /// What went wrong, in words for those who know nothing of TLS.
    pub(super) fn explain(&self, error: &Error, is_handshaking: bool) -> String {
        match error {
            Error::InvalidCertificate(error) => self.explain_certificate(error),
            Error::InvalidMessage(_) if is_handshaking => {
                "the server speaks no TLS on this port: another port may be for TLS, or leave out tls:"
                    .to_owned()
            }
            Error::AlertReceived(alert) if self.introduces_itself => {
                format!("the server ended the connection, perhaps for this client's certificate: {alert:?}")
            }
            Error::AlertReceived(alert) => format!("the server ended the connection: {alert:?}"),
            error => format!("TLS: {error}"),
        }
    }

    fn explain_certificate(&self, error: &CertificateError) -> String {
        let shown = self.judge.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match error {
            CertificateError::ExpiredContext { not_after, .. } => {
                format!("the server's certificate expired at {}", date(not_after.as_secs()))
            }
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "the server's certificate is not valid before {}: is the clock of this machine right?",
                date(not_before.as_secs())
            ),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
                format!("the server's certificate is for {}, not for {}", harmless(&names), expected.to_str())
            }
            CertificateError::ApplicationVerificationFailure => {
                format!("the server's certificate is not the one that was pinned: its fingerprint is {shown}")
            }
            // The latter is one that has signed itself, and might sign others.
            CertificateError::UnknownIssuer | CertificateError::Other(_) => format!(
                "nobody who is trusted here has signed the server's certificate: name who has with --ca FILE, or, if \
                 its operator says that it is the right one, add --fingerprint {shown}"
            ),
            error => format!("the server's certificate is of no use: {error}"),
        }
    }
}

/// The name in `DnsName("name")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Those in the file, or those that this machine trusts.
fn authorities(
    provider: &Arc<CryptoProvider>,
    ca: Option<&Path>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let roots = match ca {
        Some(file) => read_roots(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if roots.is_empty() {
        return Err("this machine knows no authorities that sign certificates: install them (Debian: ca-certificates), \
                    or use --ca or --fingerprint"
            .to_owned());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| error.to_string())
}

/// Judges certificates, and remembers the last, so that one that is turned down can be named.
struct Judge {
    by: By,
    provider: Arc<CryptoProvider>,
    /// The fingerprint of the last.
    shown: Mutex<String>,
}

enum By {
    Authorities(Arc<WebPkiServerVerifier>),
    /// This certificate and no other, whatever it says.
    Fingerprint(String),
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = fingerprint(certificate);
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&shown);
        match &self.by {
            By::Authorities(authorities) => {
                authorities.verify_server_cert(certificate, others, name, ocsp, now)
            }
            By::Fingerprint(pinned) if *pinned == shown => Ok(ServerCertVerified::assertion()),
            By::Fingerprint(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

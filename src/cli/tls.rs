//! How `serve` speaks TLS.

use rcgen::CertifiedKey;
use rustls::pki_types::PrivateKeyDer;
use seriatim::server::mio::tls::certificate::fingerprint;
use seriatim::server::mio::tls::{TlsSettings, TlsSource};

use super::args::TlsOptions;

/// What the server needs for TLS.
pub(crate) struct Tls {
    pub(crate) settings: TlsSettings,
    /// The fingerprint by which clients can be sure of a certificate that nobody else vouches for.
    pub(crate) pin: Option<String>,
}

/// Gets everything ready, if TLS is to be spoken, or says in one line why that is not possible.
pub(crate) fn load(options: &TlsOptions) -> Result<Option<Tls>, String> {
    let (listen, certificate, key) = (&options.tls_listen, &options.tls_certificate, &options.tls_key);
    let (self_signed, client_ca) = (options.tls_self_signed, &options.tls_client_ca);
    if listen.is_empty() {
        let idle = [
            (certificate.is_some(), "--tls-certificate"),
            (key.is_some(), "--tls-key"),
            (self_signed, "--tls-self-signed"),
            (client_ca.is_some(), "--tls-client-ca"),
        ];
        return match idle.into_iter().find_map(|(given, flag)| given.then_some(flag)) {
            Some(flag) => {
                Err(format!("{flag} does nothing without --tls-listen: say where to listen for TLS"))
            }
            None => Ok(None),
        };
    }
    let (source, pin) = match (certificate, key) {
        (None, None) if self_signed => {
            let (source, pin) = make()?;
            (source, Some(pin))
        }
        (Some(certificate), Some(key)) if !self_signed => {
            (TlsSource::Files { certificate: certificate.clone(), key: key.clone() }, None)
        }
        (Some(_), None) if !self_signed => {
            return Err("--tls-certificate needs --tls-key: name the file with its key".to_owned());
        }
        (None, Some(_)) if !self_signed => {
            return Err("--tls-key needs --tls-certificate: name the file with its certificate".to_owned());
        }
        (None, None) => {
            return Err(
                "--tls-listen needs --tls-certificate and --tls-key, or --tls-self-signed for a first try"
                    .to_owned(),
            );
        }
        _ => {
            return Err(
                "--tls-self-signed makes a certificate and a key of its own: leave it out, or leave out \
                        --tls-certificate and --tls-key"
                    .to_owned(),
            );
        }
    };
    Ok(Some(Tls { settings: TlsSettings::load(source, client_ca.clone())?, pin }))
}

/// Makes a certificate for this machine, and says by which fingerprint clients know it.
fn make() -> Result<(TlsSource, String), String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Not every name of a machine is one that a certificate may hold.
    if host.is_ascii() && !host.is_empty() && !names.contains(&host) {
        names.push(host);
    }
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)
        .map_err(|error| format!("cannot make a certificate: {error}"))?;
    let certificate = cert.der().clone();
    let pin = fingerprint(&certificate);
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    Ok((TlsSource::Made { certificate, key }, pin))
}

//! How `serve` speaks TLS.

use rcgen::CertifiedKey;
use rustls::pki_types::PrivateKeyDer;
use seriatim::server::smol::tls::certificate::fingerprint;
use seriatim::server::smol::tls::{TlsSettings, TlsSource};

use super::args::TlsOptions;
use super::reload::Reloadable;

/// What the server needs for TLS.
pub(crate) struct Tls {
    pub(crate) settings: TlsSettings,
    /// The fingerprint by which clients can be sure of a certificate that nobody else vouches for.
    pub(crate) pin: Option<String>,
    /// What was read from files, if anything, and can be read again.
    pub(crate) reloadable: Option<Reloadable>,
}

/// Gets everything ready, if TLS is to be spoken, or says in one line why that is not possible. A socket for it may have been
/// passed instead of being opened here.
pub(crate) fn load(options: &TlsOptions, passed: bool) -> Result<Option<Tls>, String> {
    let client_ca = &options.tls_client_ca;
    if options.tls_listen.is_empty() && !passed {
        return match given(options) {
            Some(flag) => Err(format!(
                "{flag} does nothing without --tls-listen, or a socket named tls from the service manager: say where \
                 to listen for TLS"
            )),
            None => Ok(None),
        };
    }
    let (source, pin) = source(options)?;
    let mut files = Vec::new();
    if let TlsSource::Files { certificate, key } = &source {
        files.push(format!("the certificate {} with its key {}", certificate.display(), key.display()));
    }
    if let Some(ca) = client_ca {
        files.push(format!("the authority of clients {}", ca.display()));
    }
    let settings = TlsSettings::load(source, client_ca.clone())?;
    let reloadable = (!files.is_empty()).then(|| {
        let settings = settings.clone();
        Reloadable { what: files.join(" and "), reload: Box::new(move || settings.reload()) }
    });
    Ok(Some(Tls { settings, pin, reloadable }))
}

/// Of all that only matters to TLS, the first that is given.
pub(crate) fn given(options: &TlsOptions) -> Option<&'static str> {
    let given = [
        (options.tls_certificate.is_some(), "--tls-certificate"),
        (options.tls_key.is_some(), "--tls-key"),
        (options.tls_self_signed, "--tls-self-signed"),
        (options.tls_client_ca.is_some(), "--tls-client-ca"),
    ];
    given.into_iter().find_map(|(given, flag)| given.then_some(flag))
}

/// Where the certificate comes from, and the fingerprint of one that is made here.
fn source(options: &TlsOptions) -> Result<(TlsSource, Option<String>), String> {
    let self_signed = options.tls_self_signed;
    Err(match (&options.tls_certificate, &options.tls_key) {
        (None, None) if self_signed => {
            let (source, pin) = make()?;
            return Ok((source, Some(pin)));
        }
        (Some(certificate), Some(key)) if !self_signed => {
            return Ok((TlsSource::Files { certificate: certificate.clone(), key: key.clone() }, None));
        }
        (Some(_), None) if !self_signed => "--tls-certificate needs --tls-key: name the file with its key",
        (None, Some(_)) if !self_signed => {
            "--tls-key needs --tls-certificate: name the file with its certificate"
        }
        (None, None) => "TLS needs --tls-certificate and --tls-key, or --tls-self-signed for a first try",
        _ => {
            "--tls-self-signed makes a certificate and a key of its own: leave it out, or leave out \
             --tls-certificate and --tls-key"
        }
    }
    .to_owned())
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

//! What a certificate says.

use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Whom the certificate (DER) is for: the common name of its subject, or else the first DNS name.
pub fn name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    if let Some(name) = certificate.subject().common_name().ok()? {
        return Some(name.into());
    }
    let (_, names) = certificate.get_extension::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    })
}

/// Since when the certificate (DER) is not valid any more, if that is so.
pub fn expired_since(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (end.to_unix_duration() < now).then(|| end.to_date_time().to_string())
}

/// A moment, in seconds since 1970, as people write it.
pub fn date(unix_s: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(unix_s));
    date.map_or_else(|_| format!("{unix_s} s after 1970"), |date| date.to_string())
}

/// The SHA-256 fingerprint of a certificate (DER), as `openssl x509 -fingerprint -sha256` writes it.
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest(&SHA256, certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["192.0.2.1".into(), "first.example".into()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_for_its_common_name_or_else_the_first_dns_name() {
        let common = certificate(|params| params.distinguished_name.push(DnType::CommonName, "Zoë"));
        assert_eq!(name(&common).as_deref(), Some("Zoë"));
        let dns = certificate(|params| params.distinguished_name = rcgen::DistinguishedName::new());
        assert_eq!(name(&dns).as_deref(), Some("first.example"));
        let nobody = certificate(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.subject_alt_names.truncate(1);
        });
        assert_eq!(name(&nobody), None);
        assert_eq!(name(b"no certificate"), None);
    }

    #[test]
    fn a_certificate_says_since_when_it_is_not_valid() {
        let old = certificate(|params| params.not_after = date_time_ymd(2001, 2, 3));
        assert_eq!(expired_since(&old).as_deref(), Some("2001-02-03T00:00:00Z"));
        assert_eq!(expired_since(&certificate(|_| ())), None);
        assert_eq!(expired_since(b"no certificate"), None);
        assert_eq!(date(981_158_400), "2001-02-03T00:00:00Z");
        assert_eq!(date(u64::MAX), "18446744073709551615 s after 1970");
    }

    #[test]
    fn a_fingerprint_is_the_hash_of_all_of_it() {
        assert_eq!(
            fingerprint(b"abc"),
            "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
        );
    }
}

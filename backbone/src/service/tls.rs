//! Whom a process takes for its servers: the authorities that their certificates must come from, for every URL with TLS.

use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Whom to trust, as every process is told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsArgs {
    /// PEM file with the authorities that servers' certificates must come from, for all URLs with TLS; without it, those
    /// that this machine trusts
    #[arg(long, env = "TLS_CA_FILE", value_name = "FILE", value_parser = Authorities::read, global = true)]
    pub tls_ca_file: Option<Authorities>,
}

/// A PEM file of certificate authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(PathBuf);

impl Authorities {
    /// The file at this path, which must have one authority at least.
    ///
    /// # Errors
    /// Says why it can't be used.
    pub fn read(path: &str) -> Result<Self, String> {
        let authorities = Self(path.into());
        authorities.roots()?;
        Ok(authorities)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// As they are in the file now.
    ///
    /// # Errors
    /// When it can't be read any more.
    pub fn pem(&self) -> io::Result<String> {
        fs::read_to_string(&self.0)
    }

    /// The same, as what a certificate is checked against.
    pub(crate) fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.0)? {
            let refused = |error| format!("{} has a certificate that can't be used: {error}", self.0.display());
            roots.add(certificate).map_err(refused)?;
        }
        Ok(roots)
    }
}

/// The certificates in a PEM file: one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |error| format!("{} can't be read: {error}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unusable)?;
    if found.is_empty() {
        return Err(format!("{} has no certificate in it: expected a PEM file", path.display()));
    }
    Ok(found)
}

/// What to do about an error, where that is a TLS handshake that failed.
///
/// Known by its text: of the four client libraries two keep no more of the TLS library's error, which all of them share.
pub fn advice(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    advice_on(&text)
}

fn advice_on(error: &str) -> Option<String> {
    if let Some((_, names)) = error.split_once("invalid peer certificate: certificate not valid for name ") {
        let names = names.split(": ").next().unwrap_or(names);
        return Some(format!("the server's certificate is for another name than the URL has: it is not for {names}"));
    }
    let advice = [
        (
            "invalid peer certificate: UnknownIssuer",
            "the server's certificate is not from an authority that is trusted here: TLS_CA_FILE names the file with the right one",
        ),
        (
            "invalid peer certificate: BadSignature",
            "the server's certificate is not from an authority that is trusted here: TLS_CA_FILE names the file with the right one",
        ),
        ("invalid peer certificate: certificate expired", "the server's certificate has expired: issue a new one"),
        (
            "invalid peer certificate: certificate not valid yet",
            "the server's certificate is not valid yet: are the clocks right?",
        ),
        ("invalid peer certificate", "the server's certificate can't be trusted"),
        (
            "received fatal alert: CertificateRequired",
            "the server wants a client certificate: for MQTT, MQTT_CLIENT_CERT and MQTT_CLIENT_KEY name it",
        ),
        ("received fatal alert: UnknownCA", "the server does not trust the authority of our client certificate"),
        ("received fatal alert: DecryptError", "the server does not trust the authority of our client certificate"),
        ("received fatal alert: BadCertificate", "the server refuses our client certificate"),
        ("received fatal alert: CertificateExpired", "our client certificate has expired: issue a new one"),
        (
            "received fatal alert: HandshakeFailure",
            "the server refuses the TLS handshake: perhaps it wants a client certificate",
        ),
        ("received corrupt message of type InvalidContentType", "the server speaks without TLS on this port"),
    ];
    advice.into_iter().find(|(sign, _)| error.contains(sign)).map(|(_, advice)| advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::{CertificateError, Error, pki_types::ServerName};

    #[test]
    fn what_the_tls_library_says_is_understood() {
        let expected = ServerName::try_from("localhost").unwrap();
        let presented = vec!["IpAddress(127.0.0.1)".to_owned()];
        let other_name = CertificateError::NotValidForNameContext { expected, presented };
        for (error, part) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "TLS_CA_FILE"),
            (Error::InvalidCertificate(other_name), "it is not for \"localhost\"; certificate is only valid for"),
            (Error::InvalidCertificate(CertificateError::Revoked), "can't be trusted"),
        ] {
            let said = advice(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(advice(&io::Error::other("connection refused")), None);
    }

    #[test]
    fn a_file_without_an_authority_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = || Authorities::read(path.to_str().unwrap()).unwrap_err();
        assert!(read().contains("ca.pem can't be read"), "{}", read());
        fs::write(&path, "not PEM").unwrap();
        assert!(read().contains("has no certificate in it"), "{}", read());
        let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        fs::write(&path, made.cert.pem()).unwrap();
        assert_eq!(Authorities::read(path.to_str().unwrap()).unwrap().roots().unwrap().len(), 1);
    }
}

//! TLS of MQTT connections: whom to trust, and the certificate that a broker knows us by.

use crate::service::{Authorities, certificates};
use protocol::GatewayMac;
use rumqttc::TlsConfiguration;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::rustls::{
    ClientConfig,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

/// What stands for a gateway's MAC in whatever each emulated gateway has of its own.
const MAC: &str = "{mac}";

/// The certificate that MQTT brokers know this process by.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IdentityArgs {
    /// PEM file with the certificate that MQTT brokers know this process by, and those between it and its root
    #[arg(long, env = "MQTT_CLIENT_CERT", value_name = "FILE", requires = "mqtt_client_key")]
    #[arg(value_parser = PemFile::certificate)]
    pub mqtt_client_cert: Option<PemFile>,

    /// PEM file with that certificate's private key
    #[arg(long, env = "MQTT_CLIENT_KEY", value_name = "FILE", requires = "mqtt_client_cert")]
    #[arg(value_parser = PemFile::key)]
    pub mqtt_client_key: Option<PemFile>,
}

/// A PEM file that can be read; or, with `{mac}` in its name, one for each emulated gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile(String);

impl PemFile {
    /// One with a certificate in it.
    ///
    /// # Errors
    /// Says why it can't be used.
    pub fn certificate(path: &str) -> Result<Self, String> {
        let file = Self(path.to_owned());
        if file.is_one() {
            certificates(Path::new(path))?;
        }
        Ok(file)
    }

    /// One with a private key in it.
    ///
    /// # Errors
    /// Says why it can't be used.
    pub fn key(path: &str) -> Result<Self, String> {
        let file = Self(path.to_owned());
        if file.is_one() {
            key(Path::new(path))?;
        }
        Ok(file)
    }

    fn is_one(&self) -> bool {
        !self.0.contains(MAC)
    }

    fn path(&self) -> PathBuf {
        (&self.0).into()
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{} has no private key: {error}", path.display()))
}

/// What a connection to a broker with TLS is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    authorities: Option<Authorities>,
    /// Certificate and key.
    identity: Option<(PemFile, PemFile)>,
}

impl Tls {
    pub(super) fn new(authorities: Option<Authorities>, identity: &IdentityArgs) -> Self {
        let IdentityArgs { mqtt_client_cert, mqtt_client_key } = identity.clone();
        Self { authorities, identity: mqtt_client_cert.zip(mqtt_client_key) }
    }

    /// That of one emulated gateway.
    pub(super) fn of_gateway(&self, gateway: GatewayMac) -> Self {
        let own = |file: &PemFile| PemFile(own(&file.0, gateway));
        let identity = self.identity.as_ref().map(|(certificate, key)| (own(certificate), own(key)));
        Self { authorities: self.authorities.clone(), identity }
    }

    /// For one connection, from the files as they are now: a certificate can be replaced while processes run.
    pub(super) fn configuration(&self) -> Result<TlsConfiguration, String> {
        let mut config = match &self.authorities {
            Some(authorities) => ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(authorities.roots()?)
                .with_no_client_auth(),
            None => of_this_machine()?,
        };
        if let Some((certificate, key)) = &self.identity {
            config.client_auth_cert_resolver = identify(&certificate.path(), &key.path())?;
        }
        Ok(TlsConfiguration::Rustls(Arc::new(config)))
    }
}

/// This text as it is for one gateway.
pub(super) fn own(text: &str, gateway: GatewayMac) -> String {
    text.replace(MAC, &gateway.to_string())
}

fn of_this_machine() -> Result<ClientConfig, String> {
    match TlsConfiguration::try_default_rustls().map_err(|error| error.to_string())? {
        TlsConfiguration::Rustls(config) => Ok(ClientConfig::clone(&config)),
        TlsConfiguration::Simple { .. } => Err("the MQTT library has no authorities of this machine".to_owned()),
    }
}

fn identify(certificate: &Path, key_file: &Path) -> Result<Arc<dyn ResolvesClientCert>, String> {
    let chain = certificates(certificate)?;
    let identity = CertifiedKey::from_der(chain, key(key_file)?, &ring::default_provider())
        .map_err(|error| format!("{} does not belong to {}: {error}", key_file.display(), certificate.display()))?;
    Ok(Arc::new(SingleCertAndKey::from(identity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str) -> (PemFile, PemFile) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let file = |kind: &str, pem: String| {
            let path = folder.join(format!("{name}.{kind}"));
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = PemFile::certificate(&file("pem", made.cert.pem())).unwrap();
        (certificate, PemFile::key(&file("key", made.signing_key.serialize_pem())).unwrap())
    }

    #[test]
    fn each_emulated_gateway_has_a_certificate_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), "00fa7e000001");
        let pattern = |kind| PemFile(folder.path().join(format!("{{mac}}.{kind}")).to_str().unwrap().to_owned());
        let identity = IdentityArgs { mqtt_client_cert: Some(pattern("pem")), mqtt_client_key: Some(pattern("key")) };
        let of = |last| Tls::new(None, &identity).of_gateway(GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, last]));
        let authorities = Some(Authorities::read(folder.path().join("00fa7e000001.pem").to_str().unwrap()).unwrap());
        let configuration = |tls: Tls| Tls { authorities: authorities.clone(), ..tls }.configuration();
        assert!(configuration(of(1)).is_ok());
        let missing = configuration(of(2)).unwrap_err();
        assert!(missing.contains("00fa7e000002.pem can't be read"), "{missing}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (written(folder.path(), "one"), written(folder.path(), "two"));
        let error = identify(&one.0.path(), &two.1.path()).unwrap_err();
        assert!(error.contains("two.key does not belong to"), "{error}");
        assert!(PemFile::key(&one.0.0).unwrap_err().contains("has no private key"));
    }
}

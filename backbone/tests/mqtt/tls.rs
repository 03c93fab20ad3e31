//! Gateways over TLS.

use super::{
    fixture::{GATEWAY, embedded_options},
    wire::{Hello, V5, Wire},
};
use backbone::mqtt::{EmbeddedBroker, EmbeddedOptions, TlsOptions};
use protocol::names::mqtt::{Channel, topic};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};
use tokio_util::task::TaskTracker;

fn trusting(certificate: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn silent_sockets_block_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = TlsOptions { listen: ([127, 0, 0, 1], 0).into(), certificate, key };
    let options = EmbeddedOptions { listen: None, tls: Some(tls), ..embedded_options(&folder) };
    let tracker = TaskTracker::new();
    let broker = EmbeddedBroker::start(options, &tracker).await.unwrap();
    assert_eq!(broker.address(), None);
    let address = broker.tls_address().unwrap();

    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let connector = trusting(made.cert.der().clone());
    let talk = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let mut gateway = Wire::connect(stream, Hello::new(V5, "gw")).await.unwrap();
        assert_eq!(gateway.subscribe(&topic(GATEWAY, Channel::Action)).await, 1);
    };
    timeout(Duration::from_secs(5), talk).await.unwrap();
    drop(silent);
    broker.close();
    tracker.close();
    timeout(Duration::from_secs(20), tracker.wait()).await.unwrap();
}

//! The TCP ports that gateways connect to.
//!
//! Accepted here and not by the broker library, whose TLS listener shakes hands with one at a time, whose port is not
//! told where it chose it itself, and whose tasks nobody can wait for.

use mqtt5::broker::{
    AuthProvider, BrokerConfig, DynamicStorage, ResourceMonitor, client_handler::ClientHandler, router::MessageRouter,
    sys_topics::BrokerStats, tls_acceptor::TlsStreamWrapper, transport::BrokerTransport,
};
use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, broadcast},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a TLS handshake may take. The broker library gives the CONNECT after it as much.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an error of `accept`, such as too many open files: it would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One port.
pub(super) struct Port {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    pub(super) address: SocketAddr,
}

impl Port {
    pub(super) async fn bind(address: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener, tls })
    }

    /// Accepts until `closing`.
    pub(super) async fn accept(self, host: Arc<Host>, closing: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => host.admit(stream, peer, self.tls.clone()),
                Err(error) => {
                    tracing::warn!("accepting a gateway's connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What every connection is served with.
pub(super) struct Host {
    pub(super) config: Arc<BrokerConfig>,
    pub(super) router: Arc<MessageRouter>,
    pub(super) auth: Arc<dyn AuthProvider>,
    pub(super) storage: Arc<DynamicStorage>,
    pub(super) stats: Arc<BrokerStats>,
    pub(super) resources: Arc<ResourceMonitor>,
    /// Asks connections to end in order.
    pub(super) shutdown: broadcast::Sender<()>,
    /// Ends those that don't.
    pub(super) abandon: CancellationToken,
    pub(super) connections: TaskTracker,
    pub(super) room: Arc<Semaphore>,
}

impl Host {
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::debug!(%peer, "connection refused: there are too many");
            return;
        };
        let serve = Arc::clone(self).serve(stream, peer, tls, room);
        self.connections.spawn(self.abandon.clone().run_until_cancelled_owned(serve));
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        _room: OwnedSemaphorePermit,
    ) {
        let shutdown = self.shutdown.subscribe();
        let transport = match transport(stream, tls).await {
            Ok(transport) => transport,
            Err(error) => return tracing::debug!(%peer, "no TLS connection: {error}"),
        };
        let handler = ClientHandler::new(
            transport,
            peer,
            Arc::clone(&self.config),
            Arc::clone(&self.router),
            Arc::clone(&self.auth),
            Some(Arc::clone(&self.storage)),
            Arc::clone(&self.stats),
            Arc::clone(&self.resources),
            shutdown,
        );
        if let Err(error) = handler.run().await {
            tracing::debug!(%peer, "connection ended: {error}");
        }
    }
}

async fn transport(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<BrokerTransport> {
    // Without it one RPC takes 47 ms instead of half a one.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(BrokerTransport::tcp(stream)) };
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    Ok(BrokerTransport::tls(TlsStreamWrapper::new(stream)))
}

/// TLS by a certificate chain and its key, both PEM files.
pub(super) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

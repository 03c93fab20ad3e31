//! An MQTT broker inside the process, for gateways on real TCP ports; the roles of the process use it without any.
//!
//! It speaks MQTT 3.1.1 and 5 with QoS 1, persistent sessions and last wills, and retains nothing. Its clients are
//! gateways: they publish answers and reports, and subscribe to their commands; everything else is refused, but to an
//! inspector, who hears what gateways say and sends them commands, to put them to the test. What gateways
//! publish goes straight into the roles' inboxes. An answer is acknowledged to the gateway when it is in an inbox, so
//! while inboxes are full the gateway's own connection stands still; reports of QoS 0 are dropped then.

mod access;
mod credentials;
mod events;
mod groups;
mod member;
mod port;
mod sessions;

pub use credentials::CredentialsError;
pub(super) use member::{Local, run};

use super::BrokerName;
use access::Gatekeeper;
use credentials::Credentials;
use events::{Dropped, Ear, Wills};
use groups::Groups;
use mqtt5::broker::{
    BrokerConfig, DynamicStorage, FileBackend, ResourceLimits, ResourceMonitor, StorageBackend, router::MessageRouter,
    storage::QueueLimits, sys_topics::BrokerStats,
};
use port::{Host, Port};
use sessions::Sessions;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, broadcast, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The broker's name in the route table. It does not name the port: routes must outlive a change of it.
const NAME: &str = "embedded";
/// The longest that a session outlives its connection: as long as the backbone's own gateways ask for.
const SESSION_EXPIRY: Duration = Duration::from_secs(3600);
/// No larger packet is taken; a report of 4,000 labels has 256 KiB.
const MAX_PACKET_BYTES: usize = 300 * 1024;
/// Commands on their way to a gateway that it has not acknowledged.
const MAX_OUTBOUND_INFLIGHT: u16 = 256;
/// Messages of QoS 1 and 2 on their way from a gateway.
const MAX_INBOUND_INFLIGHT: u16 = 512;
/// A gateway needs one; whoever stands in for several on one connection needs as many.
const MAX_SUBSCRIPTIONS: usize = 64;
/// Sessions that are kept, on average, per connection that there may be.
const SESSIONS_PER_CONNECTION: usize = 4;
/// Commands that wait for a gateway in memory; more wait in its session's queue.
const CLIENT_QUEUE: usize = 1024;
/// What a session's queue holds; then its oldest goes, and with it a command that has waited longest.
const SESSION_QUEUE: QueueLimits = QueueLimits { max_messages: 10_000, max_bytes: 16 << 20 };
/// How often what has expired is cleared away.
const CLEANUP: Duration = Duration::from_secs(60);
/// How long connections may take to end in order.
const GRACE: Duration = Duration::from_secs(2);

/// How the broker is run.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The address for MQTT without TLS; port 0 for any that is free.
    pub listen: Option<SocketAddr>,
    /// The address for MQTT over TLS.
    pub tls: Option<TlsOptions>,
    /// A file with a line `<mac>:<Argon2 hash, PHC string format>` for each gateway: it connects with its MAC as its
    /// user name, and with a client ID that has its MAC in it. A line `inspector:<hash>` is for whoever puts gateways to
    /// the test. Without a file, whoever reaches the port can be any gateway, and an inspector from this machine.
    pub credentials: Option<PathBuf>,
    /// The folder in which sessions are kept over restarts: written 250 ms behind. One broker at a time can use it.
    pub storage: PathBuf,
    /// Sockets at a time, on all addresses together; more are closed at once.
    pub max_connections: usize,
}

/// TLS for gateways.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The address; port 0 for any that is free.
    pub listen: SocketAddr,
    /// PEM file: the server's certificate and those between it and its root.
    pub certificate: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
}

impl EmbeddedOptions {
    /// Port 1883 of this machine alone, anyone, 1,000 connections; sessions in `storage`.
    pub fn new(storage: impl Into<PathBuf>) -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, 1883).into()),
            tls: None,
            credentials: None,
            storage: storage.into(),
            max_connections: 1000,
        }
    }
}

/// Why the broker can't be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// An address can't be listened on.
    #[error("listening for gateways on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or its key can't be used.
    #[error("reading the certificate for gateways and its key")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file of passwords can't be used.
    #[error("reading gateways' passwords")]
    Credentials(#[from] CredentialsError),
    /// The folder of sessions can't be used.
    #[error("opening the sessions in {folder}")]
    Storage {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: mqtt5::MqttError,
    },
}

/// The broker inside this process. Clones share it; [`MqttUrl`](super::MqttUrl) is made from it.
#[derive(Clone)]
pub struct EmbeddedBroker(Arc<Shared>);

struct Shared {
    address: Option<SocketAddr>,
    tls_address: Option<SocketAddr>,
    groups: Arc<Groups>,
    sessions: Arc<Sessions>,
    dropped: Arc<Dropped>,
    /// Until the broker ends.
    router: watch::Sender<Option<Arc<MessageRouter>>>,
    closing: CancellationToken,
}

impl EmbeddedBroker {
    /// Starts it, in tasks of `tracker`, until [`close`](Self::close). It listens when this returns.
    ///
    /// # Errors
    /// When an address, the certificate, the passwords or the folder can't be used.
    pub async fn start(options: EmbeddedOptions, tracker: &TaskTracker) -> Result<Self, EmbeddedError> {
        let credentials = options.credentials.as_deref().map(Credentials::read).transpose()?;
        let (plain, secure) = bind(&options).await?;
        let broker = Self(Arc::new(Shared {
            address: plain.as_ref().map(|port| port.address),
            tls_address: secure.as_ref().map(|port| port.address),
            groups: Arc::new(Groups::new(NAME.into())),
            sessions: Arc::default(),
            dropped: Arc::default(),
            router: watch::Sender::new(None),
            closing: CancellationToken::new(),
        }));
        let folder = |source| EmbeddedError::Storage { folder: options.storage.clone(), source };
        let (host, wills) = broker.open(&options, credentials).await.map_err(folder)?;
        tracker.spawn(broker.clone().serve(host, wills, plain.into_iter().chain(secure).collect()));
        Ok(broker)
    }

    /// Where it listens without TLS.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.0.tls_address
    }

    /// Reports that were dropped because nobody had room for them, since the start.
    pub fn dropped_reports(&self) -> u64 {
        self.0.dropped.reports.load(Ordering::Relaxed)
    }

    /// Messages, answers among them, that were dropped after waiting 30 s for somebody to have room.
    pub fn dropped_overdue(&self) -> u64 {
        self.0.dropped.overdue.load(Ordering::Relaxed)
    }

    /// Ends connections in order and writes sessions out; done when the tracker's tasks are. Roles should have left
    /// before: what they had not taken, gateways send again.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    pub(super) fn name() -> BrokerName {
        NAME.into()
    }

    fn groups(&self) -> &Groups {
        &self.0.groups
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn router(&self) -> Option<Arc<MessageRouter>> {
        self.0.router.borrow().clone()
    }

    async fn ended(&self) {
        let _ = self.0.router.subscribe().wait_for(Option::is_none).await;
    }

    /// Opens the sessions of the last run.
    async fn open(
        &self,
        options: &EmbeddedOptions,
        credentials: Option<Credentials>,
    ) -> mqtt5::Result<(Arc<Host>, Wills)> {
        let files = FileBackend::with_queue_limits(&options.storage, SESSION_QUEUE).await?;
        let storage = Arc::new(DynamicStorage::File(files));
        let router = MessageRouter::with_storage(Arc::clone(&storage)).with_fallback_queue_limits(SESSION_QUEUE);
        let router = Arc::new(router);
        router.recover_sessions(SESSION_EXPIRY.as_secs() as u32).await?;
        self.0.sessions.recover(&storage).await?;
        let wills = Wills::listen(&router).await?;
        self.0.router.send_replace(Some(Arc::clone(&router)));
        let ear = Ear {
            inspectors: AtomicUsize::new(0),
            groups: Arc::clone(&self.0.groups),
            dropped: Arc::clone(&self.0.dropped),
        };
        let host = Host {
            config: Arc::new(config(ear)),
            router,
            auth: Arc::new(Gatekeeper {
                credentials,
                sessions: Arc::clone(&self.0.sessions),
                storage: Arc::clone(&storage),
                max_sessions: options.max_connections.saturating_mul(SESSIONS_PER_CONNECTION),
            }),
            storage,
            stats: Arc::new(BrokerStats::new()),
            resources: Arc::new(ResourceMonitor::new(no_limits())),
            shutdown: broadcast::Sender::new(1),
            abandon: CancellationToken::new(),
            connections: TaskTracker::new(),
            room: Arc::new(Semaphore::new(options.max_connections)),
        };
        Ok((Arc::new(host), wills))
    }

    /// Serves until closed, and then ends in order.
    async fn serve(self, host: Arc<Host>, wills: Wills, ports: Vec<Port>) {
        let (accepting, passing_on) = (TaskTracker::new(), TaskTracker::new());
        for port in ports {
            accepting.spawn(port.accept(Arc::clone(&host), self.0.closing.clone()));
        }
        let ended = CancellationToken::new();
        passing_on.spawn(ended.clone().run_until_cancelled_owned(wills.pass_on(Arc::clone(&self.0.groups))));
        self.clean_up(&host).await;

        // No connection may begin after those that there are were asked to end.
        accepting.close();
        accepting.wait().await;
        let _ = host.shutdown.send(());
        host.connections.close();
        if timeout(GRACE, host.connections.wait()).await.is_err() {
            // Those that wait for a role to take an answer: it is not acknowledged, so the gateway sends it again.
            host.abandon.cancel();
            host.connections.wait().await;
        }
        self.0.router.send_replace(None);
        ended.cancel();
        passing_on.close();
        passing_on.wait().await;
        if let Err(error) = host.storage.shutdown().await {
            tracing::warn!("writing gateways' sessions: {error}");
        }
    }

    /// Clears away what has expired, until closed.
    async fn clean_up(&self, host: &Host) {
        let mut ticks = tokio::time::interval(CLEANUP);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.closing.cancelled() => return,
            }
            if let Err(error) = host.storage.cleanup_expired().await {
                tracing::warn!("clearing expired commands away: {error}");
            }
            host.router.sweep_sessions().await;
            host.resources.cleanup_expired_windows().await;
            self.0.sessions.forget(&host.router).await;
        }
    }
}

async fn bind(options: &EmbeddedOptions) -> Result<(Option<Port>, Option<Port>), EmbeddedError> {
    let failed = |address| move |source| EmbeddedError::Listen { address, source };
    let secure = match &options.tls {
        None => None,
        Some(TlsOptions { listen, certificate, key }) => {
            let acceptor = port::tls(certificate, key).map_err(EmbeddedError::Tls)?;
            Some(Port::bind(*listen, Some(acceptor)).await.map_err(failed(*listen))?)
        }
    };
    let plain = match options.listen {
        None => None,
        Some(listen) => Some(Port::bind(listen, None).await.map_err(failed(listen))?),
    };
    Ok((plain, secure))
}

fn config(ear: Ear) -> BrokerConfig {
    let mut config = BrokerConfig::new()
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_retain_available(false)
        .with_max_outbound_inflight(MAX_OUTBOUND_INFLIGHT)
        .with_client_channel_capacity(CLIENT_QUEUE)
        .with_event_handler(Arc::new(ear));
    config.max_subscriptions_per_client = MAX_SUBSCRIPTIONS;
    config.server_receive_maximum = Some(MAX_INBOUND_INFLIGHT);
    config.topic_alias_maximum = 16;
    config.shared_subscription_available = false;
    config
}

/// Connections are limited where they are accepted.
fn no_limits() -> ResourceLimits {
    ResourceLimits {
        max_connections: usize::MAX,
        max_connections_per_ip: usize::MAX,
        max_message_rate_per_client: 0,
        max_bandwidth_per_client: 0,
        max_connection_rate: u32::MAX,
        rate_limit_window: Duration::from_secs(1),
    }
}

impl PartialEq for EmbeddedBroker {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EmbeddedBroker {}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { address, tls_address, .. } = &*self.0;
        f.debug_struct("EmbeddedBroker").field("address", address).field("tls_address", tls_address).finish()
    }
}

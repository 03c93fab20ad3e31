//! The connection to the master that Sentinels name. When it fails, they are asked again.

use super::url::SentinelUrl;
use crate::service::Authorities;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as AsyncMutex;

/// Sentinels and the master that they name have so long to answer, all together.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);

/// A multiplexed connection to the master, which clones share. An operation that fails is not tried again: who asked
/// does that, as with one server; but the next one goes to whoever is the master by then.
#[derive(Clone)]
pub(super) struct MasterLine(Arc<Shared>);

struct Shared {
    config: AsyncConnectionConfig,
    database: i64,
    connection: Mutex<Option<Numbered>>,
    finder: AsyncMutex<Finder>,
}

/// Connections have numbers, so that a late failure of an old one does not end a new one.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

struct Finder {
    sentinels: SentinelClient,
    found: u64,
    failed: Option<Instant>,
}

impl MasterLine {
    /// Makes ready to ask; nobody need be there yet.
    pub(super) fn new(
        url: &SentinelUrl,
        authorities: Option<&Authorities>,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let sentinels = client(url, authorities)?;
        let finder = AsyncMutex::new(Finder { sentinels, found: 0, failed: None });
        Ok(Self(Arc::new(Shared { config, database: url.database, connection: Mutex::default(), finder })))
    }

    pub(super) async fn command(&self, cmd: &Cmd) -> RedisResult<Value> {
        let mut master = self.connection().await?;
        let answer = master.connection.req_packed_command(cmd).await;
        self.judge(&master, answer.as_ref().err(), answer.as_ref().map_or(&[], std::slice::from_ref));
        answer
    }

    pub(super) async fn commands(&self, pipeline: &Pipeline, offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        let mut master = self.connection().await?;
        let answers = master.connection.req_packed_commands(pipeline, offset, count).await;
        self.judge(&master, answers.as_ref().err(), answers.as_deref().unwrap_or_default());
        answers
    }

    pub(super) fn database(&self) -> i64 {
        self.0.database
    }

    async fn connection(&self) -> RedisResult<Numbered> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let asked = Instant::now();
        let mut finder = self.0.finder.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        if finder.failed.is_some_and(|failed| failed > asked) {
            return Err(away("the others who asked found no master")); // one after the other would take too long
        }
        match tokio::time::timeout(FIND_TIMEOUT, finder.find(&self.0.config)).await {
            Ok(Ok(connection)) => {
                *self.locked() = Some(connection.clone());
                Ok(connection)
            }
            Ok(Err(error)) => {
                finder.failed = Some(Instant::now());
                Err(error)
            }
            Err(_) => {
                finder.failed = Some(Instant::now());
                Err(away("no master was found in time"))
            }
        }
    }

    fn current(&self) -> Option<Numbered> {
        self.locked().clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Numbered>> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a connection that fails, or whose server is no master any more.
    fn judge(&self, used: &Numbered, error: Option<&RedisError>, answers: &[Value]) {
        let read_only = |answer: &Value| matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly));
        let failed = error.is_some_and(|error| {
            error.is_io_error()
                || error.is_unrecoverable_error()
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        if failed || answers.iter().any(read_only) {
            let mut connection = self.locked();
            if connection.as_ref().is_some_and(|current| current.number == used.number) {
                *connection = None;
            }
        }
    }
}

impl Finder {
    async fn find(&mut self, config: &AsyncConnectionConfig) -> RedisResult<Numbered> {
        let connection = self.sentinels.get_async_connection_with_config(config).await?;
        self.found += 1;
        Ok(Numbered { number: self.found, connection })
    }
}

fn client(url: &SentinelUrl, authorities: Option<&Authorities>) -> RedisResult<SentinelClient> {
    let address = |(host, port): &(String, u16)| match url.tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let tcp = TcpSettings::default().set_nodelay(true);
    let mut builder =
        SentinelClientBuilder::new(url.hosts.iter().map(address), &url.master, SentinelServerType::Master)?
            .set_client_to_redis_db(url.database)
            .set_client_to_redis_tcp_settings(tcp.clone())
            .set_client_to_sentinel_tcp_settings(tcp);
    if let Some(user) = &url.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(password) = &url.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if url.tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(authorities) = authorities {
            let pem = authorities.pem().map_err(RedisError::from)?.into_bytes();
            let certificates = || TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
            builder = builder.set_client_to_redis_certificates(certificates());
            builder = builder.set_client_to_sentinel_certificates(certificates());
        }
    }
    builder.build()
}

fn away(why: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::NotConnected, why).into()
}

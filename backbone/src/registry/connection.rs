//! The connection to Redis, and scripts pipelined over it; or the memory that stands in for it.

use super::{MemoryRegistry, RedisUrl, RegistryError, error::Doing, line::Line, sentinels::MasterLine, url::Place};
use crate::service::{Authorities, SecretUrl, TlsArgs};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisError, Script, ServerErrorKind, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use std::{sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where Redis is, as every process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisArgs {
    /// Redis: redis://user:password@host:port/db, or rediss://; with Sentinels
    /// redis+sentinel://user:password@host:port,host:port/master-name/db, or rediss+sentinel://
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: RedisUrl,
}

impl RedisArgs {
    /// The same server, known by these authorities.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        Self { redis_url: self.redis_url.trusting(tls) }
    }
}

/// Routes to labels and RPCs in flight. Clones share one multiplexed connection, which reconnects by itself, or the
/// memory.
#[derive(Debug, Clone)]
pub struct Registry(pub(super) Backend);

#[derive(Debug, Clone)]
pub(super) enum Backend {
    Redis(RedisRegistry),
    Memory(MemoryRegistry),
}

#[derive(Clone)]
pub(super) struct RedisRegistry {
    connection: Line,
    pub(super) scripts: Arc<Scripts>,
}

impl std::fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisRegistry").finish_non_exhaustive()
    }
}

pub(super) struct Scripts {
    pub(super) start: Script,
    pub(super) finish: Script,
    pub(super) abort: Script,
    pub(super) acquire: Script,
    pub(super) release: Script,
}

impl Registry {
    /// Prepares the connection, with TCP_NODELAY. Redis need not be there yet: operations fail until it is.
    ///
    /// # Errors
    /// When the URL can't be used.
    pub fn connect(url: &RedisUrl) -> Result<Self, RegistryError> {
        match url.place() {
            Place::Server { url, authorities } => {
                let line = Line::Server(connect(url, authorities.as_ref())?);
                Ok(Self(Backend::Redis(RedisRegistry::over(line))))
            }
            Place::Sentinels { url, authorities } => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT));
                let master = MasterLine::new(url, authorities.as_ref(), config).doing("reading REDIS_URL")?;
                Ok(Self(Backend::Redis(RedisRegistry::over(Line::Master(master)))))
            }
            Place::Memory(memory) => Ok(Self(Backend::Memory(memory.clone()))),
        }
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        match &self.0 {
            Backend::Redis(redis) => redis.ping().await,
            Backend::Memory(_) => Ok(()),
        }
    }
}

impl RedisRegistry {
    fn over(connection: Line) -> Self {
        let scripts = Scripts {
            start: Script::new(include_str!("start.lua")),
            finish: Script::new(include_str!("finish.lua")),
            abort: Script::new(include_str!("abort.lua")),
            acquire: Script::new(concat!(include_str!("window/window.lua"), include_str!("window/acquire.lua"))),
            release: Script::new(concat!(include_str!("window/window.lua"), include_str!("window/release.lua"))),
        };
        Self { connection, scripts: Arc::new(scripts) }
    }

    async fn ping(&self) -> Result<(), RegistryError> {
        redis::cmd("PING").query_async(&mut self.connection.clone()).await.doing("asking Redis whether it is there")
    }

    /// Makes these calls of one script in one round trip; loads it first where Redis has lost it.
    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        calls: impl ExactSizeIterator<Item = Cmd>,
        doing: &'static str,
    ) -> Result<Vec<T>, RegistryError> {
        if calls.len() == 0 {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.add_command(call);
        }
        match self.query(&pipeline).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(&mut self.connection.clone()).await.doing(doing)?;
                self.query(&pipeline).await.doing(doing)
            }
            result => result.doing(doing),
        }
    }

    pub(super) async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisError> {
        pipeline.query_async(&mut self.connection.clone()).await
    }
}

fn connect(url: &SecretUrl, authorities: Option<&Authorities>) -> Result<ConnectionManager, RegistryError> {
    let doing = "reading REDIS_URL";
    let info = url
        .expose()
        .as_str()
        .into_connection_info()
        .doing(doing)?
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_min_delay(Duration::from_millis(50))
        .set_max_delay(Duration::from_millis(500))
        .set_number_of_retries(2);
    let client = match authorities.filter(|_| matches!(info.addr(), ConnectionAddr::TcpTls { .. })) {
        Some(authorities) => {
            let pem = authorities.pem().map_err(RedisError::from).doing("reading TLS_CA_FILE")?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.into_bytes()) };
            Client::build_with_tls(info, certificates).doing(doing)?
        }
        None => Client::open(info).doing(doing)?,
    };
    ConnectionManager::new_lazy_with_config(client, config).doing(doing)
}

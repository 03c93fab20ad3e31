//! Servers and roles, with a proxy on each of the lines between them.

use crate::Config;
use anyhow::{Context, Result};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use testbed::{
    BCK_ROUTER, FWD_ROUTER, GATEWAY_EMULATOR, Mode, Proxy, Role, Server, Servers, ServersConfig, TASK_WORKER,
};
use url::Url;

/// How long a role may take to become ready, servers that recover included.
const READY_LIMIT: Duration = Duration::from_secs(90);
const REPLICAS: usize = 2;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RabbitMq,
    Redis,
    Mosquitto,
    MongoDb,
}

/// A process of a role, and its lines to the servers that it needs.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) lines: Vec<Line>,
}

/// A line to a server.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) to: Kind,
    proxy: Arc<Proxy>,
}

/// All that runs. Ends with this value.
pub(crate) struct Stage {
    // Dropped in this order: roles before the servers that they use.
    pub(crate) replicas: Vec<Replica>,
    /// All routers have one line to Mosquitto: they must call it by the same address.
    routers: Line,
    pub(crate) servers: Servers,
    _logs: Option<TempDir>,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::RabbitMq, Self::Redis, Self::Mosquitto, Self::MongoDb];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RabbitMq => "RabbitMQ",
            Self::Redis => "Redis",
            Self::Mosquitto => "Mosquitto",
            Self::MongoDb => "MongoDB",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq => "AMQP_URL",
            Self::Redis => "REDIS_URL",
            Self::Mosquitto => "MQTT_URL",
            Self::MongoDb => "MONGODB_URL",
        }
    }

    /// The servers that a role needs.
    pub(crate) const fn of(role: &str) -> &'static [Self] {
        match role.as_bytes() {
            b"task-worker" => &[Self::RabbitMq, Self::Redis, Self::MongoDb],
            b"gateway-emulator" => &[Self::Mosquitto],
            _ => &[Self::RabbitMq, Self::Redis, Self::Mosquitto],
        }
    }
}

/// Every replica, by its role and its number among them: the order of [`Stage::replicas`].
pub(crate) fn cast() -> Vec<(&'static str, usize)> {
    let routers = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER];
    let replicas = routers.into_iter().flat_map(|role| (1..=REPLICAS).map(move |number| (role, number)));
    replicas.chain([(GATEWAY_EMULATOR, 1)]).collect()
}

impl Stage {
    /// Starts everything, and waits until all roles are ready.
    pub(crate) async fn set(config: &Config) -> Result<Self> {
        let needed = ServersConfig { own_rabbitmq: true, own_mongodb: true, ..ServersConfig::default() };
        let servers = Servers::start(&needed).await?;
        let (logs, folder) = log_folder(config)?;
        let routers = Line::to(Kind::Mosquitto, servers.mosquittos[0].port()).await?;
        let mut stage = Self { replicas: Vec::new(), routers, servers, _logs: logs };
        for (role, number) in cast() {
            let (lines, env) = stage.lines(role).await?;
            let args = if role == GATEWAY_EMULATOR { emulator_args(config) } else { Vec::new() };
            let role = Role::start(role, &args, &env, &folder)?;
            stage.replicas.push(Replica { name: format!("{} {number}", role.name()), role, lines });
        }
        stage.wait_ready().await?;
        Ok(stage)
    }

    async fn lines(&self, role: &str) -> Result<(Vec<Line>, Vec<(&'static str, String)>)> {
        let (mut lines, mut env) =
            (Vec::new(), vec![("RPC_TIMEOUT", "2s".to_owned()), ("RUST_LOG", "info".to_owned())]);
        for &to in Kind::of(role) {
            let mut url = Url::parse(self.url(to)).context("reading a server's URL")?;
            let line = if to == Kind::Mosquitto && role != GATEWAY_EMULATOR {
                self.routers.clone()
            } else {
                Line::to(to, url.port().context("finding the server's port")?).await?
            };
            let changed = url.set_port(Some(line.proxy.port()));
            changed.ok().context("putting the proxy's port into the URL")?;
            env.push((to.variable(), url.to_string()));
            lines.push(line);
        }
        Ok((lines, env))
    }

    fn url(&self, kind: Kind) -> &str {
        match kind {
            Kind::RabbitMq => &self.servers.amqp_url,
            Kind::Redis => &self.servers.redis_url,
            Kind::Mosquitto => &self.servers.mqtt_urls[0],
            Kind::MongoDb => &self.servers.mongodb_url,
        }
    }

    /// The server of a kind.
    pub(crate) fn server(&mut self, kind: Kind) -> Result<&mut Server> {
        Ok(match kind {
            Kind::RabbitMq => self.servers.rabbitmq.as_mut().context("a RabbitMQ of our own")?,
            Kind::Redis => &mut self.servers.redis,
            Kind::Mosquitto => &mut self.servers.mosquittos[0],
            Kind::MongoDb => self.servers.mongodb.as_mut().context("a MongoDB of our own")?,
        })
    }

    /// Waits until all roles are ready.
    pub(crate) async fn wait_ready(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.role.wait_ready(READY_LIMIT).await?;
        }
        Ok(())
    }

    /// The emulator, which outlives every fault: its memory is what the labels have seen.
    pub(crate) fn emulator(&self) -> Result<&Role> {
        Ok(&self.replicas.last().context("an emulator")?.role)
    }

    /// Ends all roles in order; each must drain and exit with code 0.
    pub(crate) async fn strike(mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.role.terminate()?;
        }
        for Replica { name, role, .. } in &mut self.replicas {
            let status = role.wait().await?;
            anyhow::ensure!(status.success(), "{name} ended with {status}; its log ends:\n{}", role.log_tail());
        }
        Ok(())
    }
}

impl Line {
    async fn to(to: Kind, port: u16) -> Result<Self> {
        Ok(Self { to, proxy: Arc::new(Proxy::to_port(port).await?) })
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.proxy.set_mode(mode);
    }
}

fn emulator_args(config: &Config) -> Vec<String> {
    let Config { gateways, labels, seed, .. } = config;
    let size = ["--gateways", &gateways.to_string(), "--labels", &labels.to_string(), "--seed", &seed.to_string()]
        .map(str::to_owned);
    let pace = ["--write-time", "20ms", "--connections", "8", "--report-interval", "1s", "--protocol", "mixed"];
    let duplicates = ["--duplicate-answer-rate", "0.02", "--lost-answer-rate", "0.01"];
    size.into_iter().chain(pace.into_iter().chain(duplicates).map(str::to_owned)).collect()
}

fn log_folder(config: &Config) -> Result<(Option<TempDir>, PathBuf)> {
    if let Some(folder) = &config.log_dir {
        return Ok((None, folder.clone()));
    }
    let folder = tempfile::Builder::new().prefix("esl-faults-logs-").tempdir().context("making a folder for logs")?;
    let path = folder.path().to_owned();
    Ok((Some(folder), path))
}

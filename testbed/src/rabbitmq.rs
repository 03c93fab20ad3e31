//! A private RabbitMQ.

use std::fs::Permissions;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::Process;
use crate::server::{Launch, Ready, wait_for_port};
use crate::{Management, Server, TlsFiles, free_port, install};

const EPMD_PATIENCE: Duration = Duration::from_secs(20);
const EPMD_ATTEMPTS: usize = 5;

/// How a [`RabbitMq`] differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct RabbitMqOptions {
    /// Further lines of `rabbitmq.conf`; the last of a kind wins.
    pub extra_config: Vec<String>,
    /// The port of 127.0.0.1 on which its plugin for Prometheus serves; without one there is no such plugin.
    pub prometheus: Option<u16>,
    /// With what it speaks TLS, on another port; without it, it does not.
    pub tls: Option<TlsFiles>,
}

/// A RabbitMQ on 127.0.0.1, user and password `guest`, with the management plugin but without its
/// statistics; durable queues survive a stop and a kill.
pub struct RabbitMq {
    server: Server,
    management: Management,
    tls_port: Option<u16>,
    // A node can't do without Erlang's port mapper, and starts one that outlives it if there is none.
    // So we start one before it, in the foreground, and end it by its pid like all else.
    _epmd: Arc<Epmd>,
}

/// What a node of a cluster is told, besides what every RabbitMQ is.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// The node's name.
    pub(crate) name: String,
    /// The names of all nodes.
    pub(crate) peers: Vec<String>,
    /// By which they know each other.
    pub(crate) cookie: String,
}

pub(crate) struct Epmd {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl RabbitMq {
    /// Starts RabbitMQ and waits until it serves AMQP and its management API (some seconds).
    pub async fn start(options: RabbitMqOptions) -> Result<Self> {
        let node = Self::start_node(options, Arc::new(Epmd::start().await?), None).await?;
        node.management.create_users().await?;
        Ok(node)
    }

    /// Starts a RabbitMQ, or a node of a cluster, which still lacks the roles' users.
    pub(crate) async fn start_node(
        options: RabbitMqOptions,
        epmd: Arc<Epmd>,
        membership: Option<Membership>,
    ) -> Result<Self> {
        let script = install::rabbitmq_server()?;
        let tls_port = options.tls.as_ref().map(|_| free_port()).transpose()?;
        let server = Server::start("rabbitmq", |port, folder| {
            let management = free_port()?;
            write_config(folder, port, management, &options)?;
            if let (Some(files), Some(port)) = (&options.tls, tls_port) {
                add_tls(folder, port, files)?;
            }
            let mut env = environment(folder, epmd.port, port)?;
            if let Some(membership) = &membership {
                join(folder, membership)?;
                env.push(("RABBITMQ_NODENAME", membership.name.clone())); // the last of a kind wins
            }
            Ok(Launch {
                name: "rabbitmq",
                program: script.clone(),
                args: Vec::new(),
                env,
                ready: Ready::Http { port: management, path: "/api/overview" },
                patience: Duration::from_secs(120),
                grace: Duration::from_secs(60),
            })
        })
        .await?;
        let management = server.http_port().context("finding the management port")?;
        let management = Management::new(&format!("http://127.0.0.1:{management}"))?;
        Ok(Self { server, management, tls_port, _epmd: epmd })
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`: the default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.server.port())
    }

    /// The port for TLS.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The management API.
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// Makes a virtual host, and returns its URL `amqp://guest:guest@127.0.0.1:PORT/<name>`.
    pub async fn create_vhost(&self, name: &str) -> Result<String> {
        self.management.create_vhost(name).await?;
        Ok(format!("{}/{name}", self.url()))
    }
}

impl Epmd {
    pub(crate) async fn start() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start().await {
                Err(_) if attempt < EPMD_ATTEMPTS => attempt += 1,
                outcome => return outcome.context("starting epmd"),
            }
        }
    }

    async fn try_start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("esl-testbed-epmd-").tempdir()?;
        let port = free_port()?;
        let mut command = Command::new("epmd");
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        let mut process = Process::spawn("epmd", command, &folder.path().join("log"))?;
        wait_for_port(&mut process, "epmd", port, Instant::now() + EPMD_PATIENCE).await?;
        Ok(Self { _process: process, _folder: folder, port })
    }
}

fn write_config(folder: &Path, port: u16, management: u16, options: &RabbitMqOptions) -> Result<()> {
    // Statistics cost CPU per message and connection, and lag by seconds. Who wants to know a queue's
    // depth gets it at once from a passive declare.
    let config = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         management.disable_stats = true\n\
         management_agent.disable_metrics_collector = true\n\
         collect_statistics_interval = 60000\n\
         disk_free_limit.absolute = 50MB\n\
         vm_memory_high_watermark.absolute = 1GB\n\
         log.file = false\n\
         log.console = true\n\
         log.console.level = warning\n\
         {}\n",
        options.extra_config.join("\n"),
    );
    let (plugins, prometheus) = match options.prometheus {
        // Fresh figures: by default queues tell theirs every five seconds.
        Some(port) => {
            let config = format!(
                "prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\ncollect_statistics_interval = 1000\n"
            );
            ("[rabbitmq_management,rabbitmq_prometheus].\n", config)
        }
        None => ("[rabbitmq_management].\n", String::new()),
    };
    std::fs::write(folder.join("rabbitmq.conf"), config + &prometheus).context("writing rabbitmq.conf")?;
    std::fs::write(folder.join("enabled_plugins"), plugins).context("writing enabled_plugins")
}

/// Nodes find each other by a list of them all, and a minority stops instead of going its own way.
fn join(folder: &Path, membership: &Membership) -> Result<()> {
    let peers = membership.peers.iter().enumerate();
    let peers = peers.map(|(at, peer)| format!("cluster_formation.classic_config.nodes.{} = {peer}\n", at + 1));
    let config = "cluster_formation.peer_discovery_backend = classic_config\n\
                  cluster_partition_handling = pause_minority\n";
    append_config(folder, &(config.to_owned() + &peers.collect::<String>()))?;
    let cookie = folder.join(".erlang.cookie");
    std::fs::write(&cookie, &membership.cookie).context("writing the cookie")?;
    std::fs::set_permissions(&cookie, Permissions::from_mode(0o400)).context("hiding the cookie")
}

fn append_config(folder: &Path, lines: &str) -> Result<()> {
    let path = folder.join("rabbitmq.conf");
    let text = std::fs::read_to_string(&path).context("reading rabbitmq.conf")?;
    std::fs::write(&path, text + lines).context("writing rabbitmq.conf")
}

fn add_tls(folder: &Path, port: u16, files: &TlsFiles) -> Result<()> {
    let config = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n",
        files.authority.display(),
        files.certificate.display(),
        files.key.display(),
    );
    append_config(folder, &config)
}

fn environment(folder: &Path, epmd: u16, port: u16) -> Result<Vec<(&'static str, String)>> {
    let path = |name: &str| folder.join(name).display().to_string();
    Ok(vec![
        ("HOME", path("")), // for the Erlang cookie
        ("LANG", "C.UTF-8".to_owned()),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", format!("esl-{port}@localhost")),
        ("RABBITMQ_DIST_PORT", free_port()?.to_string()),
        ("RABBITMQ_CONF_ENV_FILE", path("none")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_MNESIA_DIR", path("mnesia/node")),
        ("RABBITMQ_FEATURE_FLAGS_FILE", path("mnesia/feature_flags")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
        ("RABBITMQ_SCHEMA_DIR", path("schema")),
        ("RABBITMQ_PID_FILE", path("pid")),
        ("RABBITMQ_LOG_BASE", path("")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        // With "input allowed" the script becomes the Erlang machine instead of waiting for it, so our
        // child's pid is the node's. `-noinput` takes the input away again.
        ("RABBITMQ_ALLOW_INPUT", "1".to_owned()),
        ("RABBITMQ_SERVER_START_ARGS", "-noinput +B i".to_owned()),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none"
                .to_owned(),
        ),
    ])
}

impl Deref for RabbitMq {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RabbitMq {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

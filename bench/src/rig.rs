//! What is measured: private servers, and the roles as real processes.

use crate::{labels::label, options::Options, processes::Watched};
use anyhow::{Context, Result, bail};
use backbone::registry::Registry;
use protocol::LabelMac;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testbed::{BCK_ROUTER, FWD_ROUTER, GATEWAY_EMULATOR, Role, Servers, ServersConfig, TASK_WORKER};

pub(crate) const READY_LIMIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LABELS_AT_A_TIME: usize = 1_000;
/// Longer than any run: gateways report once, when they have connected, and then no more, so that reports disturb
/// nothing. Routes must not become stale meanwhile.
pub(crate) const NEVER: &str = "30days";

/// Starts RabbitMQ, Redis, a Mosquitto and MongoDB, none of them shared with anyone.
pub(crate) async fn start_servers() -> Result<Servers> {
    eprintln!("bench: starting RabbitMQ, Redis, Mosquitto and MongoDB");
    let config = ServersConfig { own_rabbitmq: true, own_mongodb: true, users: false, ..ServersConfig::default() };
    Servers::start(&config).await
}

/// One process of each role, on servers that run. All end when this is dropped; [`Self::stop`] ends them in order.
pub(crate) struct Rig<'a> {
    // Dropped in this order: the logs last.
    roles: Vec<Role>,
    servers: &'a Servers,
    _logs: Option<TempDir>,
}

impl<'a> Rig<'a> {
    /// Starts the routers, a worker for so many tasks at a time if that is wanted, and last the emulator, whose only
    /// reports the back router must hear. Ready means: every gateway has reported.
    pub(crate) async fn start(servers: &'a Servers, options: &Options, worker: Option<u32>) -> Result<Self> {
        let (folder, logs) = log_dir(options.log_dir.as_deref())?;
        let mut rig = Self { roles: Vec::new(), servers, _logs: logs };
        rig.add(BCK_ROUTER, &[], &[("ROUTE_STALE_AFTER", NEVER.to_owned())], &folder).await?;
        rig.add(FWD_ROUTER, &[], &[("ROUTE_STALE_AFTER", NEVER.to_owned())], &folder).await?;
        if let Some(concurrency) = worker {
            rig.add(TASK_WORKER, &[], &[("TASK_CONCURRENCY", concurrency.to_string())], &folder).await?;
        }
        rig.add(GATEWAY_EMULATOR, &emulator_args(options.gateways, options.labels, options.seed), &[], &folder).await?;
        Ok(rig)
    }

    async fn add(&mut self, name: &str, args: &[String], env: &[(&str, String)], logs: &Path) -> Result<()> {
        let mut all = self.servers.env();
        all.push(("RUST_LOG", "warn".to_owned()));
        all.extend(env.iter().cloned());
        let mut role = Role::start(name, args, &all, logs)?;
        role.wait_ready(READY_LIMIT).await?;
        self.roles.push(role);
        Ok(())
    }

    /// The processes to watch; `own` is what this process plays.
    pub(crate) fn watched(&self, own: &'static str) -> Vec<Watched> {
        let process = |name, pid| Watched { name, pid, with_children: false };
        let role = |name| self.roles.iter().find(|role| role.name() == name).map(|role| process(name, role.pid()));
        let roles = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER, GATEWAY_EMULATOR].into_iter().filter_map(role);
        let has_worker = self.roles.iter().any(|role| role.name() == TASK_WORKER);
        let needed = |name| name != "MongoDB" || has_worker;
        let servers = server_pids(self.servers).filter(|(name, _)| needed(*name));
        // RabbitMQ has helpers.
        let servers = servers.map(|(name, pid)| Watched { name, pid, with_children: true });
        std::iter::once(process(own, std::process::id())).chain(roles).chain(servers).collect()
    }

    /// Fails if a role has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        for role in &mut self.roles {
            if let Some(status) = role.exit_status() {
                bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
            }
        }
        Ok(())
    }

    /// Ends the roles in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for role in &mut self.roles {
            role.terminate()?;
        }
        for role in &mut self.roles {
            let status = role.wait().await?;
            if !status.success() {
                bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
            }
        }
        Ok(())
    }
}

/// Waits until a gateway hears each of the first so many labels.
pub(crate) async fn wait_routed(servers: &Servers, labels: u32) -> Result<()> {
    let registry = Registry::connect(&servers.redis_url.parse()?)?;
    let end = Instant::now() + READY_LIMIT;
    let all: Vec<LabelMac> = (0..labels).map(label).collect();
    for some in all.chunks(LABELS_AT_A_TIME) {
        while registry.routes_of(some).await?.iter().any(Vec::is_empty) {
            if Instant::now() > end {
                bail!("there are labels that no gateway hears after {READY_LIMIT:?}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// Runs the command that was asked for between rounds, if one was.
pub(crate) async fn run_between(servers: &Servers, options: &Options) -> Result<()> {
    let Some(line) = &options.between else { return Ok(()) };
    let pids = server_pids(servers).map(|(name, pid)| (format!("{}_PID", name.to_uppercase()), pid.to_string()));
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", line]).envs(servers.env()).envs(pids).kill_on_drop(true);
    let status = command.status().await.with_context(|| format!("running {line}"))?;
    if !status.success() {
        bail!("{line} ended with {status}");
    }
    Ok(())
}

pub(crate) fn server_pids(servers: &Servers) -> impl Iterator<Item = (&'static str, u32)> + use<> {
    let all = [
        ("RabbitMQ", servers.rabbitmq.as_ref().map(|server| server.pid())),
        ("Redis", Some(servers.redis.pid())),
        ("Mosquitto", servers.mosquittos.first().map(|server| server.pid())),
        ("MongoDB", servers.mongodb.as_ref().map(|server| server.pid())),
    ];
    all.into_iter().filter_map(|(name, pid)| Some((name, pid?)))
}

pub(crate) fn emulator_args(gateways: u32, labels: u32, seed: u64) -> Vec<String> {
    let args = [
        ("--gateways", gateways.to_string()),
        ("--labels", labels.to_string()),
        ("--seed", seed.to_string()),
        ("--write-time", "0s".to_owned()),
        ("--write-queue", "100000".to_owned()),
        ("--echo", "body".to_owned()),
        ("--report-interval", NEVER.to_owned()),
    ];
    args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

pub(crate) fn log_dir(wanted: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(folder) = wanted {
        return Ok((folder.to_owned(), None));
    }
    let folder = tempfile::Builder::new().prefix("esl-bench-logs-").tempdir().context("making a folder for logs")?;
    Ok((folder.path().to_owned(), Some(folder)))
}

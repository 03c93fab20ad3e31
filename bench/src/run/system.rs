//! The system under test: servers, and so many replicas of each router, each held to its share.

use super::measured::{Latencies, Measured, Parameters, Target};
use super::usage::{Usage, per_rpc};
use super::{load::Load, rpcs};
use crate::{
    backend::Backend,
    cgroup::CpuLimit,
    labels::Versions,
    processes::Watched,
    rig::{NEVER, READY_LIMIT, emulator_args, log_dir, server_pids, wait_routed},
};
use anyhow::{Context, Result, bail};
use backbone::{ledger::Ledger, service::now};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use testbed::{
    BCK_ROUTER, Balancer, FWD_ROUTER, GATEWAY_EMULATOR, HTTP_ROUTER, Role, Servers, ServersConfig, TASK_WORKER,
    free_port,
};

/// The roles, on servers that run. All end when this is dropped; [`Self::stop`] ends them in order.
struct System<'a> {
    // Dropped in this order: groups after the processes in them, the logs last.
    roles: Vec<Role>,
    limits: Vec<CpuLimit>,
    _balancer: Option<Balancer>,
    servers: &'a Servers,
    logs: PathBuf,
    _removed: Option<TempDir>,
}

pub(super) async fn measure_on_servers(
    parameters: &Parameters,
    load: Load,
    versions: &Versions,
    logs: Option<&Path>,
) -> Result<Measured> {
    let servers = Servers::start(&ServersConfig { users: false, ..ServersConfig::default() }).await?;
    let mut system = System::start(&servers, parameters, logs).await?;
    let (broker, backend, mut listening) = Backend::open(&servers, versions).await?;
    let drive = async {
        wait_routed(&servers, parameters.labels).await?;
        // With several HTTP routers each task may take its whole timeout.
        if parameters.target != Target::Http || parameters.replicas == 1 {
            load.warm_up(&backend).await?;
        }
        let (since, before) = (now(), system.look().await?);
        let driven = load.drive(&backend).await?;
        anyhow::Ok((since, before, driven, system.look().await?))
    };
    let driven = tokio::select! {
        driven = drive => driven,
        Some(lost) = listening.join_next() => Err(lost?).context("listening for results"),
    };
    let (since, before, driven, after) = driven.or_else(|error| system.check().and(Err(error)))?;
    system.check()?;
    broker.close().await;
    // What workers still hold of how long RPCs took is in the ledger when they have ended.
    system.stop().await?;
    let ledger = Ledger::connect(&servers.mongodb_url.parse()?).await?;
    let rpcs = rpcs::read(&ledger, since).await?;
    servers.release().await?;
    let per_second = |count: f64| count / driven.seconds;
    Ok(Measured {
        seconds: driven.seconds,
        tasks_per_second: per_second(f64::from(parameters.tasks)),
        rpcs: rpcs.micros.len(),
        rpcs_per_second: per_second(rpcs.micros.len() as f64),
        mqtt_messages_per_second: per_second(after.mqtt_messages - before.mqtt_messages),
        end_to_end: Latencies::of(&driven.tally.latency),
        communication: Latencies::of(&rpcs.micros),
        outcomes: driven.outcomes,
        timeouts: rpcs.timeouts(),
        rpc_ends: rpcs.ends,
        misroutes: (after.misroutes - before.misroutes) as u64,
        throttled_seconds: after.throttled.saturating_sub(before.throttled).as_secs_f64(),
        errors: driven.tally.errors,
        processes: per_rpc(&before.usage, &after.usage, rpcs.micros.len()),
    })
}

/// What there is to be read while a system runs.
struct Look {
    usage: Usage,
    misroutes: f64,
    mqtt_messages: f64,
    throttled: Duration,
}

impl<'a> System<'a> {
    /// Starts the routers, the worker, and last the emulator, whose only reports the back router must hear.
    async fn start(servers: &'a Servers, parameters: &Parameters, logs: Option<&Path>) -> Result<Self> {
        let (logs, removed) = log_dir(logs)?;
        let mut system =
            Self { roles: Vec::new(), limits: Vec::new(), _balancer: None, servers, logs, _removed: removed };
        let timeout = format!("{}ms", parameters.timeout_ms);
        let routing = [("ROUTE_STALE_AFTER", NEVER.to_owned()), ("RPC_TIMEOUT", timeout)];
        let mut worker = routing.to_vec();
        worker.push(("TASK_CONCURRENCY", parameters.workers.to_string()));
        let limit = parameters.cpu_millicores;
        if parameters.target == Target::Http {
            let reports = [("CONSUME", "reports".to_owned())];
            system.add(BCK_ROUTER, &[], &[&routing[..], &reports].concat(), None).await?;
            let mut routers = Vec::new();
            for _ in 0..parameters.replicas {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
                let serve = [("HTTP_ADDR", address.to_string())];
                system.add(HTTP_ROUTER, &[], &[&routing[..], &serve].concat(), limit).await?;
                routers.push(address);
            }
            let url = system.balance(routers)?;
            worker.extend([("RPC", "http".to_owned()), ("HTTP_RPC_URL", url)]);
        } else {
            for _ in 0..parameters.replicas {
                system.add(BCK_ROUTER, &[], &routing, limit).await?;
                system.add(FWD_ROUTER, &[], &routing, limit).await?;
            }
        }
        system.add(TASK_WORKER, &[], &worker, None).await?;
        let emulator = emulator_args(parameters.gateways, parameters.labels, 1);
        system.add(GATEWAY_EMULATOR, &emulator, &[], None).await?;
        Ok(system)
    }

    /// Starts a role. It is held to its share once it is ready: starting is not what is measured.
    async fn add(&mut self, name: &str, args: &[String], env: &[(&str, String)], share: Option<u32>) -> Result<()> {
        let mut all = self.servers.env();
        all.push(("RUST_LOG", "warn".to_owned()));
        let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.clone())).chain(env.iter().cloned()).collect();
        let mut role = Role::start(name, args, &all, &self.logs)?;
        role.wait_ready(READY_LIMIT).await?;
        if let Some(millicores) = share {
            let limit = CpuLimit::new(millicores)?;
            limit.hold(role.pid())?;
            self.limits.push(limit);
        }
        self.roles.push(role);
        Ok(())
    }

    /// Where workers find these routers: one by itself, several behind a balancer.
    fn balance(&mut self, routers: Vec<SocketAddr>) -> Result<String> {
        if let [one] = routers[..] {
            return Ok(format!("http://{one}"));
        }
        let balancer = self._balancer.insert(Balancer::start(routers)?);
        Ok(format!("http://{}", balancer.address()))
    }

    async fn look(&self) -> Result<Look> {
        let misroutes = self.sum(HTTP_ROUTER, "http_router_misroutes_total").await?;
        let commands = self.sum(GATEWAY_EMULATOR, "gateway_emulator_commands_total").await?;
        let mqtt_messages = commands + self.sum(GATEWAY_EMULATOR, "gateway_emulator_answers_total").await?;
        let throttled = self.limits.iter().map(CpuLimit::throttled).sum::<Result<Duration>>()?;
        let usage = Usage::of(&self.watched())?;
        Ok(Look { usage, misroutes, mqtt_messages, throttled })
    }

    /// The sum of a metric over all processes of a role.
    async fn sum(&self, name: &str, sample: &str) -> Result<f64> {
        let mut sum = 0.0;
        for role in self.roles.iter().filter(|role| role.name() == name) {
            sum += role.metric(sample).await?;
        }
        Ok(sum)
    }

    fn watched(&self) -> Vec<Watched> {
        let known = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER, HTTP_ROUTER, GATEWAY_EMULATOR];
        let role = |role: &Role| {
            let name = known.into_iter().find(|name| *name == role.name())?;
            Some(Watched { name, pid: role.pid(), with_children: false })
        };
        // RabbitMQ has helpers.
        let servers = server_pids(self.servers).map(|(name, pid)| Watched { name, pid, with_children: true });
        let own = Watched { name: "backend", pid: std::process::id(), with_children: false };
        std::iter::once(own).chain(self.roles.iter().filter_map(role)).chain(servers).collect()
    }

    /// Fails if a role has ended, with the end of its log.
    fn check(&mut self) -> Result<()> {
        for role in &mut self.roles {
            if let Some(status) = role.exit_status() {
                bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
            }
        }
        Ok(())
    }

    /// Ends the roles in order.
    async fn stop(mut self) -> Result<()> {
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

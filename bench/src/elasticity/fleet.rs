//! The roles as processes: replicas that come, are held to what they request, and go.

use super::ElasticityArgs;
use crate::{
    cgroup::CpuLimit,
    processes::{Watched, usage},
    rig::{NEVER, READY_LIMIT, emulator_args},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use testbed::{GATEWAY_EMULATOR, Role, Servers};

/// How many replicas of each role.
pub(super) type Counts = BTreeMap<&'static str, u32>;

/// One process of a role.
pub(super) struct Replica {
    // Dropped in this order: the group after the process in it.
    role: Role,
    limit: Option<CpuLimit>,
    is_ready: bool,
    cpu: (Instant, Duration),
    /// A counter of it at some times, for its rate.
    counted: Vec<(Instant, f64)>,
}

/// All replicas. They end when this is dropped; [`Self::stop`] ends them in order.
pub(super) struct Fleet<'a> {
    replicas: BTreeMap<&'static str, Vec<Replica>>,
    /// Those that were told to end.
    leaving: Vec<Replica>,
    emulator: Role,
    servers: &'a Servers,
    logs: &'a Path,
    millicores: u32,
    limited: bool,
}

impl<'a> Fleet<'a> {
    /// Starts so many replicas of each role, and last the emulator, whose only reports the back routers must hear.
    pub(super) async fn start(
        servers: &'a Servers,
        args: &ElasticityArgs,
        least: Counts,
        logs: &'a Path,
    ) -> Result<Self> {
        let mut replicas: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, count) in least {
            let started = (0..count).map(|_| Replica::start(name, servers, logs));
            replicas.insert(name, started.collect::<Result<_>>()?);
        }
        for replica in replicas.values_mut().flatten() {
            replica.role.wait_ready(READY_LIMIT).await?;
        }
        let emulator_args = emulator_args(args.gateways, args.labels, 1);
        let mut emulator = Role::start(GATEWAY_EMULATOR, &emulator_args, &env(servers), logs)?;
        emulator.wait_ready(READY_LIMIT).await?;
        let (millicores, limited) = (args.millicores()?, !args.unlimited);
        let mut fleet = Self { replicas, leaving: Vec::new(), emulator, servers, logs, millicores, limited };
        fleet.look().await?;
        Ok(fleet)
    }

    /// Holds those that have become ready to their share, and lets go of those that have ended. Fails if one has ended
    /// that was not told to, or in another way.
    pub(super) async fn look(&mut self) -> Result<()> {
        self.check()?;
        for replica in self.replicas.values_mut().flatten().filter(|replica| !replica.is_ready) {
            if replica.role.is_ready().await {
                replica.begin(self.limited.then_some(self.millicores))?;
            }
        }
        let mut still = Vec::new();
        for mut replica in self.leaving.drain(..) {
            match replica.role.exit_status() {
                None => still.push(replica),
                Some(status) if status.success() => {}
                Some(status) => bail!("{} ended with {status}:\n{}", replica.role.name(), replica.role.log_tail()),
            }
        }
        self.leaving = still;
        Ok(())
    }

    /// Fails if a process has ended that was not told to.
    pub(super) fn check(&mut self) -> Result<()> {
        let running = self.replicas.values_mut().flatten().map(|replica| &mut replica.role);
        for role in running.chain([&mut self.emulator]) {
            if let Some(status) = role.exit_status() {
                bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
            }
        }
        Ok(())
    }

    /// How many replicas there are of each role, ready or not.
    pub(super) fn counts(&self) -> Counts {
        self.replicas.iter().map(|(name, replicas)| (*name, replicas.len() as u32)).collect()
    }

    /// Starts replicas of a role, or tells the newest to end, until there are so many.
    pub(super) fn scale(&mut self, name: &'static str, count: u32) -> Result<()> {
        let replicas = self.replicas.entry(name).or_default();
        while replicas.len() < count as usize {
            replicas.push(Replica::start(name, self.servers, self.logs)?);
        }
        for mut replica in replicas.split_off(count as usize) {
            replica.role.terminate()?;
            self.leaving.push(replica);
        }
        Ok(())
    }

    /// What the replicas of a role that are ready use of a core, in thousandths, since this was last asked.
    pub(super) fn millicores(&mut self, name: &str) -> Result<f64> {
        let ready = self.replicas.get_mut(name).into_iter().flatten().filter(|replica| replica.is_ready);
        ready.map(Replica::millicores).sum()
    }

    /// How fast a counter grows, summed over the replicas of a role, each over no longer than this.
    pub(super) async fn rate(&mut self, name: &str, counter: &str, over: Duration) -> f64 {
        let mut sum = 0.0;
        for replica in self.replicas.get_mut(name).into_iter().flatten().filter(|replica| replica.is_ready) {
            sum += replica.rate(counter, over).await;
        }
        sum
    }

    /// Replaces every replica, one after the other: the next is ready before the one before it is told to end.
    pub(super) async fn restart_all(&mut self) -> Result<()> {
        let names: Vec<_> = self.replicas.keys().copied().collect();
        for name in names {
            for place in 0..self.replicas[name].len() {
                let mut fresh = Replica::start(name, self.servers, self.logs)?;
                fresh.role.wait_ready(READY_LIMIT).await?;
                fresh.begin(self.limited.then_some(self.millicores))?;
                let replicas = self.replicas.get_mut(name).context("the roles stay the same")?;
                let mut old = std::mem::replace(&mut replicas[place], fresh);
                let status = old.role.stop().await?;
                if !status.success() {
                    bail!("{name} ended with {status}; its log ends:\n{}", old.role.log_tail());
                }
            }
        }
        Ok(())
    }

    /// Ends all in order.
    pub(super) async fn stop(mut self) -> Result<()> {
        let staying = self.replicas.values_mut().flatten().map(|replica| &mut replica.role);
        for role in staying.chain([&mut self.emulator]) {
            role.terminate()?;
        }
        let replicas = self.replicas.values_mut().flatten().chain(&mut self.leaving);
        for role in replicas.map(|replica| &mut replica.role).chain([&mut self.emulator]) {
            let status = role.wait().await?;
            if !status.success() {
                bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
            }
        }
        Ok(())
    }
}

impl Replica {
    /// Starts one, and does not wait for it.
    fn start(name: &'static str, servers: &Servers, logs: &Path) -> Result<Self> {
        let role = Role::start(name, &[], &env(servers), logs)?;
        Ok(Self { role, limit: None, is_ready: false, cpu: (Instant::now(), Duration::ZERO), counted: Vec::new() })
    }

    /// It is ready: from now on it counts, and is held to its share. Starting is not what is measured.
    fn begin(&mut self, share: Option<u32>) -> Result<()> {
        if let Some(millicores) = share {
            let limit = CpuLimit::new(millicores)?;
            limit.hold(self.role.pid())?;
            self.limit = Some(limit);
        }
        self.is_ready = true;
        self.cpu = (Instant::now(), self.cpu_time()?);
        Ok(())
    }

    fn cpu_time(&self) -> Result<Duration> {
        let watched = Watched { name: "a replica", pid: self.role.pid(), with_children: false };
        Ok(usage(&[watched])?.iter().map(|usage| usage.cpu).sum())
    }

    fn millicores(&mut self) -> Result<f64> {
        let (since, before) = self.cpu;
        self.cpu = (Instant::now(), self.cpu_time()?);
        let seconds = since.elapsed().as_secs_f64().max(1e-3);
        Ok(self.cpu.1.saturating_sub(before).as_secs_f64() * 1e3 / seconds)
    }

    /// One that does not answer in time is missed once, as a scrape would be.
    async fn rate(&mut self, counter: &str, over: Duration) -> f64 {
        if let Ok(count) = self.role.metric(counter).await {
            self.counted.push((Instant::now(), count));
        }
        self.counted.retain(|(at, _)| at.elapsed() <= over);
        match (self.counted.first(), self.counted.last()) {
            (Some((from, least)), Some((to, most))) if to > from => (most - least) / (*to - *from).as_secs_f64(),
            _ => 0.0,
        }
    }
}

fn env(servers: &Servers) -> Vec<(&'static str, String)> {
    let mut env = servers.env();
    env.push(("RUST_LOG", "warn".to_owned()));
    // Gateways report once, so that reports disturb nothing.
    env.push(("ROUTE_STALE_AFTER", NEVER.to_owned()));
    env
}

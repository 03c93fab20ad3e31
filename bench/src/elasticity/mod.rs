//! `bench elasticity`: a load step, replicas that follow it as Kubernetes' autoscalers would have them, then a rolling
//! restart of every role; and what all that does to backlogs and latency.
//!
//! - [`scale`]: the autoscalers of `k8s/`, on the metrics that they ask for, read from where they really are;
//! - [`fleet`]: the roles as processes, some coming and some going;
//! - [`record`]: what was seen each second, as JSON and as a plot.

mod fleet;
mod plot;
mod record;
mod scale;

use crate::{
    backend::{Backend, Ended},
    closed_loop::{Tally, open_loop, progress},
    labels::{Versions, label},
    rig::{log_dir, wait_routed},
    run::{CpuShare, parse_share},
};
use anyhow::{Context, Result, ensure};
use backbone::service::parse_duration;
use fleet::Fleet;
use record::{Record, Sample};
use scale::Scalers;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use testbed::{RabbitMqOptions, Servers, ServersConfig, free_port};

const TICK: Duration = Duration::from_secs(1);
/// A task's deadline.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Beyond a task's deadline, for results on their way.
const MARGIN: Duration = Duration::from_secs(60);

/// What `bench elasticity` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ElasticityArgs {
    /// Tasks per second, of two labels each, before and after the step
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// How many times as much the step is
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    step: u32,

    /// How long before the step
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    before: Duration,

    /// How long the step lasts
    #[arg(long, default_value = "100s", value_parser = parse_duration)]
    during: Duration,

    /// How long after the step, until the rolling restart
    #[arg(long, default_value = "150s", value_parser = parse_duration)]
    after: Duration,

    /// How many times as fast the autoscalers' clock runs: their windows and periods are minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: u32,

    /// What each replica requests of a core, and is held to
    #[arg(long, default_value = "20m", value_parser = parse_share)]
    request: CpuShare,

    /// Do not hold replicas to what they request: where control groups can't be written
    #[arg(long)]
    unlimited: bool,

    /// How many gateways are emulated
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    gateways: u32,

    /// How many labels are emulated
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    labels: u32,

    /// Folder for the record and its plot
    #[arg(long, default_value = "target/bench/elasticity")]
    out: PathBuf,

    /// Keep the roles' logs in this folder
    #[arg(long)]
    log_dir: Option<PathBuf>,
}

impl ElasticityArgs {
    fn millicores(&self) -> Result<u32> {
        self.request.0.context("--request none: the autoscalers reckon in shares of what a replica requests")
    }

    /// Tasks per second so long after the beginning.
    fn rate_at(&self, since: Duration) -> u32 {
        if (self.before..self.before + self.during).contains(&since) { self.rate * self.step } else { self.rate }
    }

    /// When each task is due, without end.
    fn dues(&self) -> impl Iterator<Item = Duration> + use<'_> {
        std::iter::successors(Some(Duration::ZERO), |due| Some(*due + Duration::from_secs(1) / self.rate_at(*due)))
    }
}

/// Runs the step, and fails if a task was lost.
pub(crate) async fn run(args: ElasticityArgs) -> Result<()> {
    let prometheus = free_port()?;
    let rabbitmq = RabbitMqOptions { prometheus: Some(prometheus), ..RabbitMqOptions::default() };
    let config = ServersConfig { own_rabbitmq: true, rabbitmq, users: false, ..ServersConfig::default() };
    eprintln!("bench: starting the servers");
    let servers = Servers::start(&config).await?;
    let (logs, _removed) = log_dir(args.log_dir.as_deref())?;
    let scalers = Scalers::of_manifests(prometheus, args.millicores()?, args.speed)?;
    let mut fleet = Fleet::start(&servers, &args, scalers.least(), &logs).await?;
    wait_routed(&servers, args.labels).await?;
    let record = step(&args, &servers, &mut fleet, scalers).await;
    let record = record.or_else(|error| fleet.check().and(Err(error)))?;
    fleet.stop().await?;
    servers.release().await?;
    record.write(&args.out)?;
    println!("{}", record.summary());
    record.nothing_lost()
}

/// The load, and beside it the autoscalers.
async fn step(args: &ElasticityArgs, servers: &Servers, fleet: &mut Fleet<'_>, scalers: Scalers) -> Result<Record> {
    let versions = Versions::new();
    let (broker, backend, mut listening) = Backend::open(servers, &versions).await?;
    let (over, ended) = (Cell::new(false), RefCell::new(Endings::default()));
    let load = async {
        let total = u64::from(args.rate) * (args.before + args.during * args.step + args.after).as_secs();
        let bar = progress(u32::try_from(total).unwrap_or(u32::MAX), "tasks".to_owned());
        let dues = args.dues().take_while(|_| !over.get());
        let once = async |number: u32, due: Instant| {
            let pair = number % (args.labels / 2);
            let labels = [label(2 * pair), label(2 * pair + 1)];
            let (_, of_labels) = backend.update(labels, Some(TIMEOUT), TIMEOUT + MARGIN).await?;
            Ok(ended.borrow_mut().count(due, &of_labels))
        };
        let tally = open_loop(dues, &bar, once).await;
        bar.finish_and_clear();
        tally
    };
    let watch = async {
        let samples = watch(args, fleet, scalers, &ended).await?;
        fleet.restart_all().await?;
        over.set(true);
        anyhow::Ok(samples)
    };
    let (tally, samples): (Tally, Vec<Sample>) = tokio::select! {
        both = async { tokio::try_join!(load, watch) } => both?,
        Some(lost) = listening.join_next() => return Err(lost?).context("listening for results"),
    };
    broker.close().await;
    Ok(Record::new(args, samples, ended.into_inner().outcomes, tally.errors))
}

/// Looks each second, and lets the autoscalers look as often as they do, until the load has been back for long enough.
async fn watch(
    args: &ElasticityArgs,
    fleet: &mut Fleet<'_>,
    mut scalers: Scalers,
    ended: &RefCell<Endings>,
) -> Result<Vec<Sample>> {
    let (began, whole) = (Instant::now(), args.before + args.during + args.after);
    let (mut samples, mut ticks) = (Vec::new(), tokio::time::interval(TICK.min(scalers.sync())));
    while began.elapsed() < whole {
        ticks.tick().await;
        fleet.look().await?;
        let since = began.elapsed();
        let backlogs = scalers.look(since, fleet).await?;
        let (ended, p99) = ended.borrow_mut().take();
        samples.push(Sample {
            second: since.as_secs_f64(),
            tasks_per_second: args.rate_at(since),
            replicas: fleet.counts(),
            tasks_backlog: backlogs.tasks,
            rpc_backlog: backlogs.rpcs,
            labels_ended: ended,
            p99_ms: p99,
        });
    }
    ensure!(!samples.is_empty(), "there was no time to look");
    Ok(samples)
}

/// How labels have ended.
#[derive(Debug, Default)]
struct Endings {
    outcomes: BTreeMap<String, u64>,
    /// Since the last look, in ms from when their tasks were due.
    latest: Vec<f64>,
}

impl Endings {
    fn count(&mut self, due: Instant, labels: &[Ended]) -> Vec<Duration> {
        let latencies: Vec<_> = labels.iter().map(|ended| ended.at.saturating_duration_since(due)).collect();
        self.latest.extend(latencies.iter().map(|latency| latency.as_secs_f64() * 1e3));
        for ended in labels {
            *self.outcomes.entry(ended.outcome.to_string()).or_default() += 1;
        }
        latencies
    }

    /// How many have ended since the last look, and the 99th percentile of how long they took.
    fn take(&mut self) -> (usize, Option<f64>) {
        let mut latest = std::mem::take(&mut self.latest);
        latest.sort_by(f64::total_cmp);
        (latest.len(), latest.get((latest.len() * 99).div_ceil(100).saturating_sub(1)).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ElasticityArgs,
    }

    #[test]
    fn the_step_is_as_high_and_as_long_as_was_said() {
        let words = ["x", "--rate", "2", "--step", "5", "--before", "3s", "--during", "2s"];
        let args = Command::parse_from(words).args;
        let within = |from: u64, to: u64| {
            let range = Duration::from_secs(from)..Duration::from_secs(to);
            args.dues().take_while(|due| *due < range.end).filter(|due| range.contains(due)).count()
        };
        assert_eq!((within(0, 3), within(3, 5), within(5, 9)), (6, 20, 8));
    }

    #[test]
    fn the_99th_percentile_is_of_those_since_the_last_look() {
        let mut endings = Endings { latest: (1..=200).map(f64::from).collect(), ..Endings::default() };
        assert_eq!(endings.take(), (200, Some(198.0)));
        assert_eq!(endings.take(), (0, None));
    }
}

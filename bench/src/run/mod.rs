//! `bench run`: a system with so many replicas of each router, each held to a share of CPU time, under a load.
//!
//! - [`system`], [`standalone`]: the system under test; [`load`]: closed loop and open loop; [`measured`]: what a run brings, as JSON.
//! - [`experiments`]: the experiments of the thesis, one run each.

mod experiments;
mod load;
mod measured;
mod rpcs;
mod standalone;
mod system;
mod usage;

pub(crate) use experiments::{ExperimentsArgs, run as run_experiments};
pub(crate) use measured::{Latencies, Measured, Run, Target};

use crate::{cgroup::CpuLimit, labels::Versions, report::commit};
use anyhow::{Context, Result, bail, ensure};
use backbone::service::parse_duration;
use load::Load;
use measured::Parameters;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What `bench run` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// What is measured, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "queue")]
    target: Vec<Target>,

    /// How many replicas of each router, one run for each
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    replicas: Vec<u32>,

    /// What each router may use of a core, such as 100m; none: as much as it can
    #[arg(long, default_value = "100m", value_parser = parse_share)]
    cpu: CpuShare,

    /// So many tasks are in flight, the next when one has ended
    #[arg(long, default_value_t = 50, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,

    /// So many tasks per second, whether others have ended or not; latency counts from when a task should have been sent
    #[arg(long)]
    rate: Option<u32>,

    /// How many tasks, of two labels each
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tasks: u32,

    /// How many tasks are worked on at a time
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,

    /// How many gateways are emulated
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    gateways: u32,

    /// How many labels are emulated; two for each task in flight at least
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    labels: u32,

    /// How long one RPC waits for its answer, and a task for its outcome
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,

    /// How often everything is measured: all targets in turn, then again
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// Folder for one JSON file per run, in a folder for each target and number of replicas
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,

    /// Keep the roles' logs in this folder
    #[arg(long)]
    log_dir: Option<PathBuf>,
}

/// What a process may use of a core, in thousandths; `None`: as much as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuShare(pub(crate) Option<u32>);

pub(crate) fn parse_share(text: &str) -> Result<CpuShare, String> {
    if text == "none" {
        return Ok(CpuShare(None));
    }
    let millicores = text.strip_suffix('m').and_then(|number| number.parse().ok()).filter(|number| *number >= 10);
    let expected = || "expected thousandths of a core, 10m at least, such as 100m; or none".to_owned();
    millicores.map(|number| CpuShare(Some(number))).ok_or_else(expected)
}

/// Measures what it is told, in turn.
pub(crate) async fn run(args: RunArgs) -> Result<()> {
    let versions = Versions::new();
    for round in 1..=args.rounds {
        for &replicas in &args.replicas {
            for &target in &args.target {
                if target == Target::Standalone && replicas > 1 {
                    continue;
                }
                let parameters = args.parameters(target, replicas);
                let run = measure(&parameters, &versions, args.log_dir.as_deref()).await?;
                println!("{}", run.line());
                write(&run, &args.out, round)?;
            }
        }
    }
    Ok(())
}

impl RunArgs {
    fn parameters(&self, target: Target, replicas: u32) -> Parameters {
        Parameters {
            name: format!("{}-{replicas}", target.name()),
            target,
            replicas,
            cpu_millicores: self.cpu.0,
            in_flight: if self.rate.is_none() { Some(self.in_flight) } else { None },
            rate: self.rate,
            tasks: self.tasks,
            workers: self.workers,
            gateways: self.gateways,
            labels: self.labels,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            published: None,
        }
    }
}

/// One run: servers and roles start, and end.
pub(crate) async fn measure(parameters: &Parameters, versions: &Versions, logs: Option<&Path>) -> Result<Run> {
    let Parameters { target, tasks, labels, .. } = *parameters;
    eprintln!("bench: {}: {tasks} tasks", parameters.name);
    let load = Load::of(parameters);
    ensure!(load.labels_needed() <= labels, "{} --labels are not enough: two for each task in flight", labels);
    // Whether there can be any is to be known before everything is started.
    parameters.cpu_millicores.map(CpuLimit::new).transpose()?;
    let measured = match target {
        Target::Queue | Target::Http => system::measure_on_servers(parameters, load, versions, logs).await,
        Target::Standalone if parameters.rate.is_some() => bail!("standalone is measured in a closed loop only"),
        Target::Standalone => standalone::measure(parameters, versions, logs).await,
    };
    let measured = measured.with_context(|| format!("measuring {}", parameters.name))?;
    Run::new(parameters.clone(), commit(), measured)
}

/// Writes a run to `<out>/<name>/<number>.json`.
pub(crate) fn write(run: &Run, out: &Path, number: u32) -> Result<()> {
    let folder = out.join(&run.parameters.name);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join(format!("{number:03}.json"));
    let json = serde_json::to_string_pretty(run).context("writing a run as JSON")?;
    std::fs::write(&file, json + "\n").with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_thousandths_of_a_core() {
        assert_eq!(parse_share("100m"), Ok(CpuShare(Some(100))));
        assert_eq!(parse_share("none"), Ok(CpuShare(None)));
        for wrong in ["100", "1m", "m", "-5m", "0.1"] {
            assert!(parse_share(wrong).unwrap_err().contains("such as 100m"), "{wrong}");
        }
    }
}

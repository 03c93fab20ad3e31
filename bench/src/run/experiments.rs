//! `bench experiments`: those of the thesis, one run each; the smoke form shows that all of it works.

use super::{
    measure,
    measured::{Parameters, Published, Target},
    write,
};
use crate::{labels::Versions, results::report};
use anyhow::Result;
use std::path::PathBuf;

/// Two labels for each of so many tasks are emulated at most; more tasks than that have labels in common.
const LABELS: u32 = 20_000;
const WORKERS: u16 = 50;
const MILLICORES: u32 = 100;
const TIMEOUT_MS: u64 = 60_000;

/// What `bench experiments` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ExperimentsArgs {
    /// Folder for one JSON file per run, the report and its plots
    #[arg(long, default_value = "docs/experiments")]
    out: PathBuf,

    /// How often all of them are run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// How many tasks in the experiment that misroutes: each misrouted RPC takes its whole timeout of a minute
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    misrouted_tasks: u32,

    /// Few tasks, short timeouts, and no limits of CPU time: does everything work?
    #[arg(long)]
    smoke: bool,

    /// Keep the roles' logs in this folder
    #[arg(long)]
    log_dir: Option<PathBuf>,
}

struct Experiment {
    target: Target,
    replicas: u32,
    tasks: u32,
    /// Mean and 99th percentile in milliseconds, where they were published.
    published: Option<(f64, f64)>,
}

const fn experiment(target: Target, replicas: u32, tasks: u32, published: Option<(f64, f64)>) -> Experiment {
    Experiment { target, replicas, tasks, published }
}

const EXPERIMENTS: [Experiment; 9] = [
    experiment(Target::Http, 1, 1_000, Some((41.9, 85.9))),
    experiment(Target::Http, 2, 1_000, Some((56_906.0, 60_118.0))),
    experiment(Target::Http, 1, 10_000, Some((802.0, 1_557.0))),
    experiment(Target::Queue, 1, 1_000, Some((43.9, 100.0))),
    experiment(Target::Queue, 2, 1_000, Some((46.0, 173.0))),
    experiment(Target::Queue, 1, 10_000, Some((3.1, 16.0))),
    experiment(Target::Queue, 2, 10_000, Some((2_046.0, 3_048.0))),
    experiment(Target::Queue, 10, 10_000, Some((1_938.0, 2_772.0))),
    experiment(Target::Queue, 20, 10_000, Some((121.0, 379.0))),
];

/// Runs all of them, so often, and reports.
pub(crate) async fn run(args: ExperimentsArgs) -> Result<()> {
    let versions = Versions::new();
    for round in 1..=args.rounds {
        for experiment in EXPERIMENTS {
            let Some(parameters) = parameters(&experiment, &args) else { continue };
            let run = measure(&parameters, &versions, args.log_dir.as_deref()).await?;
            println!("{}", run.line());
            write(&run, &args.out, round)?;
        }
    }
    report(&args.out)
}

/// What an experiment is run with; `None`: not in the smoke form.
fn parameters(experiment: &Experiment, args: &ExperimentsArgs) -> Option<Parameters> {
    let Experiment { target, replicas, tasks: planned, published } = *experiment;
    let misroutes = target == Target::Http && replicas > 1;
    if args.smoke && (planned > 1_000 || target == Target::Queue && replicas == 1) {
        return None;
    }
    let tasks = match (args.smoke, misroutes) {
        (true, _) => 20,
        (false, true) => args.misrouted_tasks.min(planned),
        (false, false) => planned,
    };
    Some(Parameters {
        name: format!("{}-{planned}-tasks-{replicas}", target.name()),
        target,
        replicas,
        cpu_millicores: (!args.smoke).then_some(MILLICORES),
        // All tasks are enqueued at once; the workers take so many at a time.
        in_flight: Some(tasks),
        rate: None,
        tasks,
        workers: WORKERS,
        gateways: if args.smoke { 4 } else { 20 },
        labels: (2 * tasks).min(LABELS),
        timeout_ms: if args.smoke { 1_000 } else { TIMEOUT_MS },
        published: published.map(|(mean_ms, p99_ms)| Published { mean_ms, p99_ms, tasks: planned }),
    })
}

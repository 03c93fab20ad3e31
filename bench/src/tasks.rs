//! `bench tasks`: the whole chain, as a store backend sees it.

use crate::{
    backend::Backend,
    labels::{Shares, Versions},
    level::Level,
    options::Options,
    report::Report,
    rig::{Rig, run_between, start_servers},
};
use anyhow::{Context, Result, bail};
use serde::Serialize;

const WARM_UP_AT_A_TIME: u32 = 32;

/// What `bench tasks` can be told.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct TasksArgs {
    /// Levels of load: how many tasks, of two labels each, are in flight; the worker may work on all of them
    #[arg(long, value_delimiter = ',', default_value = "1,50,200", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    concurrency: Vec<u32>,

    /// How many tasks are made per level
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    tasks: u32,

    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
}

/// Measures tasks.
pub(crate) async fn run(args: TasksArgs) -> Result<()> {
    let options = &args.options;
    let pairs = options.labels / 2;
    let shares: Vec<_> = args.concurrency.iter().map(|slots| Shares::new(pairs, *slots)).collect::<Result<_>>()?;
    let most = args.concurrency.iter().copied().max().unwrap_or(1).max(WARM_UP_AT_A_TIME);
    let mut report = Report::new("tasks", "label", "tasks in flight", args.clone());
    report.print_head(&format!(
        "One process of each: backend (this one; publishes tasks and takes results), task-worker (TASK_CONCURRENCY \
         {most}), fwd-router, bck-router; {} emulated gateways, {} labels, writes take no time, IDs echoed in the \
         body.\nBefore the load each gateway reports once, and each label gets one task; during it there are no reports.",
        options.gateways, options.labels
    ));
    let servers = start_servers().await?;
    let versions = Versions::new();
    for round in 1..=options.rounds {
        let mut rig = Rig::start(&servers, options, Some(most)).await?;
        let (broker, backend, mut listening) = Backend::open(&servers, &versions).await?;
        let watched = rig.watched("backend");
        let measure = async {
            let all = Shares::new(pairs, WARM_UP_AT_A_TIME.min(pairs))?;
            let warm = backend.load(all, pairs, WARM_UP_AT_A_TIME.min(pairs), options).await?;
            if let Some((error, count)) = warm.errors.first_key_value() {
                bail!("warming up: {count} × {error}");
            }
            for (tasks, shares) in args.concurrency.iter().zip(&shares) {
                let load = backend.load(*shares, args.tasks, *tasks, options);
                report.push(Level::measure(round, *tasks, &watched, load).await?);
            }
            Ok(())
        };
        tokio::select! {
            measured = measure => measured.or_else(|error: anyhow::Error| rig.check().and(Err(error)))?,
            Some(lost) = listening.join_next() => Err(lost?).context("listening for results")?,
        }
        rig.check()?;
        broker.close().await;
        rig.stop().await?;
        report.print_round(round);
        run_between(&servers, options).await?;
    }
    report.write_json(options.json.as_deref())?;
    report.fail_on_errors()
}

//! `bench`: what the backbone does per second, how long it takes, and what it costs.
//!
//! Starts private servers through `testbed` and the roles as real processes (the binaries beside its own), loads them in
//! a closed loop, and reads what each process used from `/proc`. Everything that it started ends with it. Numbers from
//! one machine compare with each other only: to compare two builds, run them in turn.
//!
//! - [`rpc`]: worker to worker, without tasks and ledger; [`tasks`]: the whole chain; [`store`]: a batch over HTTP, also
//!   on `standalone`.
//! - [`run`]: replicas held to shares of CPU time, of the backbone, of the HTTP-RPC design and of `standalone`; also the
//!   experiments of the thesis. [`results`]: what such runs brought, as Markdown, plots and ratios.
//! - [`elasticity`]: a load step that replicas follow.
//! - [`rig`]: servers, roles and settings; [`closed_loop`]: the load; [`processes`]: CPU time and memory.
//! - [`level`]: what was measured at one level of load; [`report`]: the same as tables and as JSON.

mod backend;
mod cgroup;
mod closed_loop;
mod elasticity;
mod labels;
mod level;
mod options;
mod processes;
mod report;
mod results;
mod rig;
mod rpc;
mod run;
mod store;
mod store_api;
mod table;
mod tasks;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Measures the backbone on private servers: rate, latency, and the CPU time and memory of every process.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    /// RPCs from worker to worker: request, gateway, reply; no tasks, no ledger.
    Rpc(rpc::RpcArgs),
    /// The whole chain: task, ledger, RPCs, recorded outcome, result.
    Tasks(tasks::TasksArgs),
    /// A store's batch of price updates over HTTP, on `standalone` and on the servers in turn.
    Store(store::StoreArgs),
    /// The backbone, the HTTP-RPC design or `standalone`, with replicas that are each held to a share of CPU time.
    Run(run::RunArgs),
    /// The experiments of the thesis, and their report.
    Experiments(run::ExperimentsArgs),
    /// A load step, with replicas that follow it as Kubernetes' autoscalers would have them, and a rolling restart.
    Elasticity(elasticity::ElasticityArgs),
    /// Renders runs as Markdown with plots.
    Report(results::ReportArgs),
    /// Compares runs of two systems, made in turn, by their ratios.
    Compare(results::CompareArgs),
}

// One thread, as every role has.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Command::parse();
    // Whichever ends first, the other is dropped, and with it every process that was started.
    let outcome = tokio::select! {
        outcome = execute(command) => outcome,
        signal = stopped() => signal,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Rpc(args) => rpc::run(args).await,
        Command::Tasks(args) => tasks::run(args).await,
        Command::Store(args) => store::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Experiments(args) => run::run_experiments(args).await,
        Command::Elasticity(args) => elasticity::run(args).await,
        Command::Report(args) => args.run(),
        Command::Compare(args) => results::compare(&args),
    }
}

async fn stopped() -> Result<()> {
    let listen = |kind| signal(kind).context("listening for signals");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("told to end"),
    }
}

//! `faults`: the fault run. Exit code 1 where a promise was broken.

use anyhow::{Context, Result, bail};
use clap::Parser;
use faults::{Config, run};
use std::process::ExitCode;
use testbed::install::ensure_installed;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    // Whichever ends first, the other is dropped, and with it every process that was started.
    let outcome = tokio::select! {
        outcome = play(&config) => outcome,
        error = stopped() => error,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("faults: {error:#}");
        ExitCode::FAILURE
    })
}

async fn play(config: &Config) -> Result<ExitCode> {
    ensure_installed().await?;
    let report = run(config).await?;
    println!("{}", report.markdown());
    println!("\nwritten to {}", report.write(config)?.display());
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn stopped() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for signals")?,
        _ = terminate.recv() => {}
    }
    bail!("interrupted")
}

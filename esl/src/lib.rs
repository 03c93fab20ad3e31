//! # esl
//!
//! The command-line tool of the store backend's engineer and of the operator:
//!
//! | command | does | direct, it asks |
//! |---|---|---|
//! | `esl bind FILE.csv` | loads which label stands for which product | MongoDB |
//! | `esl enqueue FILE.csv --store S` | one price-update task per line; `--watch` follows them | RabbitMQ (MongoDB) |
//! | `esl watch BATCH` | follows tasks that were sent before | MongoDB, RabbitMQ |
//! | `esl batch pause\|resume\|cancel BATCH` | holds tasks that were sent, lets them go on, or gives them up | MongoDB |
//! | `esl label MAC` | what a label should show, shows and has shown, and who hears it | MongoDB, Redis |
//! | `esl gateways` | where the gateways are | Redis |
//! | `esl gateway-check --mac MAC` | puts a gateway to the test, as its maker would | MQTT |
//! | `esl dead [replay]` | lists tasks that could not be used, or sends them again | RabbitMQ |
//!
//! All of it goes over the HTTP API ([`api`]) unless the command line names a server ([`place`]); then the servers
//! themselves are asked ([`servers`]). Commands have a [`back_end`] and don't know which.
//!
//! Answers go to standard output, for people or, with `--json`, as one JSON document. Progress, notes and errors go to
//! standard error. Exit codes: 0 all is well; 1 it failed, or not all is well (a label without its price, a line that
//! was skipped); 2 what was given can't be used, and nothing was done; 130 interrupted.
//!
//! # Invariants
//!
//! - A file is read to its end before anything is sent, so that one bad line stops all of it (but for `--skip-bad`).
//! - A task that was not confirmed is published again as it was, under the same `task_id`.
//! - A dead letter is taken from its queue only after its copy in `esl.tasks` was confirmed.

mod api;
mod back_end;
mod balance;
mod batch;
mod bind;
mod cli;
mod dead;
mod enqueue;
mod failure;
mod file;
mod gateway_check;
mod gateways;
mod interrupt;
mod label;
mod letters;
mod output;
mod place;
mod progress;
mod publish;
mod servers;
mod text;
mod watch;

pub use cli::Cli;

use back_end::BackEnd;
use cli::Command;
use failure::{Ending, Failure};
use output::Output;
use std::process::ExitCode;

/// Runs one command.
pub fn run(cli: &Cli) -> ExitCode {
    let output = Output { json: cli.json };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("esl: starting the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command(cli, output)) {
        Ok(ending) => ending.code(),
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    }
}

async fn command(cli: &Cli, output: Output) -> Result<Ending, Failure> {
    let back_end = || BackEnd::new(&cli.place);
    match &cli.command {
        Command::Bind(args) => bind::run(args, &back_end()?, output).await,
        Command::Enqueue(args) => enqueue::run(args, &back_end()?, output).await,
        Command::Batch(args) => batch::run(args, &back_end()?, output).await,
        Command::Watch(args) => watch::run(args, &back_end()?, output).await,
        Command::Label(args) => label::run(args, &back_end()?, output).await,
        Command::Gateways(args) => gateways::run(args, &back_end()?, output).await,
        // Asks nobody but the gateway.
        Command::GatewayCheck(args) => gateway_check::run(args, output).await,
        Command::Dead(args) => dead::run(args, &back_end()?, output).await,
    }
}

//! What a task worker can be told.

use backbone::{
    ledger::LedgerUrl,
    queue::AmqpArgs,
    service::{ServiceArgs, parse_duration},
};
use std::time::Duration;

/// Takes tasks from RabbitMQ, drives each of their labels to its newest version, and records how that ended.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, about)]
pub struct Config {
    /// Where RabbitMQ is
    #[command(flatten)]
    pub amqp: AmqpArgs,

    /// MongoDB, with the database (else esl): mongodb://user:password@host:port/database
    #[arg(long, env = "MONGODB_URL", default_value = "mongodb://127.0.0.1:27017/esl", hide_env_values = true)]
    pub mongodb_url: LedgerUrl,

    /// How long one attempt waits for the gateway's answer, at most until the task's deadline
    #[arg(long, env = "RPC_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How many tasks are worked on at the same time
    #[arg(long, env = "TASK_CONCURRENCY", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub task_concurrency: u16,

    /// How many RPCs are in flight at the same time, of all tasks together
    #[arg(long, env = "RPC_CONCURRENCY", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..))]
    pub rpc_concurrency: u16,

    /// What every role can be told
    #[command(flatten)]
    pub service: ServiceArgs,
}

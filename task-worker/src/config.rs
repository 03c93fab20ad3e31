//! What a task worker can be told.

use backbone::{
    http::HttpRpcUrl,
    ledger::LedgerUrl,
    queue::AmqpArgs,
    registry::RedisArgs,
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

    /// Where Redis is; only the repair pass asks it
    #[command(flatten)]
    pub redis: RedisArgs,

    /// How RPCs are made: over the queues, or by the HTTP-RPC design that they are compared with
    #[arg(long, env = "RPC", value_enum, default_value_t = RpcBy::Queue)]
    pub rpc: RpcBy,

    /// Where the HTTP routers are, or what balances between them; only for RPC=http
    #[arg(long, env = "HTTP_RPC_URL", default_value = "http://127.0.0.1:8081", hide_env_values = true)]
    pub http_rpc_url: HttpRpcUrl,

    /// How long one attempt waits for the gateway's answer, at most until the task's deadline
    #[arg(long, env = "RPC_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How many tasks are worked on at the same time
    #[arg(long, env = "TASK_CONCURRENCY", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub task_concurrency: u16,

    /// How many RPCs are in flight at the same time, of all tasks together
    #[arg(long, env = "RPC_CONCURRENCY", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..))]
    pub rpc_concurrency: u16,

    /// How often to look for labels that were left behind: that could not be reached by their task's deadline, and are
    /// heard again
    #[arg(long, env = "REPAIR_EVERY", default_value = "30s", value_parser = parse_duration)]
    pub repair_every: Duration,

    /// How long after its task gave up such a label gets its desired version again, and then again should that fail
    #[arg(long, env = "REPAIR_AFTER", default_value = "5m", value_parser = parse_duration)]
    pub repair_after: Duration,

    /// How many such labels per second a worker enqueues, at most
    #[arg(long, env = "REPAIR_RATE", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub repair_rate: u16,

    /// How old a gateway's report of a label may be for the gateway to count as hearing it
    #[arg(long, env = "ROUTE_STALE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub route_stale_after: Duration,

    /// What every role can be told
    #[command(flatten)]
    pub service: ServiceArgs,
}

impl Config {
    /// The same servers, known by the authorities that the process was told.
    pub(crate) fn trusting(self) -> Self {
        let tls = &self.service.tls;
        Self {
            amqp: self.amqp.trusting(tls),
            mongodb_url: self.mongodb_url.trusting(tls),
            redis: self.redis.trusting(tls),
            ..self
        }
    }
}

/// How a task worker makes RPCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RpcBy {
    /// Request and reply go through RabbitMQ: any router takes either.
    Queue,
    /// The request is posted to an HTTP router, which answers it.
    Http,
}

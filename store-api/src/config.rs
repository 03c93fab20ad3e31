//! What the store API can be told.

use crate::tokens::Tokens;
use backbone::{
    ledger::LedgerUrl,
    queue::AmqpArgs,
    registry::{RedisArgs, WindowArgs},
    service::{ServiceArgs, parse_duration},
};
use std::{net::SocketAddr, time::Duration};

/// HTTP for the store backend: takes tasks and says what became of them.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, about)]
pub struct Config {
    /// Address of the API; port 0 picks a free one. Other than loopback only with tokens
    #[arg(long, env = "API_ADDR", default_value = "127.0.0.1:8080")]
    pub api_addr: SocketAddr,

    /// File with one line per token: name, token (or sha256: and its digest), and stores separated by commas (or *)
    #[arg(long, env = "API_TOKENS", value_name = "FILE", value_parser = Tokens::read)]
    pub tokens: Option<Tokens>,

    /// How many requests are served at the same time; more are refused with 503
    #[arg(long, env = "API_CONCURRENCY", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,

    /// How many batches are followed live at the same time; more are refused with 503
    #[arg(long, env = "API_FOLLOWERS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub followers: u16,

    /// How long one batch is followed live; who wants more asks again
    #[arg(long, env = "API_FOLLOW_FOR", default_value = "1h", value_parser = parse_duration)]
    pub follow_for: Duration,

    /// The largest body of a request in bytes; larger ones are refused with 413
    #[arg(long, env = "API_MAX_BODY", default_value_t = 16 << 20)]
    pub max_body: usize,

    /// How long a request may take, reading its body included
    #[arg(long, env = "API_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// How old a gateway's report of a label may be for the gateway to count as hearing it; as the routers have it
    #[arg(long, env = "ROUTE_STALE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub route_stale_after: Duration,

    /// What gateways can take, as the routers have it
    #[command(flatten)]
    pub window: WindowArgs,

    /// Where RabbitMQ is
    #[command(flatten)]
    pub amqp: AmqpArgs,

    /// Where Redis is
    #[command(flatten)]
    pub redis: RedisArgs,

    /// MongoDB, with the database (else esl): mongodb://user:password@host:port/database
    #[arg(long, env = "MONGODB_URL", default_value = "mongodb://127.0.0.1:27017/esl", hide_env_values = true)]
    pub mongodb_url: LedgerUrl,

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
            redis: self.redis.trusting(tls),
            mongodb_url: self.mongodb_url.trusting(tls),
            ..self
        }
    }
}

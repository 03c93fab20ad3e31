//! What an HTTP router can be told.

use backbone::{
    mqtt::MqttArgs,
    registry::{RedisArgs, RouteArgs, WindowArgs},
    service::{ServiceArgs, parse_duration},
};
use std::{net::SocketAddr, time::Duration};

/// Takes RPC requests over HTTP, publishes each as a command to the gateway that hears the label best, and holds it open
/// until the gateway has answered. Only one replica answers all of its requests: see docs/ARCHITECTURE.md.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, about)]
pub struct Config {
    /// Where task workers post RPC requests; port 0 picks a free one
    #[arg(long, env = "HTTP_ADDR", default_value = "127.0.0.1:8081")]
    pub http_addr: SocketAddr,

    /// Where Redis is
    #[command(flatten)]
    pub redis: RedisArgs,

    /// Where the MQTT brokers are
    #[command(flatten)]
    pub mqtt: MqttArgs,

    /// How long a request is held open at most; one that names a shorter time, for so long
    #[arg(long, env = "RPC_TIMEOUT", default_value = "60s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How many requests may be held open; more are refused
    #[arg(long, env = "HTTP_CONCURRENCY", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    pub http_concurrency: u16,

    /// How many commands, and how many answers, may be in hand per MQTT broker
    #[arg(long, env = "HTTP_RECEIVE_MAXIMUM", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub http_receive_maximum: u16,

    /// Which gateway a command goes to
    #[command(flatten)]
    pub route: RouteArgs,

    /// What gateways can take
    #[command(flatten)]
    pub window: WindowArgs,

    /// What every role can be told
    #[command(flatten)]
    pub service: ServiceArgs,
}

impl Config {
    /// The same servers, known by the authorities that the process was told.
    pub(crate) fn trusting(self) -> Self {
        let tls = &self.service.tls;
        Self { redis: self.redis.trusting(tls), mqtt: self.mqtt.trusting(tls), ..self }
    }
}

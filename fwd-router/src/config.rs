//! What a forward router can be told.

use backbone::{
    mqtt::MqttArgs,
    queue::AmqpArgs,
    registry::{RedisArgs, RouteArgs, WindowArgs},
    service::{ServiceArgs, parse_duration},
};
use std::time::Duration;

/// Takes RPC requests from RabbitMQ, finds the gateway that hears the label best, and publishes the command to it.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, about)]
pub struct Config {
    /// Where RabbitMQ is
    #[command(flatten)]
    pub amqp: AmqpArgs,

    /// Where Redis is
    #[command(flatten)]
    pub redis: RedisArgs,

    /// Where the MQTT brokers are
    #[command(flatten)]
    pub mqtt: MqttArgs,

    /// How long one attempt waits for its answer; a silent gateway's label is kept free as long again
    #[arg(long, env = "RPC_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How many requests may be in hand, waiting for Redis or for an MQTT broker's acknowledgement
    #[arg(long, env = "FWD_PREFETCH", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub fwd_prefetch: u16,

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
        Self { amqp: self.amqp.trusting(tls), redis: self.redis.trusting(tls), mqtt: self.mqtt.trusting(tls), ..self }
    }
}

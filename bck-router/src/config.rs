//! What a back router can be told.

use backbone::{
    mqtt::MqttArgs,
    queue::AmqpArgs,
    registry::{RedisArgs, WindowArgs},
    service::{ServiceArgs, parse_duration},
};
use std::time::Duration;

/// Takes gateways' answers from MQTT and routes each to the worker that asked; keeps the route table from their reports.
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

    /// What to take: answers, reports, or both; apart, each side scales by itself
    #[arg(long, env = "CONSUME", value_enum, default_value_t = Consume::Both)]
    pub consume: Consume,

    /// How many answers may be in hand per MQTT broker, waiting for Redis or RabbitMQ; small, because what a killed
    /// replica had in hand is lost and takes a retry
    #[arg(long, env = "BCK_RECEIVE_MAXIMUM", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub bck_receive_maximum: u16,

    /// How long one attempt waits for its answer
    #[arg(long, env = "RPC_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How old a gateway's report of a label may be for the gateway to count as hearing it
    #[arg(long, env = "ROUTE_STALE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub route_stale_after: Duration,

    /// By how much, in dB, a label's smoothed RSSI must change to be written to Redis at once
    #[arg(long, env = "ROUTE_CHANGE_DB", default_value_t = 4)]
    pub route_change_db: u8,

    /// How many labels one gateway may report; more are dropped and counted
    #[arg(long, env = "LABELS_PER_GATEWAY", default_value_t = 20_000)]
    pub labels_per_gateway: usize,

    /// How many gateways' reports of one label are kept; those of more gateways are dropped and counted
    #[arg(long, env = "GATEWAYS_PER_LABEL", default_value_t = 16)]
    pub gateways_per_label: usize,

    /// How many pairs of gateway and label one replica keeps; more are dropped and counted
    #[arg(long, env = "SIGHTINGS_MAX", default_value_t = 4_000_000)]
    pub sightings_max: usize,

    /// How many gateways there may be; reports of more are dropped and counted, until others were silent for a day
    #[arg(long, env = "GATEWAYS_MAX", default_value_t = 5_000)]
    pub gateways_max: usize,

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

/// What a back router takes from MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Consume {
    /// Gateways' answers to commands.
    Answers,
    /// Gateways' reports of the labels that they hear.
    Reports,
    /// Both, on connections of their own.
    Both,
}

impl Consume {
    pub(crate) fn answers(self) -> bool {
        self != Self::Reports
    }

    pub(crate) fn reports(self) -> bool {
        self != Self::Answers
    }
}

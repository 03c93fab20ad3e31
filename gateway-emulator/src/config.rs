//! What the emulated store is like.

use crate::faults::Faults;
use backbone::{
    mqtt::{IdentityArgs, MqttUrls, gateway::MqttVersion},
    service::{ServiceArgs, parse_duration},
};
use clap::{Parser, ValueEnum};
use std::time::Duration;

/// Plays a store: gateways on MQTT, the labels that they hear, and the faults of both. Its admin port also tells what
/// each label shows, and changes faults while it runs.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateway-emulator", version)]
pub struct Config {
    /// How many gateways
    #[arg(long, env = "GATEWAYS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub gateways: u32,

    /// How many labels
    #[arg(long, env = "LABELS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub labels: u32,

    /// Number of the first gateway, whose MAC is 00fa7e and this number as 6 hexadecimal digits
    #[arg(long, env = "FIRST_GATEWAY", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=0xf0_0000))]
    pub first_gateway: u32,

    /// Number of the first label, whose MAC is 001a2b and this number as 6 hexadecimal digits
    #[arg(long, env = "FIRST_LABEL", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=0xf0_0000))]
    pub first_label: u32,

    /// Seed of the floor plan, of signal noise, of write times and of the draws of faults
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,

    /// MQTT brokers, mqtt://host:port or mqtts://, with commas between them; each gateway is on one of them, and moves
    /// to the next when it is lost
    #[arg(long, env = "MQTT_URL", default_value = "mqtt://127.0.0.1:1883", hide_env_values = true)]
    pub mqtt_url: MqttUrls,

    /// What they know the gateways by; {mac} stands for each gateway's MAC, as it does in user and password of the URL
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// Which MQTT the gateways speak; mixed: every second one 3.1.1
    #[arg(long, env = "PROTOCOL", value_enum, default_value_t = Protocol::V5)]
    pub protocol: Protocol,

    /// How answers name their RPC: id in the body, MQTT 5 correlation data as a property, not at all, or mixed among
    /// the gateways. MQTT 3.1.1 has no properties: there, property is body
    #[arg(long, env = "ECHO", value_enum, default_value_t = Echo::Body)]
    pub echo: Echo,

    /// How often each gateway reports the labels that it hears
    #[arg(long, env = "REPORT_INTERVAL", default_value = "2s", value_parser = parse_duration)]
    pub report_interval: Duration,

    /// Report each label in a message of its own, instead of up to 1000 in one
    #[arg(long, env = "SINGLE_REPORTS")]
    pub single_reports: bool,

    /// Median time that a write to a label takes, such as 590ms; 0 for none at all
    #[arg(long, env = "WRITE_TIME", default_value = "590ms", value_parser = parse_write_time)]
    pub write_time: Duration,

    /// Spread of the write times: sigma of their log-normal distribution; 0 for the same time always
    #[arg(long, env = "WRITE_SPREAD", default_value_t = 0.25, value_parser = parse_spread)]
    pub write_spread: f64,

    /// To how many labels a gateway writes at a time
    #[arg(long, env = "CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub connections: u32,

    /// How many more commands wait in a gateway; what comes beyond is answered queue_full
    #[arg(long, env = "WRITE_QUEUE", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub write_queue: u32,

    /// Faults of the whole store from the start
    #[command(flatten, next_help_heading = "Faults, which the admin port changes")]
    pub faults: Faults,

    /// What every role can be told
    #[command(flatten, next_help_heading = "Process")]
    pub service: ServiceArgs,
}

/// Which MQTT the gateways speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V311,
    /// In turn.
    Mixed,
}

/// How an answer names its RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Echo {
    /// `id` in the body.
    Body,
    /// MQTT 5 correlation data.
    Property,
    /// Only the label is named.
    None,
    /// In turn.
    Mixed,
}

impl Config {
    /// The same servers, known by the authorities that the process was told.
    pub(crate) fn trusting(self) -> Self {
        let tls = &self.service.tls;
        Self { mqtt_url: self.mqtt_url.trusting(tls, &self.identity), ..self }
    }

    /// Which MQTT the gateway at this index speaks.
    pub fn version_of(&self, index: usize) -> MqttVersion {
        match self.protocol {
            Protocol::V5 => MqttVersion::V5,
            Protocol::V311 => MqttVersion::V311,
            Protocol::Mixed if index.is_multiple_of(2) => MqttVersion::V5,
            Protocol::Mixed => MqttVersion::V311,
        }
    }

    /// How the gateway at this index names RPCs; never mixed.
    pub fn echo_of(&self, index: usize) -> Echo {
        let turn = if self.protocol == Protocol::Mixed { index / 2 } else { index };
        match (self.echo, self.version_of(index)) {
            (Echo::Mixed, MqttVersion::V5) => [Echo::Body, Echo::Property, Echo::None][turn % 3],
            (Echo::Mixed, MqttVersion::V311) => [Echo::Body, Echo::None][turn % 2],
            (Echo::Property, MqttVersion::V311) => Echo::Body,
            (echo, _) => echo,
        }
    }
}

fn parse_write_time(text: &str) -> Result<Duration, String> {
    if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) == "0" {
        Ok(Duration::ZERO)
    } else {
        parse_duration(text)
    }
}

fn parse_spread(text: &str) -> Result<f64, String> {
    let spread = text.parse().ok().filter(|spread| (0.0..=3.0).contains(spread));
    spread.ok_or_else(|| "expected a number from 0 to 3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_write_times_may_be_zero() {
        let config = Config::parse_from(["x", "--write-time", "0"]);
        assert_eq!((config.gateways, config.labels, config.write_time), (10, 2000, Duration::ZERO));
        assert_eq!(parse_write_time("0ms"), Ok(Duration::ZERO));
        assert_eq!(parse_write_time("590ms"), Ok(Duration::from_millis(590)));
        assert!(parse_write_time("590").is_err());
    }

    #[test]
    fn a_gateway_without_properties_never_echoes_in_one() {
        let config = Config::parse_from(["x", "--protocol", "mixed", "--echo", "mixed"]);
        let echoes: Vec<_> = (0..12).map(|index| (config.version_of(index), config.echo_of(index))).collect();
        assert!(!echoes.contains(&(MqttVersion::V311, Echo::Property)));
        for expected in [Echo::Body, Echo::Property, Echo::None] {
            assert!(echoes.contains(&(MqttVersion::V5, expected)));
        }
        let config = Config::parse_from(["x", "--protocol", "v311", "--echo", "property"]);
        assert_eq!(config.echo_of(0), Echo::Body);
    }
}

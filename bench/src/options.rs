//! What both benches can be told.

use backbone::service::parse_duration;
use clap::Args;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// What both benches can be told.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Options {
    /// How many gateways are emulated
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) gateways: u32,

    /// How many labels are emulated; more than are in flight
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) labels: u32,

    /// Seed of the emulated floor plan
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// How often everything is measured, on the same servers with new processes of every role
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,

    /// Run this shell command after each round, on the same servers and while no role runs; it gets AMQP_URL,
    /// REDIS_URL, MQTT_URL, MONGODB_URL and the servers' RABBITMQ_PID, REDIS_PID, MOSQUITTO_PID, MONGODB_PID
    #[arg(long)]
    pub(crate) between: Option<String>,

    /// A level that takes longer is cut short, and the run fails
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    #[serde(skip)]
    pub(crate) level_limit: Duration,

    /// Also write everything to this file
    #[arg(long)]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,

    /// Keep the roles' logs in this folder
    #[arg(long)]
    #[serde(skip)]
    pub(crate) log_dir: Option<PathBuf>,
}

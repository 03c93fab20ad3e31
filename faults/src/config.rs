//! How a run is set up.

use std::{path::PathBuf, time::Duration};

/// Kills, freezes, restarts and cuts off everything in turn and in pairs, under load, and checks that every promise holds.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Seed of the plan of faults and of what backends ask for
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// For how long faults go on, in minutes
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,

    /// At most so many faults, pairs counting once
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub faults: usize,

    /// Only faults whose name contains this, such as RabbitMQ, or "killed"
    #[arg(long)]
    pub only: Option<String>,

    /// Pairs of faults from the beginning, instead of each fault by itself first
    #[arg(long)]
    pub pairs: bool,

    /// How many labels are emulated
    #[arg(long, default_value_t = 20_000)]
    pub labels: u32,

    /// How many gateways are emulated
    #[arg(long, default_value_t = 10)]
    pub gateways: u32,

    /// How many label updates are asked for per second, by all backends together
    #[arg(long, default_value_t = 200)]
    pub rate: u32,

    /// The folder for faults-SEED.md and faults-SEED.json
    #[arg(long, default_value = "target/faults")]
    pub out: PathBuf,

    /// Keep the logs of all roles in this folder
    #[arg(long)]
    pub log_dir: Option<PathBuf>,
}

impl Config {
    /// For how long faults go on.
    pub(crate) fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or(Duration::MAX)
    }
}

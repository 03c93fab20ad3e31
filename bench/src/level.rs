//! What was measured at one level of load.

use crate::{
    closed_loop::Tally,
    processes::{self, Watched},
};
use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, time::Instant};

/// What was measured at one level of load.
#[derive(Debug, Serialize)]
pub(crate) struct Level {
    /// Of which round, from 1.
    pub(crate) round: u32,
    /// How much was in flight.
    pub(crate) in_flight: u32,
    /// How much went well: each has a latency.
    pub(crate) done: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// How much went well in a second.
    pub(crate) per_second: f64,
    /// How long each took.
    pub(crate) latency: Latency,
    /// What went wrong, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What each process used.
    pub(crate) processes: Vec<Used>,
}

/// Latencies in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// The median.
    pub(crate) p50_ms: f64,
    /// 99 of 100 were not longer.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 were not longer.
    pub(crate) p999_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

/// What a process used at a level.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    /// Which process.
    pub(crate) process: &'static str,
    /// CPU time for each that went well, of all threads, in user mode and in the kernel.
    pub(crate) cpu_us: f64,
    /// Memory resident at the end.
    pub(crate) rss_mib: f64,
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Self {
        let quantile = |q| micros.value_at_quantile(q) as f64 / 1e3;
        Self {
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: micros.max() as f64 / 1e3,
        }
    }
}

impl Level {
    /// Measures what these processes use, and how long it takes, while `load` runs.
    pub(crate) async fn measure(
        round: u32,
        in_flight: u32,
        watched: &[Watched],
        load: impl Future<Output = Result<Tally>>,
    ) -> Result<Self> {
        let before = processes::usage(watched)?;
        let began = Instant::now();
        let tally = load.await?;
        let seconds = began.elapsed().as_secs_f64();
        let after = processes::usage(watched)?;
        let done = tally.latency.len();
        let used = |((process, before), after): ((&Watched, processes::Usage), processes::Usage)| Used {
            process: process.name,
            // A child that has ended takes its past with it.
            cpu_us: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / done.max(1) as f64,
            rss_mib: after.rss_bytes as f64 / f64::from(1 << 20),
        };
        Ok(Self {
            round,
            in_flight,
            done,
            seconds,
            per_second: done as f64 / seconds,
            latency: Latency::of(&tally.latency),
            errors: tally.errors,
            processes: watched.iter().zip(before).zip(after).map(used).collect(),
        })
    }
}

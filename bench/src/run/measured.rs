//! What a run brings, as it is kept.

use crate::report::Machine;
use anyhow::Result;
use hdrhistogram::Histogram;
use protocol::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Classes of a histogram that is kept begin with this, in µs, and grow by this.
const FIRST_CLASS_US: u64 = 100;
const CLASS_GROWTH: f64 = 1.15;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// The backbone: requests and replies over queues
    Queue,
    /// The HTTP-RPC design: requests held open
    Http,
    /// The backbone in one process, without servers
    Standalone,
}

impl Target {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Http => "http",
            Self::Standalone => "standalone",
        }
    }
}

/// What a run was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Parameters {
    /// Runs of one name compare.
    pub(crate) name: String,
    pub(crate) target: Target,
    /// How many of each router.
    pub(crate) replicas: u32,
    /// What each router may use of a core, in thousandths.
    pub(crate) cpu_millicores: Option<u32>,
    /// Closed loop: how many tasks are in flight.
    pub(crate) in_flight: Option<u32>,
    /// Open loop: how many tasks per second.
    pub(crate) rate: Option<u32>,
    /// How many tasks, of two labels each.
    pub(crate) tasks: u32,
    pub(crate) workers: u16,
    pub(crate) gateways: u32,
    pub(crate) labels: u32,
    /// Of an RPC, and of a task.
    pub(crate) timeout_ms: u64,
    /// What the thesis says of it.
    pub(crate) published: Option<Published>,
}

/// What was published of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) mean_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) tasks: u32,
}

impl Parameters {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) at: Timestamp,
    pub(crate) machine: Machine,
    /// The source it was built from, as far as the working folder tells; with `-dirty` where that has changes.
    pub(crate) commit: Option<String>,
    /// `release` or `debug`.
    pub(crate) build: String,
    pub(crate) parameters: Parameters,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From the first task to the last outcome.
    pub(crate) seconds: f64,
    pub(crate) tasks_per_second: f64,
    /// RPCs that ended, whether by a reply or by a timeout.
    pub(crate) rpcs: u64,
    pub(crate) rpcs_per_second: f64,
    /// Commands and answers that the MQTT broker took, per second.
    pub(crate) mqtt_messages_per_second: f64,
    /// From the task's confirm (closed loop) or from when it should have been sent (open loop) to each label's result; on
    /// `standalone` from the task's delivery to each label's outcome.
    pub(crate) end_to_end: Latencies,
    /// From an RPC's request to its reply, or until it timed out, as the worker saw it.
    pub(crate) communication: Latencies,
    /// How labels ended.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// How RPCs ended.
    pub(crate) rpc_ends: BTreeMap<String, u64>,
    /// RPCs without a reply in time.
    pub(crate) timeouts: u64,
    /// Answers that came to a replica that did not ask.
    pub(crate) misroutes: u64,
    /// How long limited processes were kept from running, in all.
    pub(crate) throttled_seconds: f64,
    /// What went wrong with tasks, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What processes used, those of one name together.
    pub(crate) processes: Vec<Used>,
}

/// What processes of one name used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) process: String,
    pub(crate) count: u32,
    /// CPU time per RPC, of all threads, in user mode and in the kernel.
    pub(crate) cpu_us_per_rpc: f64,
    /// Memory resident at the end, of all of them.
    pub(crate) rss_mib: f64,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// The histogram: each class by its upper end, and how many are in it; empty ones are left out.
    pub(crate) classes: Vec<(f64, u64)>,
}

impl Latencies {
    pub(crate) fn of(micros: &Histogram<u64>) -> Self {
        let quantile = |q| micros.value_at_quantile(q) as f64 / 1e3;
        let classes = micros.iter_log(FIRST_CLASS_US, CLASS_GROWTH).map(|class| {
            let upper_ms = (class.value_iterated_to() + 1) as f64 / 1e3;
            (upper_ms, class.count_since_last_iteration())
        });
        Self {
            count: micros.len(),
            mean_ms: micros.mean() / 1e3,
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: micros.max() as f64 / 1e3,
            classes: classes.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Run {
    pub(crate) fn new(parameters: Parameters, commit: Option<String>, measured: Measured) -> Result<Self> {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let (at, machine) = (backbone::service::now(), Machine::this());
        Ok(Self { at, machine, commit, build: build.to_owned(), parameters, measured })
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Measured { communication, end_to_end, timeouts, misroutes, rpcs_per_second, .. } = &self.measured;
        format!(
            "{}: {rpcs_per_second:.0} RPC/s; communication p50 {:.1} ms, p99 {:.1} ms, mean {:.1} ms; end to end p50 {:.1} \
             ms, p99 {:.1} ms; {timeouts} timeouts, {misroutes} misroutes, {} errors",
            self.parameters.name,
            communication.p50_ms,
            communication.p99_ms,
            communication.mean_ms,
            end_to_end.p50_ms,
            end_to_end.p99_ms,
            self.measured.errors.values().sum::<u64>(),
        )
    }

    /// CPU time per RPC of what routes: not servers, workers, gateways or the bench itself.
    pub(crate) fn router_cpu_us(&self) -> f64 {
        let routers = ["fwd-router", "bck-router", "http-router", "standalone"];
        let of = |used: &&Used| routers.contains(&used.process.as_str());
        self.measured.processes.iter().filter(of).map(|used| used.cpu_us_per_rpc).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_one_class() {
        let mut micros = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).unwrap();
        for value in [50, 150, 1_000, 1_001, 60_000_000] {
            micros.record(value).unwrap();
        }
        let latencies = Latencies::of(&micros);
        assert_eq!(latencies.classes.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert!(latencies.classes.last().unwrap().0 >= 60_000.0, "{:?}", latencies.classes);
        assert!((latencies.max_ms - 60_000.0).abs() < 60.0 && latencies.p50_ms < 1.01, "{latencies:?}");
    }
}

//! What the store API counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Status {
    status: u16,
}

/// All metrics of the store API.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<Status, Counter>,
    request_seconds: Histogram,
    pub(crate) tasks: Counter,
    pub(crate) followers: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            tasks: Counter::default(),
            followers: Gauge::default(),
        };
        registry.register("requests", "Requests answered, by status", metrics.requests.clone());
        let help = "Time from a request's head to the head of its answer";
        registry.register("request_seconds", help, metrics.request_seconds.clone());
        registry.register("tasks", "Tasks confirmed by RabbitMQ", metrics.tasks.clone());
        registry.register("followers", "Batches that are followed live", metrics.followers.clone());
        metrics
    }

    pub(crate) fn count_request(&self, status: u16, took: Duration) {
        self.requests.get_or_create(&Status { status }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }
}

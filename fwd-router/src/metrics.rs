//! What a forward router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// How a request ended here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct End {
    end: &'static str,
}

/// All metrics of a forward router.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<End, Counter>,
    request_seconds: Histogram,
    pub(crate) redelivered: Counter,
    pub(crate) published_again: Counter,
    pub(crate) registry_errors: Counter,
    pub(crate) askers_gone: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0]),
            redelivered: Counter::default(),
            published_again: Counter::default(),
            registry_errors: Counter::default(),
            askers_gone: Counter::default(),
        };
        let mut add = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        add("redelivered_requests", "Requests that RabbitMQ delivered again", &metrics.redelivered);
        add("republished_commands", "Commands published again after a lost connection", &metrics.published_again);
        add("registry_errors", "Round trips to Redis that failed", &metrics.registry_errors);
        add("askers_gone", "Replies whose reply queue was gone", &metrics.askers_gone);
        let help = "Time from a request's delivery until the MQTT broker has its command, or it is answered";
        registry.register("request_seconds", help, metrics.request_seconds.clone());
        registry.register("requests", "RPC requests taken from RabbitMQ, by how they ended", metrics.requests.clone());
        metrics
    }

    pub(crate) fn count(&self, end: &'static str, took: Duration) {
        self.requests.get_or_create(&End { end }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }
}

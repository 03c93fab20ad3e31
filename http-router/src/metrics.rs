//! What an HTTP router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct End {
    end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// All metrics of an HTTP router.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<End, Counter>,
    request_seconds: Histogram,
    pub(crate) requests_held: Gauge,
    pub(crate) answers: Counter,
    pub(crate) replies: Counter,
    pub(crate) misroutes: Counter,
    dropped_answers: Family<Reason, Counter>,
    pub(crate) published_again: Counter,
    pub(crate) registry_errors: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0]),
            requests_held: Gauge::default(),
            answers: Counter::default(),
            replies: Counter::default(),
            misroutes: Counter::default(),
            dropped_answers: Family::default(),
            published_again: Counter::default(),
            registry_errors: Counter::default(),
        };
        let mut add = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        add("answers", "Answers of gateways taken from MQTT", &metrics.answers);
        add("replies", "Requests answered with what their gateway answered", &metrics.replies);
        add("misroutes", "Answers to requests that another replica holds open, which nobody hears", &metrics.misroutes);
        add("republished_commands", "Commands published again after a lost connection", &metrics.published_again);
        add("registry_errors", "Round trips to Redis that failed", &metrics.registry_errors);
        registry.register("requests", "RPC requests taken over HTTP, by how they ended", metrics.requests.clone());
        let help = "Time from a request's arrival until it is answered";
        registry.register("request_seconds", help, metrics.request_seconds.clone());
        registry.register("requests_held", "Requests that are held open", metrics.requests_held.clone());
        registry.register("dropped_answers", "Answers credited to nobody", metrics.dropped_answers.clone());
        metrics
    }

    pub(crate) fn count(&self, end: &'static str, took: Duration) {
        self.requests.get_or_create(&End { end }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn drop_answer(&self, reason: &'static str) {
        self.dropped_answers.get_or_create(&Reason { reason }).inc();
    }
}

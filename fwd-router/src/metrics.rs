//! What a forward router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// How a request ended here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct End {
    end: &'static str,
}

/// All metrics of a forward router.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    requests: Family<End, Counter>,
    pub(crate) redelivered: Counter,
    pub(crate) published_again: Counter,
    pub(crate) registry_errors: Counter,
    pub(crate) askers_gone: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut add = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        add("redelivered_requests", "Requests that RabbitMQ delivered again", &metrics.redelivered);
        add("republished_commands", "Commands published again after a lost connection", &metrics.published_again);
        add("registry_errors", "Round trips to Redis that failed", &metrics.registry_errors);
        add("askers_gone", "Replies whose reply queue was gone", &metrics.askers_gone);
        registry.register("requests", "RPC requests taken from RabbitMQ, by how they ended", metrics.requests.clone());
        metrics
    }

    pub(crate) fn count(&self, end: &'static str) {
        self.requests.get_or_create(&End { end }).inc();
    }
}

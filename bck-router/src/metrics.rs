//! What a back router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// All metrics of a back router.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) answers: Counter,
    pub(crate) replies: Counter,
    dropped_answers: Family<Reason, Counter>,
    pub(crate) repairs: Counter,
    pub(crate) registry_errors: Counter,
    pub(crate) reports: Counter,
    pub(crate) sightings: Counter,
    dropped_sightings: Family<Reason, Counter>,
    pub(crate) route_writes: Counter,
    pub(crate) labels_tracked: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut add = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        add("answers", "Answers of gateways taken from MQTT", &metrics.answers);
        add("replies", "Replies confirmed by RabbitMQ on their way to whoever asked", &metrics.replies);
        add("repairs", "Repairs asked for because a label may have gone back to an older version", &metrics.repairs);
        add("registry_errors", "Round trips to Redis that failed", &metrics.registry_errors);
        add("reports", "Reports of gateways taken from MQTT", &metrics.reports);
        add("sightings", "Sightings of labels in these reports", &metrics.sightings);
        add("route_writes", "Route table entries written to Redis", &metrics.route_writes);
        registry.register("dropped_answers", "Answers credited to nobody", metrics.dropped_answers.clone());
        registry.register("dropped_sightings", "Sightings left out", metrics.dropped_sightings.clone());
        registry.register("tracked_sightings", "Pairs of label and gateway tracked", metrics.labels_tracked.clone());
        metrics
    }

    pub(crate) fn drop_answer(&self, reason: &'static str) {
        self.drop_answers(reason, 1);
    }

    pub(crate) fn drop_answers(&self, reason: &'static str, count: usize) {
        if count > 0 {
            self.dropped_answers.get_or_create(&Reason { reason }).inc_by(count as u64);
        }
    }

    pub(crate) fn drop_sightings(&self, reason: &'static str, count: usize) {
        self.dropped_sightings.get_or_create(&Reason { reason }).inc_by(count as u64);
    }
}

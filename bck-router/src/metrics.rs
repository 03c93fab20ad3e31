//! What a back router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// All metrics of a back router.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) answers: Counter,
    pub(crate) replies: Counter,
    answer_seconds: Histogram,
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
        let metrics = Self {
            answers: Counter::default(),
            replies: Counter::default(),
            answer_seconds: Histogram::new([0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0]),
            dropped_answers: Family::default(),
            repairs: Counter::default(),
            registry_errors: Counter::default(),
            reports: Counter::default(),
            sightings: Counter::default(),
            dropped_sightings: Family::default(),
            route_writes: Counter::default(),
            labels_tracked: Gauge::default(),
        };
        let mut add = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        add("answers", "Answers of gateways taken from MQTT", &metrics.answers);
        add("replies", "Replies confirmed by RabbitMQ on their way to whoever asked", &metrics.replies);
        add("repairs", "Repairs asked for because a label may have gone back to an older version", &metrics.repairs);
        add("registry_errors", "Round trips to Redis that failed", &metrics.registry_errors);
        add("reports", "Reports of gateways taken from MQTT", &metrics.reports);
        add("sightings", "Sightings of labels in these reports", &metrics.sightings);
        add("route_writes", "Route table entries written to Redis", &metrics.route_writes);
        let help = "Time from an answer's arrival until RabbitMQ has its reply";
        registry.register("answer_seconds", help, metrics.answer_seconds.clone());
        registry.register("dropped_answers", "Answers credited to nobody", metrics.dropped_answers.clone());
        registry.register("dropped_sightings", "Sightings left out", metrics.dropped_sightings.clone());
        registry.register("tracked_sightings", "Pairs of label and gateway tracked", metrics.labels_tracked.clone());
        metrics
    }

    /// An answer that came at this time is done with: RabbitMQ has its reply, or nobody waits for it.
    pub(crate) fn answered(&self, came: Instant) {
        self.answer_seconds.observe(came.elapsed().as_secs_f64());
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

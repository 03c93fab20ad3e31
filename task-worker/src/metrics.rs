//! What a task worker counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use protocol::{Outcome, WaitFor};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct End {
    end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    outcome: &'static str,
}

/// All metrics of a task worker.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    tasks: Family<End, Counter>,
    tasks_parked: Family<Reason, Counter>,
    task_seconds: Histogram,
    outcomes: Family<OutcomeLabel, Counter>,
    rpcs: Family<End, Counter>,
    rpc_seconds: Histogram,
    tasks_in_hand: Gauge,
    rpcs_in_flight: Gauge,
    pub(crate) results: Counter,
    pub(crate) repairs: Counter,
    pub(crate) left_behind: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            tasks: Family::default(),
            tasks_parked: Family::default(),
            task_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0]),
            outcomes: Family::default(),
            rpcs: Family::default(),
            rpc_seconds: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
            ]),
            tasks_in_hand: Gauge::default(),
            rpcs_in_flight: Gauge::default(),
            results: Counter::default(),
            repairs: Counter::default(),
            left_behind: Counter::default(),
        };
        registry.register("tasks", "Tasks settled, by how", metrics.tasks.clone());
        let help = "Tasks put off for their labels that wait, by what for";
        registry.register("tasks_parked", help, metrics.tasks_parked.clone());
        let help = "Time from a task's delivery until it is settled";
        registry.register("task_seconds", help, metrics.task_seconds.clone());
        registry.register("outcomes", "Outcomes of labels recorded by this worker", metrics.outcomes.clone());
        registry.register("rpcs", "RPCs made, by how they ended", metrics.rpcs.clone());
        let help = "Time from an RPC's request to its reply or timeout";
        registry.register("rpc_seconds", help, metrics.rpc_seconds.clone());
        registry.register("tasks_in_hand", "Tasks that are worked on", metrics.tasks_in_hand.clone());
        registry.register("rpcs_in_flight", "RPCs that wait for their reply", metrics.rpcs_in_flight.clone());
        registry.register("results", "Results confirmed by RabbitMQ", metrics.results.clone());
        registry.register("repairs", "Repairs asked for by this worker", metrics.repairs.clone());
        let help = "Labels that were left behind, are heard again, and were sent their desired version";
        registry.register("labels_sent_again", help, metrics.left_behind.clone());
        metrics
    }

    /// Counts a task as worked on until the guard is dropped, however that comes about.
    pub(crate) fn task_in_hand(&self) -> Counted<'_> {
        Counted::new(&self.tasks_in_hand)
    }

    /// Counts an RPC as in flight until the guard is dropped, however that comes about.
    pub(crate) fn rpc_in_flight(&self) -> Counted<'_> {
        Counted::new(&self.rpcs_in_flight)
    }

    pub(crate) fn count_task(&self, end: &'static str, took: Duration) {
        self.tasks.get_or_create(&End { end }).inc();
        self.task_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn count_parked(&self, what: WaitFor) {
        self.tasks_parked.get_or_create(&Reason { reason: what.as_str() }).inc();
    }

    pub(crate) fn count_outcome(&self, outcome: Outcome) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    pub(crate) fn count_rpc(&self, end: &'static str, took: Duration) {
        self.rpcs.get_or_create(&End { end }).inc();
        self.rpc_seconds.observe(took.as_secs_f64());
    }
}

/// One more in a gauge, as long as it lives.
pub(crate) struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

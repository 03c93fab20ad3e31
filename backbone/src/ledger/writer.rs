//! The ledger for roles that drive labels: batched, and patient while the server is away.

use super::{
    BatchKey, LabelRecord, LabelState, Ledger, LedgerError, Opening, Settled, Settlement,
    health::Health,
    lane::{Lane, LaneMetrics, Operation},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};
use protocol::{BatchState, LabelMac};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A [`Ledger`] that is shared by many tasks: what they ask while a round trip is under way goes together in the next
/// one, so that a round trip costs little per label under load and nothing waits when idle.
///
/// While the server is away, calls wait. They fail only with what can't be done at all ([`LedgerError::Refused`]), or
/// where the server is away when `stop` has been cancelled. Dropping a call harms no other. A clone is cheap.
#[derive(Debug, Clone)]
pub struct LedgerWriter {
    open: Lane<Open>,
    settle: Lane<Settle>,
    look: Lane<Look>,
    batches: Lane<Batches>,
    health: Health,
    metrics: Metrics,
}

impl LedgerWriter {
    /// Starts the tasks that make the round trips. They end when the last handle is dropped, so that what is in
    /// flight can be finished after `stop`; from then on nothing is tried twice. The task that prepares the ledger
    /// and watches over it ends with `stop`.
    pub fn start(ledger: &Ledger, tracker: &TaskTracker, stop: &CancellationToken) -> Self {
        let (health, metrics) = (Health::new(), Metrics::default());
        let lane = Start { ledger, tracker, stop, health: &health, metrics: &metrics };
        let (open, settle, look) = (lane.start("open"), lane.start("settle"), lane.start("look"));
        let batches = lane.start("batches");
        tracker.spawn(health.clone().watch(ledger.clone(), stop.clone()));
        Self { open, settle, look, batches, health, metrics }
    }

    /// As [`Ledger::open`].
    pub async fn open(&self, openings: Vec<Opening>) -> Result<Vec<LabelState>, LedgerError> {
        self.open.ask(openings).await
    }

    /// As [`Ledger::settle`].
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, LedgerError> {
        self.settle.ask(settlements).await
    }

    /// What is known of labels, in their order; `None` of one that the ledger has never heard of.
    pub async fn look(&self, labels: Vec<LabelMac>) -> Result<Vec<Option<LabelRecord>>, LedgerError> {
        self.look.ask(labels).await
    }

    /// Whether the tasks of batches are carried out, in their order. What is asked often is asked of a
    /// [`BatchWatch`](super::BatchWatch).
    pub(super) async fn batch_states(&self, keys: Vec<BatchKey>) -> Result<Vec<BatchState>, LedgerError> {
        self.batches.ask(keys).await
    }

    /// Whether the server answered the last time that it was asked.
    pub fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Waits until [`is_up`](Self::is_up) becomes this.
    pub async fn wait_until(&self, up: bool) {
        self.health.wait_until(up).await;
    }

    /// Registers the metrics of the writer: `ledger_batch_labels` and `ledger_round_trip_seconds` by operation,
    /// `ledger_failures_total`, `ledger_up`.
    pub fn register(&self, registry: &mut Registry) {
        let Metrics { batch_labels, round_trip, failures } = self.metrics.clone();
        registry.register("ledger_batch_labels", "Labels in one round trip to the ledger", batch_labels);
        registry.register("ledger_round_trip_seconds", "Time of one batch in the ledger", round_trip);
        registry.register("ledger_failures", "Attempts of batches that the ledger did not carry out", failures);
        registry.register_collector(Box::new(Up(self.health.clone())));
    }
}

#[derive(Debug)]
struct Open;
#[derive(Debug)]
struct Settle;
#[derive(Debug)]
struct Look;
#[derive(Debug)]
struct Batches;

impl Operation for Open {
    type Item = Opening;
    type Answer = LabelState;
    const DOING: &'static str = "opening labels";

    async fn execute(ledger: &Ledger, items: &[Opening]) -> Result<Vec<LabelState>, LedgerError> {
        ledger.open(items).await
    }
}

impl Operation for Settle {
    type Item = Settlement;
    type Answer = Settled;
    const DOING: &'static str = "settling labels";

    async fn execute(ledger: &Ledger, items: &[Settlement]) -> Result<Vec<Settled>, LedgerError> {
        ledger.settle(items).await
    }
}

impl Operation for Look {
    type Item = LabelMac;
    type Answer = Option<LabelRecord>;
    const DOING: &'static str = "looking at labels";

    async fn execute(ledger: &Ledger, items: &[LabelMac]) -> Result<Vec<Option<LabelRecord>>, LedgerError> {
        let known = ledger.desired_of(items).await?;
        Ok(items.iter().map(|label| known.get(label).cloned()).collect())
    }
}

impl Operation for Batches {
    type Item = BatchKey;
    type Answer = BatchState;
    const DOING: &'static str = "looking at batches";

    async fn execute(ledger: &Ledger, items: &[BatchKey]) -> Result<Vec<BatchState>, LedgerError> {
        let known = ledger.controls_of(items).await?;
        Ok(items.iter().map(|key| known.get(key).map(|control| control.state).unwrap_or_default()).collect())
    }
}

struct Start<'a> {
    ledger: &'a Ledger,
    tracker: &'a TaskTracker,
    stop: &'a CancellationToken,
    health: &'a Health,
    metrics: &'a Metrics,
}

impl Start<'_> {
    fn start<O: Operation>(&self, operation: &'static str) -> Lane<O> {
        let metrics = self.metrics.of(operation);
        let (lane, driver) = Lane::new(self.ledger.clone(), self.health.clone(), self.stop.clone(), metrics);
        self.tracker.spawn(driver.run());
        lane
    }
}

type ByOperation = [(&'static str, &'static str); 1];

#[derive(Debug, Clone)]
struct Metrics {
    batch_labels: Family<ByOperation, Histogram>,
    round_trip: Family<ByOperation, Histogram>,
    failures: Family<ByOperation, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let sizes = || Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
        let times = || Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0]);
        Self {
            batch_labels: Family::new_with_constructor(sizes as fn() -> Histogram),
            round_trip: Family::new_with_constructor(times as fn() -> Histogram),
            failures: Family::default(),
        }
    }
}

impl Metrics {
    fn of(&self, operation: &'static str) -> LaneMetrics {
        let by_operation = [("operation", operation)];
        LaneMetrics {
            batch_items: self.batch_labels.get_or_create(&by_operation).clone(),
            round_trip_seconds: self.round_trip.get_or_create(&by_operation).clone(),
            failures: self.failures.get_or_create(&by_operation).clone(),
        }
    }
}

/// Whether the ledger answers, read when it is asked for.
#[derive(Debug)]
struct Up(Health);

impl Collector for Up {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let up = ConstGauge::new(i64::from(self.0.is_up()));
        let encoder = encoder.encode_descriptor("ledger_up", "Whether the ledger answers", None, up.metric_type())?;
        up.encode(encoder)
    }
}

//! How long RPCs took, for those who look at it later. It never delays a price: what can't be stored soon is dropped
//! and counted.

use super::{Ledger, LedgerError, health::chain};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use protocol::{GatewayMac, LabelMac, Timestamp};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// So many measurements wait at most.
const QUEUE: usize = 10_000;
/// So many go in one insert.
const MAX_BATCH: usize = 1_000;
/// A measurement waits so long for others to go with.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long one RPC took.
#[derive(Debug, Clone)]
pub struct RpcLatency {
    /// When it ended.
    pub at: Timestamp,
    /// The label.
    pub label: LabelMac,
    /// The gateway, where one was asked.
    pub gateway: Option<GatewayMac>,
    /// How it ended.
    pub outcome: &'static str,
    /// From the request to the reply, as the worker saw it.
    pub latency: Duration,
    /// The worker that asked.
    pub worker: Uuid,
}

/// A handle to record measurements by; a clone is cheap.
#[derive(Debug, Clone)]
pub struct Telemetry {
    queue: mpsc::Sender<RpcLatency>,
    stored: Counter,
    dropped: Counter,
}

impl Telemetry {
    /// Starts the task that stores. It stores what it has, and ends, when the last handle is dropped.
    pub fn start(ledger: &Ledger, tracker: &TaskTracker) -> Self {
        let (queue, measurements) = mpsc::channel(QUEUE);
        let (stored, dropped) = (Counter::default(), Counter::default());
        let store = Store { ledger: ledger.clone(), measurements, stored: stored.clone(), dropped: dropped.clone() };
        tracker.spawn(store.run());
        Self { queue, stored, dropped }
    }

    /// Takes a measurement, or drops it when too many wait. Never waits.
    pub fn record(&self, latency: RpcLatency) {
        if self.queue.try_send(latency).is_err() {
            self.dropped.inc();
        }
    }

    /// How many measurements were stored.
    pub fn stored(&self) -> u64 {
        self.stored.get()
    }

    /// How many measurements were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Registers `telemetry_stored_total` and `telemetry_dropped_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("telemetry_stored", "RPC latencies that were stored", self.stored.clone());
        let help = "RPC latencies that were dropped because they could not be stored in time";
        registry.register("telemetry_dropped", help, self.dropped.clone());
    }
}

struct Store {
    ledger: Ledger,
    measurements: mpsc::Receiver<RpcLatency>,
    stored: Counter,
    dropped: Counter,
}

impl Store {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut failing = false;
        while self.collect(&mut batch).await {
            let stored = self.ledger.insert_latencies(&batch).await;
            let counter = if stored.is_ok() { &self.stored } else { &self.dropped };
            counter.inc_by(batch.len() as u64);
            log_change(&mut failing, stored);
            batch.clear();
        }
    }

    /// Waits for one measurement, then for more, but not long. False when there is none and never will be.
    async fn collect(&mut self, batch: &mut Vec<RpcLatency>) -> bool {
        if self.measurements.recv_many(batch, MAX_BATCH).await == 0 {
            return false;
        }
        let more = async {
            while batch.len() < MAX_BATCH {
                if self.measurements.recv_many(batch, MAX_BATCH - batch.len()).await == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(FLUSH_EVERY, more).await;
        true
    }
}

fn log_change(failing: &mut bool, stored: Result<(), LedgerError>) {
    match stored {
        Err(error) if !*failing => tracing::warn!(error = chain(&error), "RPC latencies are dropped"),
        Ok(()) if *failing => tracing::info!("RPC latencies are stored again"),
        _ => return,
    }
    *failing = !*failing;
}

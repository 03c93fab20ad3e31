//! What the operator's page asks of the ledger: whole stores, counted where the records are.
//!
//! Nothing here is on the path of a price. Each question is bounded in what it answers, and in most cases in what it
//! looks at; none is asked more often than a page that is open needs it.

use super::{Backend, Ledger, LedgerError};
use protocol::{BatchId, GatewayMac, LabelMac, Outcome, Price, Sku, Store, Timestamp};
use std::time::Duration;

/// How the labels of a store stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// All labels that are in the store.
    pub labels: u64,
    /// Those that nothing was ever desired of.
    pub blank: u64,
    /// Those that don't show what they should, and whose task has not ended.
    pub in_progress: u64,
    /// The others that don't show what they should, by how their task ended; the most frequent first.
    pub causes: Vec<Cause>,
}

/// Why labels don't show what they should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// How their tasks ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<String>,
    /// How many labels.
    pub labels: u64,
    /// Since when the first of them has been out of date.
    pub since: Timestamp,
}

/// So many labels ended so in the span of time that begins there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedIn {
    /// When the span begins: a multiple of its length since the epoch.
    pub from: Timestamp,
    /// How they ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<String>,
    /// How many.
    pub labels: u64,
}

/// A label that does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The label.
    pub label: LabelMac,
    /// Its task has ended; else it is on its way.
    pub has_ended: bool,
    /// Why it ended so.
    pub reason: Option<String>,
}

/// A product as it stands in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its number.
    pub sku: Sku,
    /// Its name on one of its labels.
    pub name: Option<String>,
    /// Its price on the same.
    pub price: Option<Price>,
    /// The currency of that.
    pub currency: Option<protocol::Currency>,
    /// How many labels stand for it.
    pub labels: u64,
    /// How many of them don't show what they should.
    pub out_of_date: u64,
}

/// A batch of a store, by name and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSeen {
    /// The batch.
    pub batch: BatchId,
    /// When its first request over HTTP came; else when a label of it ended last.
    pub at: Timestamp,
}

/// How long an RPC took and how it ended, as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcSeen {
    /// The gateway that was asked; `None` where none was, or none answered.
    pub gateway: Option<GatewayMac>,
    /// `ack`, `nack`, `timeout` and so on.
    pub outcome: String,
    /// From the request to the reply.
    pub latency_ms: f64,
}

/// Something that a person, or a program with a token, did by the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionTaken {
    /// When.
    pub at: Timestamp,
    /// The name of the token.
    pub who: String,
    /// Where; `None`: it concerned no single store.
    pub store: Option<Store>,
    /// What was done, in one word.
    pub what: String,
    /// What to: a label, a batch, a task.
    pub target: String,
    /// What else is to be known about it.
    pub detail: String,
}

/// The spans of [`Ledger::ended_by`] in milliseconds.
pub(super) fn span_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).max(1)
}

macro_rules! ask {
    ($self:ident, $backend:ident => $call:expr) => {
        match &$self.0 {
            Backend::Mongo($backend) => $call.await,
            Backend::Sqlite($backend) => $call.await,
        }
    };
}

impl Ledger {
    /// The stores that have labels, in ascending order.
    pub async fn stores(&self) -> Result<Vec<Store>, LedgerError> {
        ask!(self, ledger => ledger.stores())
    }

    /// How the labels of a store stand.
    pub async fn standing(&self, store: &Store) -> Result<Standing, LedgerError> {
        ask!(self, ledger => ledger.standing(store))
    }

    /// How many labels ended how in a store since then, in spans of time; spans in which none did are missing.
    pub async fn ended_by(&self, store: &Store, since: Timestamp, span: Duration) -> Result<Vec<EndedIn>, LedgerError> {
        ask!(self, ledger => ledger.ended_by(store, since, span))
    }

    /// How long the labels took that were shown last since then, in milliseconds from their task's first delivery, at
    /// most `limit` of them.
    pub async fn latest_latencies(&self, store: &Store, since: Timestamp, limit: u32) -> Result<Vec<u64>, LedgerError> {
        ask!(self, ledger => ledger.latest_latencies(store, since, limit))
    }

    /// The batches of a store that were enqueued, or ended something, last: the newest first.
    pub async fn batches(&self, store: &Store, limit: u32) -> Result<Vec<BatchSeen>, LedgerError> {
        ask!(self, ledger => ledger.batches(store, limit))
    }

    /// The labels of a store that don't show what they should, of all batches or of this one, in ascending order.
    pub async fn late(&self, store: &Store, batch: Option<&BatchId>, limit: u32) -> Result<Vec<Late>, LedgerError> {
        ask!(self, ledger => ledger.late(store, batch, limit))
    }

    /// The products of a store behind `after`, in ascending order, whose number or name, or one of whose labels' MACs,
    /// contains this text.
    pub async fn products(
        &self,
        store: &Store,
        text: &str,
        after: Option<&Sku>,
        limit: u32,
    ) -> Result<Vec<Product>, LedgerError> {
        ask!(self, ledger => ledger.products(store, text, after, limit))
    }

    /// All labels of a store.
    pub async fn labels_in(&self, store: &Store) -> Result<Vec<LabelMac>, LedgerError> {
        ask!(self, ledger => ledger.labels_in(store))
    }

    /// Takes these labels from their products; answers how many had one. They stay in their stores.
    pub async fn unbind(&self, labels: &[LabelMac]) -> Result<u64, LedgerError> {
        ask!(self, ledger => ledger.unbind(labels))
    }

    /// The RPCs that were measured last since then, of all stores, at most `limit`: for whoever measures the whole.
    pub async fn latest_rpcs(&self, since: Timestamp, limit: u32) -> Result<Vec<RpcSeen>, LedgerError> {
        ask!(self, ledger => ledger.latest_rpcs(since, limit))
    }

    /// Records what somebody did; nothing of it is ever changed.
    pub async fn record_action(&self, action: &ActionTaken) -> Result<(), LedgerError> {
        ask!(self, ledger => ledger.record_action(action))
    }

    /// What was done last, newest first: in this store; without one, what concerned no single store.
    pub async fn actions(&self, store: Option<&Store>, limit: u32) -> Result<Vec<ActionTaken>, LedgerError> {
        ask!(self, ledger => ledger.actions(store, limit))
    }
}

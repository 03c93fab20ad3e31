//! What those who look at the ledger ask of it: batches, the audit of a label, and which labels are out of date.

use super::{Backend, Desired, Ledger, LedgerError, Shown};
use protocol::{BatchId, Fields, LabelMac, Outcome, ResultMessage, Sku, Store, Timestamp};
use std::collections::BTreeMap;

/// Tasks that were enqueued with one request over HTTP. What is recorded first under a key counts: whoever repeats the
/// request is told of it, and gives his tasks the same versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// What makes a repeat of the request known, unique in its store.
    pub key: String,
    /// The store.
    pub store: Store,
    /// The batch.
    pub batch: BatchId,
    /// Tells whether a repeat asks for the same: a hash of the request's content.
    pub digest: String,
    /// When it was first asked for; in milliseconds, the version of those of its tasks that have none.
    pub at: Timestamp,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many labels they had by the bindings at that time.
    pub labels: u64,
    /// The broker has confirmed all of them.
    pub confirmed: bool,
}

/// How far a batch is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many labels have ended, by outcome; outcomes that none has are missing.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// When the latest of them ended.
    pub last: Option<Timestamp>,
}

/// An outcome as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The outcome.
    pub result: ResultMessage,
    /// What the gateway acknowledged, where it acknowledged something to show.
    pub fields: Option<Fields>,
}

/// A place in a label's history: everything before it is older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPlace {
    /// When an outcome was recorded.
    pub at: Timestamp,
    /// Its task: several may have ended in the same millisecond.
    pub task_id: protocol::TaskId,
}

/// A label that does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfDate {
    /// The label.
    pub label: LabelMac,
    /// Its product.
    pub sku: Option<Sku>,
    /// What it should show.
    pub desired: Desired,
    /// What it shows.
    pub shown: Option<Shown>,
    /// Since when it has been showing something else, by the ledger's clock.
    pub since: Timestamp,
    /// How the task that asked for it ended; `None` while it is in progress.
    pub outcome: Option<ResultMessage>,
}

impl Ledger {
    /// Records what is about to be enqueued, and answers what counts: this, or what was recorded under its key before.
    pub async fn begin_enqueueing(&self, enqueued: &Enqueued) -> Result<Enqueued, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.begin_enqueueing(enqueued).await,
            Backend::Sqlite(sqlite) => sqlite.begin_enqueueing(enqueued).await,
        }
    }

    /// Records that the broker has confirmed all tasks of a request.
    pub async fn confirm_enqueued(&self, store: &Store, key: &str) -> Result<(), LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.confirm_enqueued(store, key).await,
            Backend::Sqlite(sqlite) => sqlite.confirm_enqueued(store, key).await,
        }
    }

    /// What was enqueued over HTTP in a batch.
    pub async fn enqueued_in(&self, batch: &BatchId) -> Result<Vec<Enqueued>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.enqueued_in(batch).await,
            Backend::Sqlite(sqlite) => sqlite.enqueued_in(batch).await,
        }
    }

    /// How many labels of a batch have ended, and when the latest did.
    pub async fn progress(&self, batch: &BatchId) -> Result<Progress, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.progress(batch).await,
            Backend::Sqlite(sqlite) => sqlite.progress(batch).await,
        }
    }

    /// The outcomes of a label before this place, newest first, at most `limit`.
    pub async fn history_before(
        &self,
        label: LabelMac,
        place: Option<&HistoryPlace>,
        limit: u32,
    ) -> Result<Vec<Recorded>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.history_before(label, place, limit).await,
            Backend::Sqlite(sqlite) => sqlite.history_before(label, place, limit).await,
        }
    }

    /// The labels of a store that don't show what they should, in ascending order from behind `after`, at most `limit`.
    pub async fn out_of_date(
        &self,
        store: &Store,
        after: Option<LabelMac>,
        limit: u32,
    ) -> Result<Vec<OutOfDate>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.out_of_date(store, after, limit).await,
            Backend::Sqlite(sqlite) => sqlite.out_of_date(store, after, limit).await,
        }
    }
}

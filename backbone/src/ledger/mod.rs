//! What should be shown, what is shown, and how each task ended: the ledger, on MongoDB or in this process's data
//! folder, and telemetry beside it.
//!
//! [`Ledger`] is the plain interface: each call is a few round trips, and fails when the server does. Roles that drive
//! labels use [`LedgerWriter`], which collects what many tasks ask into few round trips and waits out an outage: the
//! ledger is not telemetry, so when it is down, tasks wait. [`Telemetry`] is the opposite: it never waits, and drops.
//!
//! # Invariants
//!
//! - A label's desired version never falls, and its shown version falls only by [`What::Forget`].
//! - An outcome is written once and never changed; whoever comes second is told what the first one wrote.
//! - Every call can be repeated, in whole or in part, after any crash, without changing what it amounts to.

mod control;
mod error;
mod health;
mod lane;
mod mongo;
mod record;
mod sqlite;
mod survey;
mod telemetry;
mod url;
mod view;
mod watch;
mod writer;

pub use control::{BatchControl, BatchKey};
pub use error::LedgerError;
pub use mongo::MongoUrl;
pub use record::{BindReport, Binding, Desired, LabelRecord, LabelState, Opening, Settled, Settlement, Shown, What};
pub use survey::{ActionTaken, BatchSeen, Cause, EndedIn, Late, Product, RpcSeen, Standing};
pub use telemetry::{RpcLatency, Telemetry};
pub use url::LedgerUrl;
pub use view::{Enqueued, HistoryPlace, OutOfDate, Progress, Recorded};
pub use watch::{BatchWatch, Watched};
pub use writer::LedgerWriter;

use mongo::Mongo;
use protocol::{BatchId, LabelMac, Outcome, ResultMessage, Sku, Store, Timestamp};
use sqlite::Sqlite;
use std::collections::{BTreeMap, HashMap};

/// The labels, what they should show and what they show, and the outcome of each task per label.
///
/// A clone shares its connections. No call waits longer than some seconds for a server, or a disk, that is away.
#[derive(Debug, Clone)]
pub struct Ledger(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Mongo(Mongo),
    Sqlite(Sqlite),
}

impl Ledger {
    /// Makes ready to talk to a server; it need not be there yet. A data folder is there.
    ///
    /// # Errors
    /// When the URL, or an option in it, is not usable.
    pub async fn connect(url: &LedgerUrl) -> Result<Self, LedgerError> {
        Ok(Self(match url {
            LedgerUrl::MongoDb(url) => Backend::Mongo(Mongo::connect(url).await?),
            LedgerUrl::Sqlite(folder) => Backend::Sqlite(Sqlite::new(folder.clone())),
        }))
    }

    /// Makes the indexes and the time series, where they are missing. Any number of processes may do it at once.
    pub async fn prepare(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.prepare().await,
            // The tables were made when the folder was opened.
            Backend::Sqlite(sqlite) => sqlite.ping().await,
        }
    }

    /// Succeeds when the server answers.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.ping().await,
            Backend::Sqlite(sqlite) => sqlite.ping().await,
        }
    }

    /// Binds labels to products and stores; what they should show and what they show stays as it is. A label that
    /// is named twice gets its last binding.
    pub async fn bind(&self, bindings: &[Binding]) -> Result<BindReport, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.bind(bindings).await,
            Backend::Sqlite(sqlite) => sqlite.bind(bindings).await,
        }
    }

    /// The labels that are bound to a product in a store, in ascending order.
    pub async fn labels_of(&self, store: &Store, sku: &Sku) -> Result<Vec<LabelMac>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.labels_of(store, sku).await,
            Backend::Sqlite(sqlite) => sqlite.labels_of(store, sku).await,
        }
    }

    /// How many labels each of these products has in a store; a product without labels counts 0.
    pub async fn count_bound(&self, store: &Store, skus: &[Sku]) -> Result<HashMap<Sku, u64>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.count_bound(store, skus).await,
            Backend::Sqlite(sqlite) => sqlite.count_bound(store, skus).await,
        }
    }

    /// Records what is wanted of labels, then reads how each of them stands: one state per opening, in their order.
    /// The order of the openings decides nothing, whichever labels and versions they name.
    pub async fn open(&self, openings: &[Opening]) -> Result<Vec<LabelState>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.open(openings).await,
            Backend::Sqlite(sqlite) => sqlite.open(openings).await,
        }
    }

    /// Records how labels of tasks ended, and first, where a gateway acknowledged a version, that it is shown.
    /// Answers per settlement, in their order; their order decides nothing else.
    pub async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.settle(settlements).await,
            Backend::Sqlite(sqlite) => sqlite.settle(settlements).await,
        }
    }

    /// What is known of these labels; one that the ledger has never heard of is missing from the answer.
    pub async fn desired_of(&self, labels: &[LabelMac]) -> Result<HashMap<LabelMac, LabelRecord>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.desired_of(labels).await,
            Backend::Sqlite(sqlite) => sqlite.desired_of(labels).await,
        }
    }

    /// What is known of one label.
    pub async fn label(&self, label: LabelMac) -> Result<Option<LabelRecord>, LedgerError> {
        Ok(self.desired_of(&[label]).await?.remove(&label))
    }

    /// The latest outcomes of a label, newest first, at most `limit`.
    pub async fn history(&self, label: LabelMac, limit: u32) -> Result<Vec<ResultMessage>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.history(label, limit).await,
            Backend::Sqlite(sqlite) => sqlite.history(label, limit).await,
        }
    }

    /// What a label showed at a time, as far as gateways have said: the latest that was acknowledged until then.
    /// Nothing from before outcomes were kept with their fields is known.
    pub async fn shown_at(&self, label: LabelMac, at: Timestamp) -> Result<Option<Shown>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.shown_at(label, at).await,
            Backend::Sqlite(sqlite) => sqlite.shown_at(label, at).await,
        }
    }

    /// How many labels of a batch have ended, by outcome; outcomes that none has are missing.
    pub async fn balance(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.balance(batch).await,
            Backend::Sqlite(sqlite) => sqlite.balance(batch).await,
        }
    }

    /// Stores measurements; where that fails, they are lost.
    async fn insert_latencies(&self, latencies: &[RpcLatency]) -> Result<(), LedgerError> {
        match &self.0 {
            Backend::Mongo(mongo) => mongo.insert_latencies(latencies).await,
            Backend::Sqlite(sqlite) => sqlite.insert_latencies(latencies).await,
        }
    }
}

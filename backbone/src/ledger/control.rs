//! Batches that are paused, resumed and cancelled.

use super::{ActionTaken, Backend, Ledger, LedgerError};
use protocol::{BatchId, BatchState, Store, Timestamp};
use std::collections::HashMap;

/// A batch of a store: what one store does with a name of its own is nothing to the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchKey {
    /// The store.
    pub store: Store,
    /// The batch.
    pub batch: BatchId,
}

/// What was last decided about a batch. One that nobody ever decided about runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchControl {
    /// Whether its tasks are carried out.
    pub state: BatchState,
    /// Who decided so: the name of a token.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Ledger {
    /// Records what is decided about a batch, and answers what counts: this, or that it was cancelled before, which is
    /// final. Who decides so is in the audit trail before anything changes.
    pub async fn control_batch(&self, key: &BatchKey, control: &BatchControl) -> Result<BatchControl, LedgerError> {
        let before = self.controls_of(std::slice::from_ref(key)).await?.remove(key);
        if let Some(before) = before.filter(|before| before.state == BatchState::Cancelled) {
            return Ok(before);
        }
        self.record_action(&action(key, control)).await?;
        match &self.0 {
            Backend::Mongo(mongo) => mongo.control_batch(key, control).await,
            Backend::Sqlite(sqlite) => sqlite.control_batch(key, control).await,
        }
    }

    /// What was decided about these batches; those that nobody decided about are missing.
    pub async fn controls_of(&self, keys: &[BatchKey]) -> Result<HashMap<BatchKey, BatchControl>, LedgerError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        match &self.0 {
            Backend::Mongo(mongo) => mongo.controls_of(keys).await,
            Backend::Sqlite(sqlite) => sqlite.controls_of(keys).await,
        }
    }
}

fn action(key: &BatchKey, control: &BatchControl) -> ActionTaken {
    let what = match control.state {
        BatchState::Running => "resume",
        BatchState::Paused => "pause",
        BatchState::Cancelled => "cancel",
    };
    ActionTaken {
        at: control.at,
        who: control.by.clone(),
        store: Some(key.store.clone()),
        what: what.to_owned(),
        target: key.batch.to_string(),
        detail: String::new(),
    }
}

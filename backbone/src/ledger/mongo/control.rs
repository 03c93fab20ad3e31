//! What was decided about batches.

use super::{Mongo, command::Write, document::encode, read::find_by_id};
use crate::ledger::{BatchControl, BatchKey, LedgerError};
use mongodb::{
    Collection,
    bson::{DateTime, rawdoc},
    options::{CollectionOptions, ReadConcern},
};
use protocol::{BatchId, BatchState, Store, Timestamp, names::ledger as names};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

const DECIDING: &str = "recording what is decided about a batch";
/// Two who decide about a batch for the first time may meet; the loser finds the other's record the next time.
const UPSERT_ATTEMPTS: usize = 5;

#[derive(Serialize, Deserialize)]
struct ControlDocument {
    /// `<store>/<batch>`.
    #[serde(rename = "_id")]
    id: String,
    store: Store,
    batch: BatchId,
    state: BatchState,
    by: String,
    at: DateTime,
}

fn id(key: &BatchKey) -> String {
    format!("{}/{}", key.store, key.batch)
}

impl Mongo {
    fn batch_states(&self) -> Collection<ControlDocument> {
        let majority = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        self.database.collection_with_options(names::BATCH_STATES, majority)
    }

    pub(in crate::ledger) async fn control_batch(
        &self,
        key: &BatchKey,
        control: &BatchControl,
    ) -> Result<BatchControl, LedgerError> {
        let BatchControl { state, by, at } = control.clone();
        let BatchKey { store, batch } = key.clone();
        let at = DateTime::from_millis(at.unix_millis());
        let document = encode(DECIDING, &ControlDocument { id: id(key), store, batch, state, by, at })?;
        let is_final = rawdoc! { "$eq": ["$state", BatchState::Cancelled.as_str()] };
        let replace = rawdoc! { "$replaceWith": { "$cond": [is_final, "$$ROOT", { "$literal": document }] } };
        let update = rawdoc! { "q": { "_id": id(key) }, "u": [replace], "upsert": true };
        for _ in 0..UPSERT_ATTEMPTS {
            let written =
                self.write(DECIDING, Write::Update, names::BATCH_STATES, std::slice::from_ref(&update)).await?;
            if written.duplicates.is_empty() {
                break;
            }
        }
        let gone = || LedgerError::unavailable(DECIDING, std::io::Error::other("a record that was there is gone"));
        self.controls_of(std::slice::from_ref(key)).await?.remove(key).ok_or_else(gone)
    }

    pub(in crate::ledger) async fn controls_of(
        &self,
        keys: &[BatchKey],
    ) -> Result<HashMap<BatchKey, BatchControl>, LedgerError> {
        let ids: Vec<String> = keys.iter().map(id).collect::<BTreeSet<_>>().into_iter().collect();
        let found = find_by_id("reading what was decided about batches", &self.batch_states(), &ids).await?;
        let read = |document: ControlDocument| {
            let ControlDocument { id: _, store, batch, state, by, at } = document;
            let at = Timestamp::from_unix_millis(at.timestamp_millis());
            (BatchKey { store, batch }, BatchControl { state, by, at })
        };
        Ok(found.into_iter().map(read).collect())
    }
}

//! What was enqueued over HTTP, and how far it is.

use super::{
    Mongo,
    command::{Write, within},
    document::encode,
    read::find_by_id,
};
use crate::ledger::{Enqueued, LedgerError, Progress};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{DateTime, doc, rawdoc},
    options::{CollectionOptions, ReadConcern},
};
use protocol::{BatchId, Outcome, Store, Timestamp, names::ledger as names};
use serde::{Deserialize, Serialize};

const BEGINNING: &str = "recording what is enqueued";
const CONFIRMING: &str = "recording that tasks are confirmed";

#[derive(Debug, Serialize, Deserialize)]
struct EnqueuedDocument {
    /// `<store>/<key>`.
    #[serde(rename = "_id")]
    id: String,
    store: Store,
    batch: BatchId,
    digest: String,
    at: DateTime,
    tasks: i64,
    labels: i64,
    confirmed: bool,
}

#[derive(Deserialize)]
struct Count {
    #[serde(rename = "_id")]
    outcome: Outcome,
    labels: i64,
    last: DateTime,
}

fn id(store: &Store, key: &str) -> String {
    format!("{store}/{key}")
}

fn timestamp(date: DateTime) -> Timestamp {
    Timestamp::from_unix_millis(date.timestamp_millis())
}

impl Mongo {
    fn requests(&self) -> Collection<EnqueuedDocument> {
        let majority = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        self.database.collection_with_options(names::BATCHES, majority)
    }

    pub(in crate::ledger) async fn begin_enqueueing(&self, enqueued: &Enqueued) -> Result<Enqueued, LedgerError> {
        let document = encode(BEGINNING, &EnqueuedDocument::from(enqueued))?;
        let written = self.write(BEGINNING, Write::Insert, names::BATCHES, &[document]).await?;
        if written.duplicates.is_empty() {
            return Ok(enqueued.clone());
        }
        let before = find_by_id(BEGINNING, &self.requests(), &[id(&enqueued.store, &enqueued.key)]).await?;
        let gone = || LedgerError::unavailable(BEGINNING, std::io::Error::other("a record that was there is gone"));
        before.into_iter().next().map(Enqueued::from).ok_or_else(gone)
    }

    pub(in crate::ledger) async fn confirm_enqueued(&self, store: &Store, key: &str) -> Result<(), LedgerError> {
        let update = rawdoc! { "q": { "_id": id(store, key) }, "u": { "$set": { "confirmed": true } } };
        self.write(CONFIRMING, Write::Update, names::BATCHES, &[update]).await.map(drop)
    }

    pub(in crate::ledger) async fn enqueued_in(&self, batch: &BatchId) -> Result<Vec<Enqueued>, LedgerError> {
        let find = async {
            let batches = self.requests();
            batches.find(doc! { "batch": batch.as_str() }).await?.map_ok(Enqueued::from).try_collect().await
        };
        within("reading a batch", Box::pin(find)).await
    }

    pub(in crate::ledger) async fn progress(&self, batch: &BatchId) -> Result<Progress, LedgerError> {
        let pipeline = [
            doc! { "$match": { "batch": batch.as_str() } },
            doc! { "$group": { "_id": "$outcome", "labels": { "$sum": 1 }, "last": { "$max": "$at" } } },
        ];
        let count = async {
            let cursor = self.outcomes.aggregate(pipeline).await?;
            cursor.with_type::<Count>().try_collect::<Vec<_>>().await
        };
        let counts = within("reading a batch's progress", Box::pin(count)).await?;
        let last = counts.iter().map(|count| timestamp(count.last)).max();
        let outcomes = counts.into_iter().map(|count| (count.outcome, count.labels.unsigned_abs())).collect();
        Ok(Progress { outcomes, last })
    }
}

impl From<&Enqueued> for EnqueuedDocument {
    fn from(enqueued: &Enqueued) -> Self {
        Self {
            id: id(&enqueued.store, &enqueued.key),
            store: enqueued.store.clone(),
            batch: enqueued.batch.clone(),
            digest: enqueued.digest.clone(),
            at: DateTime::from_millis(enqueued.at.unix_millis()),
            tasks: enqueued.tasks.cast_signed(),
            labels: enqueued.labels.cast_signed(),
            confirmed: enqueued.confirmed,
        }
    }
}

impl From<EnqueuedDocument> for Enqueued {
    fn from(document: EnqueuedDocument) -> Self {
        let key = document.id.split_once('/').map_or_else(String::new, |(_, key)| key.to_owned());
        Self {
            key,
            store: document.store,
            batch: document.batch,
            digest: document.digest,
            at: timestamp(document.at),
            tasks: document.tasks.unsigned_abs(),
            labels: document.labels.unsigned_abs(),
            confirmed: document.confirmed,
        }
    }
}

//! What is only read.

use super::{
    Mongo,
    command::{MAX_OPERATIONS, by_id, within},
    document::OutcomeDocument,
};
use crate::ledger::{LabelRecord, LedgerError, Shown};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{DateTime, doc},
};
use protocol::{BatchId, LabelMac, Outcome, ResultMessage, Timestamp, Version};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Deserialize)]
struct Count {
    #[serde(rename = "_id")]
    outcome: Outcome,
    labels: i64,
}

impl Mongo {
    pub(in crate::ledger) async fn desired_of(
        &self,
        labels: &[LabelMac],
    ) -> Result<HashMap<LabelMac, LabelRecord>, LedgerError> {
        let ids: BTreeSet<LabelMac> = labels.iter().copied().collect();
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let found = find_by_id("reading labels", &self.labels, &ids).await?;
        Ok(found.into_iter().map(|document| (document.label, document.into())).collect())
    }

    /// The versions that labels show.
    pub(super) async fn shown_versions(&self, labels: &[LabelMac]) -> Result<HashMap<LabelMac, Version>, LedgerError> {
        let found = self.desired_of(labels).await?;
        Ok(found.into_iter().filter_map(|(label, record)| Some((label, record.shown?.version))).collect())
    }

    pub(super) async fn outcomes_by_id(&self, ids: &[String]) -> Result<HashMap<String, ResultMessage>, LedgerError> {
        let found = find_by_id("reading outcomes", &self.outcomes, ids).await?;
        Ok(found.into_iter().map(|mut document| (std::mem::take(&mut document.id), document.into())).collect())
    }

    pub(in crate::ledger) async fn history(
        &self,
        label: LabelMac,
        limit: u32,
    ) -> Result<Vec<ResultMessage>, LedgerError> {
        if limit == 0 {
            return Ok(Vec::new()); // no limit at all, to MongoDB
        }
        let filter = doc! { "label": label.to_string() };
        let find = async {
            let find = self.outcomes.find(filter).sort(doc! { "at": -1 }).limit(limit.into());
            find.await?.map_ok(ResultMessage::from).try_collect().await
        };
        within("reading a label's history", Box::pin(find)).await
    }

    pub(in crate::ledger) async fn shown_at(
        &self,
        label: LabelMac,
        at: Timestamp,
    ) -> Result<Option<Shown>, LedgerError> {
        let until = DateTime::from_millis(at.unix_millis());
        let filter = doc! { "label": label.to_string(), "at": { "$lte": until }, "fields": { "$exists": true } };
        let find = self.outcomes.find_one(filter).sort(doc! { "at": -1 });
        let found = within("reading what a label showed", find).await?;
        Ok(found.and_then(OutcomeDocument::into_shown))
    }

    pub(in crate::ledger) async fn balance(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, LedgerError> {
        let pipeline = [
            doc! { "$match": { "batch": batch.as_str() } },
            doc! { "$group": { "_id": "$outcome", "labels": { "$sum": 1 } } },
        ];
        let count = async {
            let cursor = self.outcomes.aggregate(pipeline).await?;
            cursor.with_type::<Count>().try_collect::<Vec<_>>().await
        };
        let counts = within("counting a batch's outcomes", Box::pin(count)).await?;
        Ok(counts.into_iter().map(|count| (count.outcome, count.labels.unsigned_abs())).collect())
    }
}

/// Each document once; those that are not there are left out.
pub(super) async fn find_by_id<T: DeserializeOwned + Send + Sync>(
    doing: &'static str,
    collection: &Collection<T>,
    ids: &[String],
) -> Result<Vec<T>, LedgerError> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_OPERATIONS) {
        let find = async {
            // One more than there can be, so that the first batch is known to be the last.
            collection.find(by_id(ids)).batch_size(ids.len() as u32 + 1).await?.try_collect::<Vec<_>>().await
        };
        found.extend(within(doing, Box::pin(find)).await?);
    }
    Ok(found)
}

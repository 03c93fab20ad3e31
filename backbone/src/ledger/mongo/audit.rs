//! The history of a label, and which labels are out of date.

use super::{
    Mongo,
    command::within,
    document::{ContentDocument, OutcomeDocument, outcome_id},
};
use crate::ledger::{HistoryPlace, LedgerError, OutOfDate, Recorded};
use futures::TryStreamExt;
use mongodb::bson::{DateTime, doc};
use protocol::{LabelMac, Outcome, Sku, Store, Timestamp};
use serde::Deserialize;

/// A label whose desired version is not shown.
#[derive(Deserialize)]
struct OutOfDateDocument {
    #[serde(rename = "_id")]
    label: LabelMac,
    sku: Option<Sku>,
    desired: ContentDocument<'static>,
    shown: Option<ContentDocument<'static>>,
    out_of_date: DateTime,
}

impl Mongo {
    pub(in crate::ledger) async fn history_before(
        &self,
        label: LabelMac,
        place: Option<&HistoryPlace>,
        limit: u32,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let mut filter = doc! { "label": label.to_string() };
        if let Some(HistoryPlace { at, task_id }) = place {
            let at = DateTime::from_millis(at.unix_millis());
            let same_time = doc! { "at": at, "_id": { "$lt": outcome_id(task_id, label) } };
            filter.insert("$or", [doc! { "at": { "$lt": at } }, same_time]);
        }
        let find = async {
            let find = self.outcomes.find(filter).sort(doc! { "at": -1, "_id": -1 }).limit(limit.max(1).into());
            find.await?.map_ok(Recorded::from).try_collect().await
        };
        within("reading a label's history", Box::pin(find)).await
    }

    pub(in crate::ledger) async fn out_of_date(
        &self,
        store: &Store,
        after: Option<LabelMac>,
        limit: u32,
    ) -> Result<Vec<OutOfDate>, LedgerError> {
        let mut filter = doc! { "store": store.as_str(), "out_of_date": { "$exists": true } };
        if let Some(label) = after {
            filter.insert("_id", doc! { "$gt": label.to_string() });
        }
        let labels = self.labels.clone_with_type::<OutOfDateDocument>();
        let find = async {
            let find = labels.find(filter).sort(doc! { "_id": 1 }).limit(limit.max(1).into());
            find.await?.try_collect::<Vec<_>>().await
        };
        let found = within("finding labels that are out of date", Box::pin(find)).await?;
        let ids: Vec<_> = found.iter().map(|found| outcome_id(&found.desired.task_id, found.label)).collect();
        let mut outcomes = self.outcomes_by_id(&ids).await?;
        let with_outcome = |(document, id): (OutOfDateDocument, String)| {
            // What was shown and is forgotten is being repaired.
            let outcome = outcomes.remove(&id).filter(|result| result.outcome != Outcome::Shown);
            document.with(outcome)
        };
        Ok(found.into_iter().zip(ids).map(with_outcome).collect())
    }
}

impl OutOfDateDocument {
    fn with(self, outcome: Option<protocol::ResultMessage>) -> OutOfDate {
        OutOfDate {
            label: self.label,
            sku: self.sku,
            desired: self.desired.into(),
            shown: self.shown.map(Into::into),
            since: Timestamp::from_unix_millis(self.out_of_date.timestamp_millis()),
            outcome,
        }
    }
}

impl From<OutcomeDocument> for Recorded {
    fn from(mut document: OutcomeDocument) -> Self {
        let fields = document.fields.take();
        Self { fields, result: document.into() }
    }
}

//! Which labels stand for which products.

use super::{
    Mongo,
    command::{MAX_OPERATIONS, Write, within},
};
use crate::ledger::{BindReport, Binding, LedgerError};
use futures::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use protocol::{LabelMac, Sku, Store, names::ledger as names};
use serde::Deserialize;
use std::collections::HashMap;

const BINDING: &str = "binding labels";

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    label: LabelMac,
}

#[derive(Deserialize)]
struct Count {
    #[serde(rename = "_id")]
    sku: Sku,
    labels: i64,
}

impl Mongo {
    pub(in crate::ledger) async fn bind(&self, bindings: &[Binding]) -> Result<BindReport, LedgerError> {
        let last: HashMap<LabelMac, &Binding> = bindings.iter().map(|binding| (binding.label, binding)).collect();
        let mut updates: Vec<RawDocumentBuf> = last.into_values().map(update).collect();
        let mut report = BindReport::default();
        while !updates.is_empty() {
            let written = self.write(BINDING, Write::Update, names::LABELS, &updates).await?;
            report.new += written.upserted;
            report.changed += written.modified;
            report.unchanged += written.matched - written.upserted - written.modified;
            // Labels that somebody else made at the same moment: they are there now.
            updates = written.duplicates.into_iter().map(|at| updates[at].clone()).collect();
        }
        Ok(report)
    }

    pub(in crate::ledger) async fn labels_of(&self, store: &Store, sku: &Sku) -> Result<Vec<LabelMac>, LedgerError> {
        let filter = doc! { "store": store.as_str(), "sku": sku.as_str() };
        let labels = self.labels.clone_with_type::<Id>();
        let find = async {
            let cursor = labels.find(filter).projection(doc! { "_id": 1 }).batch_size(10_000).await?;
            cursor.map_ok(|id| id.label).try_collect().await
        };
        let mut labels: Vec<LabelMac> = within("finding a product's labels", Box::pin(find)).await?;
        labels.sort_unstable();
        Ok(labels)
    }

    pub(in crate::ledger) async fn count_bound(
        &self,
        store: &Store,
        skus: &[Sku],
    ) -> Result<HashMap<Sku, u64>, LedgerError> {
        let mut counts: HashMap<Sku, u64> = skus.iter().map(|sku| (sku.clone(), 0)).collect();
        for skus in skus.chunks(MAX_OPERATIONS) {
            let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
            let pipeline = [
                doc! { "$match": { "store": store.as_str(), "sku": { "$in": skus } } },
                doc! { "$group": { "_id": "$sku", "labels": { "$sum": 1 } } },
            ];
            let count = async {
                let cursor = self.labels.aggregate(pipeline).batch_size(MAX_OPERATIONS as u32 + 1).await?;
                cursor.with_type::<Count>().try_collect::<Vec<_>>().await
            };
            let found = within("counting products' labels", Box::pin(count)).await?;
            counts.extend(found.into_iter().map(|count| (count.sku, count.labels.unsigned_abs())));
        }
        Ok(counts)
    }
}

fn update(binding: &Binding) -> RawDocumentBuf {
    let set = rawdoc! { "store": binding.store.as_str(), "sku": binding.sku.as_str() };
    rawdoc! { "q": { "_id": binding.label.to_string() }, "u": { "$set": set }, "upsert": true }
}

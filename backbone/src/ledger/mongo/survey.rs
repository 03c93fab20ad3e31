//! Whole stores, counted by the server.

use super::{Mongo, command::within, document::ContentDocument};
use crate::ledger::{BatchSeen, Cause, EndedIn, Late, LedgerError, Product, RpcSeen, Standing, survey::span_millis};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};
use protocol::{BatchId, GatewayMac, LabelMac, Outcome, Sku, Store, Timestamp, names::ledger as names};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// A batch that came over AMQP is looked for among so many of the latest outcomes.
const LATEST_OUTCOMES: i64 = 10_000;
/// Another among so many of the latest requests.
const LATEST_REQUESTS: i64 = 10_000;
/// The server is asked for so many labels' products at a time.
const SKUS_AT_A_TIME: u32 = 500;

#[derive(Deserialize)]
struct Counted<T> {
    #[serde(rename = "_id")]
    what: T,
    labels: i64,
}

#[derive(Deserialize)]
struct Totals {
    labels: i64,
    blank: i64,
}

#[derive(Deserialize)]
struct How {
    outcome: Option<Outcome>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct CauseCounted {
    #[serde(rename = "_id")]
    how: How,
    labels: i64,
    since: DateTime,
}

#[derive(Deserialize)]
struct Span {
    from: i64,
    outcome: Outcome,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Latency {
    latency_ms: i64,
}

#[derive(Deserialize)]
struct Seen {
    #[serde(rename = "_id")]
    batch: BatchId,
    at: DateTime,
}

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    label: LabelMac,
}

#[derive(Deserialize)]
struct LateDocument {
    #[serde(rename = "_id")]
    label: LabelMac,
    ended: Option<Ended>,
}

#[derive(Deserialize)]
struct Ended {
    outcome: Outcome,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct OfProduct {
    sku: String,
}

#[derive(Deserialize)]
struct ProductDocument {
    #[serde(rename = "_id")]
    sku: Sku,
    desired: Option<ContentDocument<'static>>,
    labels: i64,
    out_of_date: i64,
}

#[derive(Deserialize)]
struct RpcDocument {
    meta: Meta,
    latency_ms: f64,
}

#[derive(Deserialize)]
struct Meta {
    gateway: Option<GatewayMac>,
    outcome: String,
}

pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.unix_millis())
}

pub(super) fn timestamp(date: DateTime) -> Timestamp {
    Timestamp::from_unix_millis(date.timestamp_millis())
}

impl Mongo {
    pub(in crate::ledger) async fn stores(&self) -> Result<Vec<Store>, LedgerError> {
        // The index is looked through from each store to the next.
        let distinct = self.labels.distinct("store", doc! { "store": { "$gt": "" } });
        let found = within("finding the stores", distinct).await?;
        let mut stores: Vec<Store> = found.iter().filter_map(|store| store.as_str()?.parse().ok()).collect();
        stores.sort();
        Ok(stores)
    }

    pub(in crate::ledger) async fn standing(&self, store: &Store) -> Result<Standing, LedgerError> {
        const DOING: &str = "counting a store's labels";
        let blank = doc! { "$cond": [{ "$eq": [{ "$type": "$desired" }, "missing"] }, 1, 0] };
        let totals = [
            doc! { "$match": { "store": store.as_str() } },
            doc! { "$group": { "_id": 0, "labels": { "$sum": 1 }, "blank": { "$sum": blank } } },
        ];
        let causes = [
            doc! { "$match": { "store": store.as_str(), "out_of_date": { "$exists": true } } },
            doc! { "$project": { "out_of_date": 1, "id": { "$concat": ["$desired.task_id", "/", "$_id"] } } },
            doc! { "$lookup": { "from": names::OUTCOMES, "localField": "id", "foreignField": "_id", "as": "ended" } },
            doc! { "$project": { "out_of_date": 1, "ended": { "$first": "$ended" } } },
            // What was shown and is forgotten is being repaired, so it counts as in progress.
            doc! { "$project": { "out_of_date": 1,
            "ended": { "$cond": [{ "$eq": ["$ended.outcome", "shown"] }, null, "$ended"] } } },
            doc! { "$group": {
                "_id": { "outcome": "$ended.outcome", "reason": "$ended.reason" },
                "labels": { "$sum": 1 },
                "since": { "$min": "$out_of_date" },
            } },
            doc! { "$sort": { "labels": -1 } },
        ];
        let totals = gather::<Totals>(DOING, &self.labels, totals);
        let (totals, causes) = futures::try_join!(totals, gather::<CauseCounted>(DOING, &self.labels, causes))?;
        let mut standing = Standing::default();
        if let Some(Totals { labels, blank }) = totals.first() {
            (standing.labels, standing.blank) = (labels.unsigned_abs(), blank.unsigned_abs());
        }
        for CauseCounted { how, labels, since } in causes {
            let (labels, since) = (labels.unsigned_abs(), timestamp(since));
            match how.outcome {
                None => standing.in_progress += labels,
                Some(outcome) => standing.causes.push(Cause { outcome, reason: how.reason, labels, since }),
            }
        }
        Ok(standing)
    }

    pub(in crate::ledger) async fn ended_by(
        &self,
        store: &Store,
        since: Timestamp,
        span: Duration,
    ) -> Result<Vec<EndedIn>, LedgerError> {
        let millis = doc! { "$toLong": "$at" };
        let from = doc! { "$subtract": [millis.clone(), { "$mod": [millis, span_millis(span)] }] };
        let pipeline = [
            doc! { "$match": { "store": store.as_str(), "at": { "$gte": date(since) } } },
            doc! { "$group": { "_id": { "from": from, "outcome": "$outcome", "reason": "$reason" },
            "labels": { "$sum": 1 } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let found: Vec<Counted<Span>> = gather("counting outcomes", &self.outcomes, pipeline).await?;
        let ended = |Counted { what: Span { from, outcome, reason }, labels }| EndedIn {
            from: Timestamp::from_unix_millis(from),
            outcome,
            reason,
            labels: labels.unsigned_abs(),
        };
        Ok(found.into_iter().map(ended).collect())
    }

    pub(in crate::ledger) async fn latest_latencies(
        &self,
        store: &Store,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<u64>, LedgerError> {
        let filter = doc! { "store": store.as_str(), "at": { "$gte": date(since) }, "outcome": "shown" };
        let latencies = self.outcomes.clone_with_type::<Latency>();
        let find = async {
            let find = latencies.find(filter).projection(doc! { "latency_ms": 1 }).sort(doc! { "at": -1 });
            find.limit(limit.max(1).into()).await?.map_ok(|found| found.latency_ms.unsigned_abs()).try_collect().await
        };
        within("reading latencies", Box::pin(find)).await
    }

    pub(in crate::ledger) async fn batches(&self, store: &Store, limit: u32) -> Result<Vec<BatchSeen>, LedgerError> {
        const DOING: &str = "finding batches";
        let (newest, most) = (doc! { "$sort": { "at": -1 } }, doc! { "$limit": i64::from(limit.max(1)) });
        let ended = [
            doc! { "$match": { "store": store.as_str() } },
            newest.clone(),
            doc! { "$limit": LATEST_OUTCOMES },
            doc! { "$match": { "batch": { "$exists": true } } },
            doc! { "$group": { "_id": "$batch", "at": { "$max": "$at" } } },
            newest.clone(),
            most.clone(),
        ];
        let enqueued = [
            doc! { "$match": { "store": store.as_str() } },
            newest.clone(),
            doc! { "$limit": LATEST_REQUESTS },
            doc! { "$group": { "_id": "$batch", "at": { "$min": "$at" } } },
            newest,
            most,
        ];
        let requests = self.database.collection::<Document>(names::BATCHES);
        let ended = gather::<Seen>(DOING, &self.outcomes, ended);
        let (ended, enqueued) = futures::try_join!(ended, gather::<Seen>(DOING, &requests, enqueued))?;
        let all: BTreeMap<BatchId, DateTime> =
            ended.into_iter().chain(enqueued).map(|seen| (seen.batch, seen.at)).collect();
        let mut all: Vec<_> = all.into_iter().map(|(batch, at)| BatchSeen { batch, at: timestamp(at) }).collect();
        all.sort_by_key(|seen| std::cmp::Reverse(seen.at));
        all.truncate(limit as usize);
        Ok(all)
    }

    pub(in crate::ledger) async fn late(
        &self,
        store: &Store,
        batch: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<Late>, LedgerError> {
        let mut late = doc! { "store": store.as_str(), "out_of_date": { "$exists": true } };
        late.extend(batch.map(|batch| ("desired.batch".to_owned(), batch.as_str().into())));
        let pipeline = [
            doc! { "$match": late },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$limit": i64::from(limit.max(1)) },
            doc! { "$project": { "id": { "$concat": ["$desired.task_id", "/", "$_id"] } } },
            doc! { "$lookup": { "from": names::OUTCOMES, "localField": "id", "foreignField": "_id", "as": "ended" } },
            doc! { "$project": { "ended": { "$first": "$ended" } } },
            doc! { "$project": { "ended.outcome": 1, "ended.reason": 1 } },
        ];
        let found: Vec<LateDocument> = gather("finding labels that are late", &self.labels, pipeline).await?;
        Ok(found.into_iter().map(Late::from).collect())
    }

    pub(in crate::ledger) async fn products(
        &self,
        store: &Store,
        text: &str,
        after: Option<&Sku>,
        limit: u32,
    ) -> Result<Vec<Product>, LedgerError> {
        const DOING: &str = "finding products";
        let mut filter = doc! { "store": store.as_str(), "sku": { "$gt": after.map_or("", Sku::as_str) } };
        if !text.is_empty() {
            let like = doc! { "$regex": literally(text), "$options": "i" };
            let anywhere = [doc! { "sku": &like }, doc! { "_id": &like }, doc! { "desired.fields.name": &like }];
            filter.insert("$or", anywhere);
        }
        let skus = within(DOING, Box::pin(self.skus(filter, limit.max(1) as usize))).await?;
        let wanted = doc! { "store": store.as_str(), "sku": { "$in": skus } };
        let stale = doc! { "$cond": [{ "$eq": [{ "$type": "$out_of_date" }, "missing"] }, 0, 1] };
        let pipeline = [
            doc! { "$match": wanted },
            doc! { "$group": { "_id": "$sku", "desired": { "$max": "$desired" }, "labels": { "$sum": 1 },
            "out_of_date": { "$sum": stale } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let found: Vec<ProductDocument> = gather(DOING, &self.labels, pipeline).await?;
        Ok(found.into_iter().map(Product::from).collect())
    }

    /// The first products of these labels: in the order of the index, and no further than need be.
    async fn skus(&self, filter: Document, limit: usize) -> mongodb::error::Result<Vec<String>> {
        let labels = self.labels.clone_with_type::<OfProduct>();
        let find = labels.find(filter).projection(doc! { "_id": 0, "sku": 1 }).sort(doc! { "store": 1, "sku": 1 });
        let mut found = find.batch_size(SKUS_AT_A_TIME).await?;
        let mut skus: Vec<String> = Vec::with_capacity(limit);
        while skus.len() < limit
            && let Some(OfProduct { sku }) = found.try_next().await?
        {
            if skus.last() != Some(&sku) {
                skus.push(sku);
            }
        }
        Ok(skus)
    }

    pub(in crate::ledger) async fn labels_in(&self, store: &Store) -> Result<Vec<LabelMac>, LedgerError> {
        let labels = self.labels.clone_with_type::<Id>();
        let find = async {
            let find = labels.find(doc! { "store": store.as_str() }).projection(doc! { "_id": 1 }).batch_size(10_000);
            find.await?.map_ok(|id| id.label).try_collect().await
        };
        within("listing a store's labels", Box::pin(find)).await
    }

    pub(in crate::ledger) async fn unbind(&self, labels: &[LabelMac]) -> Result<u64, LedgerError> {
        let labels: Vec<String> = labels.iter().map(LabelMac::to_string).collect();
        let bound = doc! { "_id": { "$in": labels }, "sku": { "$exists": true } };
        let unbind = self.labels.update_many(bound, doc! { "$unset": { "sku": "" } });
        Ok(within("unbinding labels", unbind).await?.modified_count)
    }

    pub(in crate::ledger) async fn latest_rpcs(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<RpcSeen>, LedgerError> {
        let series = self.database.collection::<RpcDocument>(names::RPC_LATENCY);
        let find = async {
            let find = series.find(doc! { "at": { "$gte": date(since) } }).sort(doc! { "at": -1 });
            find.limit(limit.max(1).into()).await?.try_collect::<Vec<_>>().await
        };
        let found = within("reading RPCs", Box::pin(find)).await?;
        let seen =
            |RpcDocument { meta: Meta { gateway, outcome }, latency_ms }| RpcSeen { gateway, outcome, latency_ms };
        Ok(found.into_iter().map(seen).collect())
    }
}

impl From<LateDocument> for Late {
    fn from(LateDocument { label, ended }: LateDocument) -> Self {
        // What was shown and is forgotten is being repaired.
        let ended = ended.filter(|ended| ended.outcome != Outcome::Shown);
        Self { label, has_ended: ended.is_some(), reason: ended.and_then(|ended| ended.reason) }
    }
}

impl From<ProductDocument> for Product {
    fn from(ProductDocument { sku, desired, labels, out_of_date }: ProductDocument) -> Self {
        let fields = desired.map(|desired| desired.fields.into_owned()).unwrap_or_default();
        let (labels, out_of_date) = (labels.unsigned_abs(), out_of_date.unsigned_abs());
        Self { sku, name: fields.name, price: fields.price, currency: fields.currency, labels, out_of_date }
    }
}

/// Everything that a pipeline answers.
async fn gather<T: DeserializeOwned + Send + Sync + Unpin>(
    doing: &'static str,
    collection: &Collection<impl Send + Sync>,
    pipeline: impl IntoIterator<Item = Document>,
) -> Result<Vec<T>, LedgerError> {
    let gather = async { collection.aggregate(pipeline).await?.with_type::<T>().try_collect::<Vec<_>>().await };
    within(doing, Box::pin(gather)).await
}

/// A regular expression that finds this text and nothing else.
fn literally(text: &str) -> String {
    let escape = |character: char| match character {
        _ if character.is_alphanumeric() || character == ' ' => character.to_string(),
        _ => format!("\\{character}"),
    };
    text.chars().map(escape).collect()
}

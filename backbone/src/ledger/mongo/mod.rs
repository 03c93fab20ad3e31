//! The ledger in MongoDB.
//!
//! Many labels go in one command, and each write finds its document by `_id` alone and decides in an aggregation
//! pipeline whether it applies: measured, that costs the server less than a condition in the query. Values are wrapped
//! in `$literal`, since a field's name or text may begin with a dollar sign.

mod action;
mod audit;
mod batch;
mod binding;
mod command;
mod control;
mod document;
mod latency;
mod open;
mod read;
mod settle;
mod survey;
mod url;

use super::LedgerError;
use command::{codes, failed, within};
use document::{LabelDocument, OutcomeDocument};
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{Document, doc},
    options::{ClientOptions, IndexOptions, ReadConcern, TimeseriesGranularity, TimeseriesOptions, Tls},
};
use protocol::names::ledger as names;
use std::{sync::Arc, time::Duration};
pub use url::MongoUrl;

/// A server that does not answer at all is given up so soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A few round trips at a time are all that the writer makes; each connection is a thread in the server.
const MAX_CONNECTIONS: u32 = 8;
/// Telemetry is kept so long; outcomes are kept for ever.
const LATENCY_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The ledger's collections in one database.
#[derive(Debug, Clone)]
pub(super) struct Mongo {
    database: Database,
    labels: Collection<LabelDocument>,
    outcomes: Collection<OutcomeDocument>,
}

impl Mongo {
    pub(super) async fn connect(url: &MongoUrl) -> Result<Self, LedgerError> {
        let refused = |error: mongodb::error::Error| LedgerError::Url(Arc::new(error));
        let mut options = ClientOptions::parse(url.expose()).await.map_err(refused)?;
        if let (Some(Tls::Enabled(tls)), Some(authorities)) = (&mut options.tls, url.authorities()) {
            tls.ca_file_path.get_or_insert_with(|| authorities.path().to_owned());
        }
        options.app_name.get_or_insert_with(|| "esl".to_owned());
        options.server_selection_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.max_pool_size.get_or_insert(MAX_CONNECTIONS);
        let name = options.default_database.clone().unwrap_or_else(|| names::DATABASE.to_owned());
        let database = Client::with_options(options).map_err(refused)?.database(&name);
        let labels = database.collection(names::LABELS);
        // An outcome that a failover may still take back must not end a task.
        let majority = mongodb::options::CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        let outcomes = database.collection_with_options(names::OUTCOMES, majority);
        Ok(Self { database, labels, outcomes })
    }

    pub(super) async fn ping(&self) -> Result<(), LedgerError> {
        within("pinging the ledger", self.database.run_command(doc! { "ping": 1 })).await?;
        Ok(())
    }

    pub(super) async fn prepare(&self) -> Result<(), LedgerError> {
        let index = |keys: Document| IndexModel::builder().keys(keys).build();
        let by_product = index(doc! { "store": 1, "sku": 1 });
        let stale = IndexOptions::builder().partial_filter_expression(doc! { "out_of_date": { "$exists": true } });
        let out_of_date = IndexModel::builder().keys(doc! { "store": 1, "_id": 1 }).options(stale.build()).build();
        within("indexing labels", self.labels.create_indexes([by_product, out_of_date])).await?;
        let in_batches = IndexOptions::builder().partial_filter_expression(doc! { "batch": { "$exists": true } });
        let by_batch =
            IndexModel::builder().keys(doc! { "batch": 1, "outcome": 1, "at": 1 }).options(in_batches.build()).build();
        let by_label = index(doc! { "label": 1, "at": -1, "_id": -1 });
        // What the operator's page counts is counted in it, and the outcomes themselves are not read.
        let by_end = index(doc! { "store": 1, "at": -1, "outcome": 1, "reason": 1 });
        within("indexing outcomes", self.outcomes.create_indexes([by_batch, by_label, by_end])).await?;
        let actions = self.database.collection::<Document>(names::ACTIONS);
        within("indexing actions", actions.create_index(index(doc! { "store": 1, "at": -1, "_id": -1 }))).await?;
        let batches = self.database.collection::<Document>(names::BATCHES);
        let of_batches = [index(doc! { "batch": 1 }), index(doc! { "store": 1, "at": -1, "batch": 1 })];
        within("indexing batches", batches.create_indexes(of_batches)).await?;
        self.prepare_latency().await
    }

    async fn prepare_latency(&self) -> Result<(), LedgerError> {
        let series = TimeseriesOptions::builder()
            .time_field("at")
            .meta_field("meta".to_owned())
            .granularity(TimeseriesGranularity::Seconds)
            .build();
        let create = self.database.create_collection(names::RPC_LATENCY);
        let made = create.timeseries(series).expire_after_seconds(LATENCY_KEPT);
        match tokio::time::timeout(command::PATIENCE, made).await {
            Ok(Err(error)) if command::code(&error) != Some(codes::NAMESPACE_EXISTS) => {
                Err(failed("making the time series", error))
            }
            Ok(_) => Ok(()),
            Err(elapsed) => Err(LedgerError::unavailable("making the time series", elapsed)),
        }
    }
}

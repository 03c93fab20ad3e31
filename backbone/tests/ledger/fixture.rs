//! A fresh ledger, and short ways to say what the tests ask of it.

use backbone::{
    embedded::{DataFolder, FolderOptions},
    ledger::{Ledger, LedgerUrl, Opening, Settlement, What},
};
use mongodb::{Database, bson::Document};
use protocol::{Fields, LabelMac, Outcome, ResultMessage, Timestamp, Version};
use std::{str::FromStr, sync::Arc};
use tempfile::TempDir;
use uuid::Uuid;

/// The shared MongoDB of the test run, without a database.
pub(crate) fn shared_url() -> String {
    std::env::var("TESTBED_MONGODB_URL").expect("run by `make test`, or set TESTBED_MONGODB_URL")
}

/// A prepared ledger in a database of its own, and the database.
pub(crate) async fn fresh() -> (Ledger, Database) {
    let url = format!("{}/ledger-{}", shared_url(), Uuid::new_v4().simple());
    let ledger = connect(&url).await;
    ledger.prepare().await.unwrap();
    let client = mongodb::Client::with_uri_str(&url).await.unwrap();
    (ledger, client.default_database().unwrap())
}

/// A ledger in a data folder of its own, which is removed with the second part.
pub(crate) async fn fresh_on_sqlite() -> (Ledger, TempDir) {
    let path = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&FolderOptions { path: path.path().to_owned(), max_bytes: None }).unwrap();
    let ledger = Ledger::connect(&LedgerUrl::Sqlite(folder)).await.unwrap();
    ledger.prepare().await.unwrap();
    (ledger, path)
}

pub(crate) async fn connect(url: &str) -> Ledger {
    Ledger::connect(&url.parse::<LedgerUrl>().unwrap()).await.unwrap()
}

/// The only document with this `_id`.
pub(crate) async fn document(database: &Database, collection: &str, id: impl Into<mongodb::bson::Bson>) -> Document {
    let id: mongodb::bson::Bson = id.into();
    database.collection::<Document>(collection).find_one(mongodb::bson::doc! { "_id": id }).await.unwrap().unwrap()
}

pub(crate) fn id<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn label(number: u32) -> LabelMac {
    let [a, b, c, d] = number.to_be_bytes();
    LabelMac::from_octets([0, 0x1a, a, b, c, d])
}

pub(crate) fn version(number: u64) -> Version {
    Version::try_from(number).unwrap()
}

/// Fields that tell which version they belong to.
pub(crate) fn fields(number: u64) -> Arc<Fields> {
    parse_fields(&format!(r#"{{"name":"Furadeira 650W","price":"{number}.90","currency":"BRL"}}"#))
}

pub(crate) fn parse_fields(json: &str) -> Arc<Fields> {
    Arc::new(serde_json::from_str(json).unwrap())
}

pub(crate) fn desire(number: u32, task: &str, wanted: u64) -> Opening {
    opening(number, task, What::Desire { version: version(wanted), fields: fields(wanted) })
}

pub(crate) fn opening(number: u32, task: &str, what: What) -> Opening {
    Opening { label: label(number), task_id: id(task), store: id("sp-014"), batch: None, what }
}

pub(crate) fn result(number: u32, task: &str, version_number: u64, outcome: Outcome) -> ResultMessage {
    ResultMessage {
        task_id: id(task),
        store: id("sp-014"),
        sku: Some(id("7891000100103")),
        label: label(number),
        version: Some(version(version_number)),
        outcome,
        reason: None,
        gateway: Some(id("00fa7e000001")),
        attempts: 1,
        latency_ms: 12,
        at: Timestamp::from_unix_millis(1_795_000_000_123 + version_number as i64),
        batch: None,
    }
}

/// A gateway acknowledged this version.
pub(crate) fn shown(number: u32, task: &str, version_number: u64) -> Settlement {
    Settlement { result: result(number, task, version_number, Outcome::Shown), shown: Some(fields(version_number)) }
}

/// It ended otherwise.
pub(crate) fn ended(number: u32, task: &str, version_number: u64, outcome: Outcome) -> Settlement {
    Settlement { result: result(number, task, version_number, outcome), shown: None }
}

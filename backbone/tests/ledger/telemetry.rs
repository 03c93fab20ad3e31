//! Telemetry is stored where that is easy, and never waited for.

use crate::fixture::*;
use backbone::{
    ledger::{Ledger, RpcLatency, Telemetry},
    service::now,
};
use mongodb::bson::{Document, doc};
use std::time::{Duration, Instant};
use testbed::{MongoDb, MongoDbOptions};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);

fn latency(number: u32) -> RpcLatency {
    RpcLatency {
        at: now(),
        label: label(number),
        gateway: (!number.is_multiple_of(3)).then(|| id("00fa7e000001")),
        outcome: "ack",
        latency: Duration::from_micros(1_500),
        worker: Uuid::nil(),
    }
}

/// Waits until each of so many measurements is stored or dropped.
async fn all_done(telemetry: &Telemetry, recorded: u64) {
    let done = async {
        while telemetry.stored() + telemetry.dropped() < recorded {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, done).await.unwrap();
}

/// What was started ends with the last handle.
async fn end(telemetry: Telemetry, tracker: TaskTracker) {
    drop(telemetry);
    tracker.close();
    tokio::time::timeout(SOON, tracker.wait()).await.unwrap();
}

pub(crate) async fn measurements_are_stored(ledger: Ledger) {
    let tracker = TaskTracker::new();
    let telemetry = Telemetry::start(&ledger, &tracker);
    (0..2_500).for_each(|number| telemetry.record(latency(number)));
    all_done(&telemetry, 2_500).await;
    assert_eq!((telemetry.stored(), telemetry.dropped()), (2_500, 0));
    end(telemetry, tracker).await;
}

#[tokio::test]
async fn measurements_are_stored_in_the_time_series() {
    let (ledger, database) = fresh().await;
    let tracker = TaskTracker::new();
    let telemetry = Telemetry::start(&ledger, &tracker);
    (0..1_500).for_each(|number| telemetry.record(latency(number)));
    all_done(&telemetry, 1_500).await;
    assert_eq!((telemetry.stored(), telemetry.dropped()), (1_500, 0));
    let stored = database.collection::<Document>("rpc_latency");
    assert_eq!(stored.count_documents(doc! { "meta.gateway": "00fa7e000001" }).await.unwrap(), 1_000);
    let one = stored.find_one(doc! { "label": "001a00000000" }).await.unwrap().unwrap();
    assert_eq!(one.get_f64("latency_ms").unwrap(), 1.5);
    assert_eq!(one.get_document("meta").unwrap(), &doc! { "outcome": "ack" });
    assert!(one.get_datetime("at").is_ok());
    let kind = database.list_collections().filter(doc! { "type": "timeseries" }).await.unwrap();
    assert_eq!(futures::TryStreamExt::try_collect::<Vec<_>>(kind).await.unwrap().len(), 1);
    end(telemetry, tracker).await;
}

#[tokio::test]
async fn without_a_server_they_are_dropped_and_counted_and_nobody_waits() {
    let mut server = MongoDb::start(MongoDbOptions::default()).await.unwrap();
    let ledger = connect(&server.database_url("esl")).await;
    ledger.prepare().await.unwrap();
    server.kill().unwrap();
    let tracker = TaskTracker::new();
    let telemetry = Telemetry::start(&ledger, &tracker);
    let begun = Instant::now();
    for number in 0..25_000 {
        telemetry.record(latency(number));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert!(telemetry.dropped() >= 10_000, "{}", telemetry.dropped());
    all_done(&telemetry, 16_000).await; // what waited is given up, batch by batch
    assert_eq!(telemetry.stored(), 0);
    server.start_again().await.unwrap();
    while telemetry.stored() == 0 {
        telemetry.record(latency(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    end(telemetry, tracker).await;
}

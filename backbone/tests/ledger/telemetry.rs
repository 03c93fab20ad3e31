//! Telemetry is stored where that is easy, and never waited for.

use crate::fixture::*;
use backbone::{ledger::{RpcLatency, Telemetry}, service::now};
use mongodb::bson::{Document, doc};
use std::time::{Duration, Instant};
use testbed::{MongoDb, MongoDbOptions};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

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

async fn drained(tracker: TaskTracker, telemetry: Telemetry) -> (u64, u64) {
    let kept = telemetry.clone();
    let weak = (kept.stored(), kept.dropped());
    drop((kept, weak));
    let counters = telemetry.counters();
    drop(telemetry);
    tracker.close();
    tokio::time::timeout(Duration::from_secs(60), tracker.wait()).await.unwrap();
    counters.get()
}

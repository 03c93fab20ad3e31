//! What a gateway says unasked: which labels it hears.

use crate::{
    metrics::Answered,
    store::{Gateway, Store},
};
use protocol::{Answer, Report, Rssi, Sighting};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Normal};
use std::{sync::Arc, sync::atomic::Ordering};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

const MAX_SIGHTINGS: usize = 1000;
/// Shadowing: the standard deviation of what is between label and gateway at the moment, in dB.
const SHADOWING_DB: f64 = 2.0;

/// Reports for the gateway at this index until `stop`: at once when it has come online, then at every interval, out of
/// step with the other gateways.
pub(crate) async fn report(store: Arc<Store>, index: usize, stop: CancellationToken) {
    let gateway = &store.gateways[index];
    let mut random = StdRng::seed_from_u64(store.config.seed ^ (index as u64 + 1) << 32);
    let mut status = gateway.connection.status();
    let mut hanging = gateway.hanging.subscribe();
    let every = store.config.report_interval;
    let offset = every.mul_f64((index as f64 + 1.0) / store.gateways.len() as f64);
    let mut ticks = interval_at(Instant::now() + offset, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let came = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => false,
            _ = hanging.changed() => {
                store.changed.notify_one();
                continue;
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return; // the connection is closed
                }
                gateway.has_reported.store(false, Ordering::Relaxed);
                store.changed.notify_one();
                true
            }
        };
        if !status.borrow_and_update().online || *hanging.borrow() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = report_once(&store, index, &mut random) => {}
        }
        if !came {
            forge(&store, gateway, &mut random);
        }
        if !gateway.has_reported.swap(true, Ordering::Relaxed) {
            store.changed.notify_one();
        }
    }
}

async fn report_once(store: &Store, index: usize, random: &mut StdRng) {
    let gateway = &store.gateways[index];
    if gateway.faults().rogue_rssi == Some(true) {
        return report_rogue(store, gateway).await;
    }
    let sightings = hear(store, index, random);
    for batch in sightings.chunks(if store.config.single_reports { 1 } else { MAX_SIGHTINGS }) {
        let body = match batch {
            [single] if store.config.single_reports => {
                format!(r#"{{"deviceMac":"{}","rssi":{}}}"#, single.label, single.rssi.dbm()).into_bytes()
            }
            batch => Report { sightings: batch.to_vec(), ..Report::default() }.to_json(),
        };
        say(store, gateway, body, batch.len()).await;
    }
}

fn hear(store: &Store, index: usize, random: &mut StdRng) -> Vec<Sighting> {
    let Ok(shadowing) = Normal::new(0.0, SHADOWING_DB) else { return Vec::new() };
    let floor = store.floor();
    let heard = floor.hears(index).iter().filter_map(|(label, mean_dbm)| {
        let dbm = (mean_dbm + shadowing.sample(random)).round().clamp(-127.0, 20.0);
        Some(Sighting {
            label: store.labels.mac(*label),
            rssi: Rssi::try_from(dbm as i64).ok()?,
            battery_mv: Some(3000 - (label % 400) as u16),
        })
    });
    heard.collect()
}

/// Claims to hear every label better than physics allows. `protocol` can't even hold such a strength.
async fn report_rogue(store: &Store, gateway: &Gateway) {
    let all: Vec<_> = (0..store.labels.len()).collect();
    for batch in all.chunks(MAX_SIGHTINGS) {
        let labels: Vec<_> =
            batch.iter().map(|label| serde_json::json!({"mac": store.labels.mac(*label), "rssi": 50})).collect();
        say(store, gateway, serde_json::json!({ "labels": labels }).to_string().into_bytes(), batch.len()).await;
    }
}

async fn say(store: &Store, gateway: &Gateway, body: Vec<u8>, sightings: usize) {
    gateway.connection.report(body).await;
    store.metrics.reports.inc();
    store.metrics.sightings.inc_by(sightings as u64);
}

/// Acknowledges what nobody asked this gateway for.
fn forge(store: &Store, gateway: &Gateway, random: &mut StdRng) {
    if store.labels.is_empty() {
        return;
    }
    for _ in 0..gateway.faults().forged_answers.unwrap_or_default() {
        let label = store.labels.mac(random.random_range(0..store.labels.len()));
        let body = Answer { label, id: None, result: Ok(()) }.to_json();
        let kind = if gateway.connection.answer(body, None).is_ok() { Answered::Forged } else { Answered::Dropped };
        store.metrics.answer(kind);
    }
}

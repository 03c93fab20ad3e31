//! Places in gateways' windows, on their way back.

use crate::registry::{Registry, Release, WindowPolicy};
use prometheus_client::metrics::counter::Counter;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long places are collected, so that those of one gateway are given back together. A gateway that has its window
/// full waits so long for the next command; it has others meanwhile.
const LINGER: Duration = Duration::from_millis(20);

/// Gives places back until the last sender is gone and all are back. Nobody waits for it. Counts round trips that failed.
pub async fn give_back(
    mut releases: mpsc::Receiver<Release>,
    registry: Registry,
    policy: WindowPolicy,
    errors: Counter,
) {
    let most = releases.max_capacity();
    loop {
        let mut ended = Vec::new();
        if releases.recv_many(&mut ended, most).await == 0 {
            break;
        }
        tokio::time::sleep(LINGER).await;
        while let Ok(more) = releases.try_recv() {
            ended.push(more);
        }
        if let Err(error) = registry.release(&ended, &policy).await {
            errors.inc();
            tracing::debug!("the places are free after their RPCs' deadlines: {error}");
        }
    }
}

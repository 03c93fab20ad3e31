//! Stands in for a store's gateways and labels, with their faults, in one process.
//!
//! Each gateway is an MQTT client of its own: it subscribes to its commands, writes to labels as slowly as Bluetooth
//! does, answers, and reports which labels it hears. Labels remember everything that was written to them, so a test can
//! ask what was shown when, whatever the backbone believes. Gateway *i* has the MAC `00fa7e` and *i* as 6 hexadecimal
//! digits, label *j* `001a2b` and *j*; both count from 1.
//!
//! Nothing here knows the backbone: it speaks MQTT and HTTP only. [`control`] lists what its admin port serves, `--help`
//! what the store can be like.
//!
//! A command goes from [`gateway`], through the draws of [`faults`], to [`mod@write`], which keeps the order per label and
//! the number of connections; then it is remembered in [`label`] and answered. [`floor`] decides who hears whom.

mod config;
pub mod control;
pub mod faults;
pub mod floor;
pub mod gateway;
pub mod label;
pub mod metrics;
mod report;
pub mod store;
pub mod write;

pub use config::{Config, Echo, Protocol};

use backbone::service::Service;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Plays the store until the service stops.
///
/// # Errors
/// None as yet: a broker that is not there is tried again for ever.
pub async fn run(config: Config, mut service: Service) -> anyhow::Result<()> {
    let config = config.trusting();
    let metrics = metrics::Metrics::register(&mut service.metrics);
    let (tasks, connections) = (TaskTracker::new(), TaskTracker::new());
    let (store, inboxes) = store::Store::open(config, metrics, &connections);
    let store = Arc::new(store);
    service.open_admin_port(control::router(store.clone()));
    for (index, commands) in inboxes.into_iter().enumerate() {
        tasks.spawn(gateway::play(store.clone(), index, commands, service.stop.clone()));
        tasks.spawn(report::report(store.clone(), index, service.stop.clone()));
    }
    while !service.stop.is_cancelled() {
        service.readiness.set(store.is_ready());
        tokio::select! {
            () = store.changed.notified() => {}
            () = service.stop.cancelled() => {}
        }
    }
    tasks.close();
    tasks.wait().await;
    for gateway in &store.gateways {
        gateway.connection.close();
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

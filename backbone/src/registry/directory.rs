//! A process's own copy of where the gateways are.

use super::{GatewayState, Registry};
use protocol::GatewayMac;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often the copy is renewed.
const REFRESH: Duration = Duration::from_millis(500);

/// Where the gateways are, at most half a second old while Redis answers. Clones share it.
///
/// Only a cache, so that no RPC needs a second round trip: gateways lie in another hash slot than labels.
#[derive(Debug, Clone)]
pub struct GatewayDirectory(watch::Receiver<Arc<HashMap<GatewayMac, GatewayState>>>);

impl GatewayDirectory {
    /// Begins to follow; the second part is the task that does it, until `stop`.
    pub fn follow(registry: Registry, stop: CancellationToken) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = watch::channel(Arc::default());
        let task = async move {
            let mut ticks = tokio::time::interval(REFRESH);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut away = false;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                match registry.gateways().await {
                    Ok(gateways) => {
                        sender.send_replace(Arc::new(gateways));
                        if std::mem::take(&mut away) {
                            tracing::info!("Redis answers again");
                        }
                    }
                    // The last copy is the best that there is.
                    Err(error) => {
                        if !std::mem::replace(&mut away, true) {
                            tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "Redis is away");
                        }
                    }
                }
            }
        };
        (Self(receiver), task)
    }

    /// The copy as it is now.
    pub fn get(&self) -> Arc<HashMap<GatewayMac, GatewayState>> {
        Arc::clone(&self.0.borrow())
    }
}

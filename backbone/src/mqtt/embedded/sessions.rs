//! Which clients subscribed to which gateway's commands, so that a command to nobody is noticed.

use mqtt5::broker::{DynamicStorage, StorageBackend, router::MessageRouter};
use protocol::{
    GatewayMac,
    names::mqtt::{Channel, parse_topic, topic},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Clients remembered per gateway: it has one, and for a while a second when it changes its client ID.
const CLIENTS_PER_GATEWAY: usize = 4;
/// A note is given so long to become a subscription.
const GRACE: Duration = Duration::from_secs(60);

/// A superset of the subscriptions: whether one is there still, the broker's router says.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<GatewayMac, VecDeque<Noted>>>);

#[derive(Clone)]
struct Noted {
    client_id: Arc<str>,
    at: Instant,
}

impl Sessions {
    /// A client is about to subscribe to a gateway's commands.
    pub(super) fn note(&self, gateway: GatewayMac, client_id: &str) {
        let mut gateways = self.locked();
        let clients = gateways.entry(gateway).or_default();
        clients.retain(|noted| *noted.client_id != *client_id);
        clients.push_front(Noted { client_id: client_id.into(), at: Instant::now() });
        clients.truncate(CLIENTS_PER_GATEWAY);
    }

    /// Notes the subscriptions of sessions from before a restart.
    pub(super) async fn recover(&self, storage: &DynamicStorage) -> mqtt5::Result<()> {
        for client_id in storage.session_client_ids().await? {
            let session = storage.get_session(&client_id).await?;
            for filter in session.iter().flat_map(|session| session.subscriptions.keys()) {
                if let Some((gateway, Channel::Action)) = parse_topic(filter) {
                    self.note(gateway, &client_id);
                }
            }
        }
        Ok(())
    }

    /// Whether a client is subscribed to this topic, or has a session that is.
    pub(super) async fn any_listens(&self, router: &MessageRouter, topic: &str) -> bool {
        let Some((gateway, Channel::Action)) = parse_topic(topic) else { return false };
        let clients = self.locked().get(&gateway).cloned().unwrap_or_default();
        for Noted { client_id, .. } in clients {
            if router.has_subscription(&client_id, topic).await {
                return true;
            }
        }
        false
    }

    /// Forgets what is no subscription any longer.
    pub(super) async fn forget(&self, router: &MessageRouter) {
        let gateways: Vec<_> = self.locked().iter().map(|(gateway, noted)| (*gateway, noted.clone())).collect();
        for (gateway, clients) in gateways {
            let action = topic(gateway, Channel::Action);
            for Noted { client_id, at } in clients {
                if at.elapsed() > GRACE && !router.has_subscription(&client_id, &action).await {
                    self.remove(gateway, &client_id, at);
                }
            }
        }
    }

    fn remove(&self, gateway: GatewayMac, client_id: &str, at: Instant) {
        let mut gateways = self.locked();
        if let Some(clients) = gateways.get_mut(&gateway) {
            clients.retain(|noted| *noted.client_id != *client_id || noted.at != at);
            if clients.is_empty() {
                gateways.remove(&gateway);
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<GatewayMac, VecDeque<Noted>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

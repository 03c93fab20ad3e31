//! Routes and RPCs in flight in this process's memory: what Redis is to several processes.

mod answers;
mod id;
mod label;
mod rpc;
mod signals;
mod windows;

pub(super) use label::{Millis, millis};

use super::{Finish, Finished, GatewayState, NotSent, RouteEntry, RpcPolicy, Start, Started};
use crate::service::now;
use label::{Label, Route};
use protocol::{CorrelationId, GatewayMac, LabelMac, Timestamp};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// Locks that labels are spread over. No lock is held across an await.
const SHARDS: usize = 64;
/// How often a shard forgets what is stale, in ms, while it is used.
const SWEEP_MS: Millis = 10_000;
/// More gateways than these are not remembered: the one that reported longest ago makes room.
const MAX_GATEWAYS: usize = 65_536;

/// Routes and RPCs in flight, shared by the roles of one process. Clones share it; gone with the process, as Redis'
/// is with Redis.
#[derive(Clone)]
pub struct MemoryRegistry(Arc<Shared>);

struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    gateways: Mutex<HashMap<GatewayMac, GatewayState>>,
    windows: Mutex<windows::Windows>,
    answers: Mutex<answers::Counted>,
    epoch: OnceLock<String>,
}

#[derive(Default)]
struct Shard {
    labels: HashMap<LabelMac, Label>,
    /// Until when the repair of a label is claimed.
    repairs: HashMap<LabelMac, Millis>,
    signals: HashMap<(LabelMac, GatewayMac), signals::Ring>,
    sweep_at: Millis,
}

impl MemoryRegistry {
    /// An empty one.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            gateways: Mutex::default(),
            windows: Mutex::default(),
            answers: Mutex::default(),
            epoch: OnceLock::new(),
        }))
    }

    pub(super) fn start(&self, requests: &[Start], policy: &RpcPolicy, offline: &[GatewayMac]) -> Vec<Started> {
        let at = now().unix_millis();
        let start = |request: &Start| {
            let mut shard = self.shard(request.label);
            // A label that nobody hears is not remembered.
            let label = shard.labels.get_mut(&request.label);
            label.map_or(Started::NoRoute, |label| label.start(request, policy, offline, at))
        };
        requests.iter().map(start).collect()
    }

    pub(super) fn finish(&self, answers: &[Finish]) -> Vec<Finished> {
        let at = now().unix_millis();
        let finish = |answer: &Finish| {
            let mut shard = self.shard(answer.label);
            shard.labels.get_mut(&answer.label).map_or(Finished::Unknown, |label| label.finish(answer, at))
        };
        answers.iter().map(finish).collect()
    }

    pub(super) fn abort(&self, label: LabelMac, id: &CorrelationId, why: NotSent) {
        if let Some(label) = self.shard(label).labels.get_mut(&label) {
            label.abort(id, why, now().unix_millis());
        }
    }

    pub(super) fn write_routes(&self, entries: &[RouteEntry], forget_after: Duration) {
        let at = now().unix_millis();
        let until = at.saturating_add(millis(forget_after));
        for &RouteEntry { label, gateway, rssi, at: heard_at, battery_mv } in entries {
            let route = Route { gateway, rssi, at: heard_at.unix_millis() };
            let mut shard = self.shard(label);
            shard.sweep(at);
            shard.labels.entry(label).or_default().write_route(route, battery_mv, until, at);
        }
    }

    pub(super) fn routes(&self, label: LabelMac) -> Vec<RouteEntry> {
        let shard = self.shard(label);
        let Some(known) = shard.labels.get(&label) else { return Vec::new() };
        let entry = |&Route { gateway, rssi, at }: &Route| RouteEntry {
            label,
            gateway,
            rssi,
            at: Timestamp::from_unix_millis(at),
            battery_mv: known.battery_mv(),
        };
        let mut entries: Vec<_> = known.routes(now().unix_millis()).iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.gateway);
        entries
    }

    pub(super) fn claim_repairs(&self, labels: &[LabelMac], keep: Duration) -> Vec<bool> {
        let at = now().unix_millis();
        let claim = |&label: &LabelMac| {
            let mut shard = self.shard(label);
            shard.sweep(at);
            let until = shard.repairs.entry(label).or_insert(at);
            let free = *until <= at;
            if free {
                *until = at.saturating_add(millis(keep));
            }
            free
        };
        labels.iter().map(claim).collect()
    }

    pub(super) fn write_gateways(&self, written: &[(GatewayMac, GatewayState)]) {
        let mut gateways = self.gateways_locked();
        for (gateway, state) in written {
            gateways.insert(*gateway, state.clone());
            if gateways.len() > MAX_GATEWAYS
                && let Some(oldest) = gateways.iter().min_by_key(|(_, state)| state.at).map(|(mac, _)| *mac)
            {
                gateways.remove(&oldest);
            }
        }
    }

    pub(super) fn forget_gateways(&self, gone: &[GatewayMac]) {
        let mut gateways = self.gateways_locked();
        gone.iter().for_each(|gateway| drop(gateways.remove(gateway)));
    }

    pub(super) fn gateways(&self) -> HashMap<GatewayMac, GatewayState> {
        self.gateways_locked().clone()
    }

    pub(super) fn gateway(&self, gateway: GatewayMac) -> Option<GatewayState> {
        self.gateways_locked().get(&gateway).cloned()
    }

    pub(super) fn epoch(&self, mark: &str) -> String {
        self.0.epoch.get_or_init(|| mark.to_owned()).clone()
    }

    fn shard(&self, label: LabelMac) -> MutexGuard<'_, Shard> {
        let at = self.0.hasher.hash_one(label) as usize % SHARDS;
        self.0.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gateways_locked(&self) -> MutexGuard<'_, HashMap<GatewayMac, GatewayState>> {
        self.0.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets what is stale, now and then: whoever adds something makes room first.
    fn sweep(&mut self, now: Millis) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now.saturating_add(SWEEP_MS);
        self.repairs.retain(|_, until| *until > now);
        self.signals.retain(|(label, _), ring| ring.is_of_use(*label, now));
        self.labels.retain(|_, label| label.forget(now));
        if self.labels.len() < self.labels.capacity() / 4 {
            self.labels.shrink_to(self.labels.len() * 2);
        }
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for MemoryRegistry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryRegistry {}

impl std::fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRegistry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Rssi;

    #[test]
    fn a_shard_forgets_what_is_stale() {
        let mut shard = Shard::default();
        let route = Route { gateway: GatewayMac::from_octets([0; 6]), rssi: Rssi::try_from(-60).unwrap(), at: 0 };
        for last in 0..100 {
            let label = LabelMac::from_octets([0, 0, 0, 0, 0, last]);
            shard.labels.entry(label).or_default().write_route(route, None, 1000 * i64::from(last), -1);
        }
        shard.sweep(50_000);
        assert_eq!(shard.labels.len(), 49);
        shard.sweep(50_000 + SWEEP_MS - 1);
        assert_eq!(shard.labels.len(), 49, "not all the time");
        shard.sweep(200_000);
        assert_eq!(shard.labels.capacity(), 0);
    }

    #[test]
    fn a_route_is_small() {
        assert_eq!(size_of::<Route>(), 16);
        assert!(size_of::<(LabelMac, Label)>() <= 56, "{}", size_of::<(LabelMac, Label)>());
    }

    #[test]
    fn gateways_are_bounded() {
        let registry = MemoryRegistry::new();
        let gateway = |number: usize| {
            let [.., a, b, c] = number.to_be_bytes();
            GatewayMac::from_octets([0, 0, 0, a, b, c])
        };
        let state = |number: usize| GatewayState {
            online: true,
            broker: "a".into(),
            at: Timestamp::from_unix_millis(number as i64),
        };
        let all: Vec<_> = (1..=MAX_GATEWAYS + 2).map(|number| (gateway(number), state(number))).collect();
        registry.write_gateways(&all);
        assert_eq!(registry.gateways().len(), MAX_GATEWAYS);
        assert_eq!(registry.gateway(gateway(2)), None, "the oldest went");
        assert_eq!(registry.gateway(gateway(3)), Some(state(3)));
    }
}

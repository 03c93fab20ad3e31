//! The gateways' windows of one process.

use super::{MemoryRegistry, Millis, millis};
use crate::{
    registry::{Acquire, Acquired, Release, WindowPolicy, WindowState, window},
    service::now,
};
use protocol::GatewayMac;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{MutexGuard, PoisonError},
};
use window::Window;

/// The windows, each with the time until which it is kept. Few, so that one lock does.
#[derive(Default)]
pub(super) struct Windows {
    all: HashMap<GatewayMac, (Window, Millis)>,
    sweep_at: Millis,
}

impl Windows {
    fn of(&mut self, gateway: GatewayMac, at: Millis) -> Option<&mut Window> {
        let (window, until) = self.all.get_mut(&gateway).filter(|(_, until)| at < *until)?;
        *until = at.saturating_add(millis(window::KEEP));
        Some(window)
    }

    /// The window, with room made for it by those that were not used for long.
    fn of_or_new(&mut self, gateway: GatewayMac, policy: &WindowPolicy, at: Millis) -> &mut Window {
        if at >= self.sweep_at {
            self.sweep_at = at.saturating_add(super::SWEEP_MS);
            self.all.retain(|_, (_, until)| at < *until);
        }
        let until = at.saturating_add(millis(window::KEEP));
        let entry = self.all.entry(gateway).or_insert_with(|| (Window::new(policy), until));
        if at >= entry.1 {
            entry.0 = Window::new(policy);
        }
        entry.1 = until;
        &mut entry.0
    }
}

impl MemoryRegistry {
    pub(in crate::registry) fn acquire(&self, gateways: &[Acquire], policy: &WindowPolicy) -> Vec<Acquired> {
        let at = now().unix_millis();
        let mut windows = self.windows_locked();
        let acquire = |asking: &Acquire| match asking.rpcs.as_slice() {
            [] => Acquired::default(),
            rpcs => windows.of_or_new(asking.gateway, policy, at).acquire(rpcs, policy, at),
        };
        gateways.iter().map(acquire).collect()
    }

    pub(in crate::registry) fn release(&self, rpcs: &[Release], policy: &WindowPolicy) {
        let at = now().unix_millis();
        let mut windows = self.windows_locked();
        let gateways: BTreeSet<_> = rpcs.iter().map(|rpc| rpc.gateway).collect();
        for gateway in gateways {
            if let Some(window) = windows.of(gateway, at) {
                window.release(rpcs.iter().filter(|rpc| rpc.gateway == gateway), policy, at);
            }
        }
    }

    pub(in crate::registry) fn windows(
        &self,
        gateways: &[GatewayMac],
        policy: &WindowPolicy,
    ) -> Vec<Option<WindowState>> {
        let at = now().unix_millis();
        let windows = self.windows_locked();
        let view = |gateway| {
            let (window, _) = windows.all.get(gateway).filter(|(_, until)| at < *until)?;
            Some(window.clone().view(policy, at))
        };
        gateways.iter().map(view).collect()
    }

    fn windows_locked(&self) -> MutexGuard<'_, Windows> {
        self.0.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

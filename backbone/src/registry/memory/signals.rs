//! How strongly gateways have heard labels, in this process's memory.

use super::{MemoryRegistry, Millis, Shard, millis};
use crate::{
    registry::{
        RouteEntry, Signal,
        signals::{KEEP, RING, read, sample},
    },
    service::now,
};
use protocol::{GatewayMac, LabelMac};

/// A ring, and until when it is kept.
pub(super) struct Ring {
    octets: [u8; RING],
    pub(super) until: Millis,
}

impl MemoryRegistry {
    pub(in crate::registry) fn write_signals(&self, heard: &[RouteEntry]) {
        let at = now().unix_millis();
        for entry in heard {
            let (place, octets) = sample(entry);
            let mut shard = self.shard(entry.label);
            shard.sweep(at);
            let key = (entry.label, entry.gateway);
            let ring = shard.signals.entry(key).or_insert(Ring { octets: [0; RING], until: 0 });
            ring.octets[place..place + 2].copy_from_slice(&octets);
            ring.until = at.saturating_add(millis(KEEP));
        }
    }

    pub(in crate::registry) fn signals(&self, label: LabelMac, gateways: &[GatewayMac]) -> Vec<Vec<Signal>> {
        let shard = self.shard(label);
        let of =
            |shard: &Shard, gateway| shard.signals.get(&(label, gateway)).map(|ring| read(label, &ring.octets, now()));
        gateways.iter().map(|&gateway| of(&shard, gateway).unwrap_or_default()).collect()
    }
}

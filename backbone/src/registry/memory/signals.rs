//! How strongly gateways have heard labels, in this process's memory.

use super::{MemoryRegistry, Millis, Shard};
use crate::{
    registry::{
        RouteEntry, Signal,
        signals::{SPANS, sample, signal_span, signals},
    },
    service::now,
};
use protocol::{GatewayMac, LabelMac, Timestamp};

/// The samples of a day of one pair, of which there are 150,000 in a store: an octet for each half hour, 0 where there is
/// none. What is older than a day is cleared as newer ones come.
#[derive(Debug)]
pub(super) struct Ring {
    newest: u32,
    octets: [u8; SPANS as usize],
}

impl Ring {
    fn new(span: u32) -> Self {
        Self { newest: span, octets: [0; SPANS as usize] }
    }

    fn write(&mut self, span: u32, octet: u8) {
        if self.newest.saturating_sub(span) >= SPANS as u32 {
            return;
        }
        for passed in (self.newest + 1..=span).rev().take(SPANS as usize) {
            self.octets[place(passed.into())] = 0;
        }
        self.newest = self.newest.max(span);
        self.octets[place(span.into())] = octet;
    }

    fn octet(&self, span: i64) -> Option<u8> {
        (0..SPANS).contains(&(i64::from(self.newest) - span)).then(|| self.octets[place(span)])
    }

    /// Whether anything is of the last day.
    pub(super) fn is_of_use(&self, label: LabelMac, now: Millis) -> bool {
        signal_span(label, Timestamp::from_unix_millis(now)) - i64::from(self.newest) <= SPANS
    }
}

fn place(span: i64) -> usize {
    span.rem_euclid(SPANS) as usize
}

impl MemoryRegistry {
    pub(in crate::registry) fn write_signals(&self, heard: &[RouteEntry]) {
        let at = now().unix_millis();
        for entry in heard {
            let (span, octet) = sample(entry);
            // None is before 1970.
            let Ok(span) = u32::try_from(span) else { continue };
            let mut shard = self.shard(entry.label);
            shard.sweep(at);
            let key = (entry.label, entry.gateway);
            shard.signals.entry(key).or_insert_with(|| Ring::new(span)).write(span, octet);
        }
    }

    pub(in crate::registry) fn signals(&self, label: LabelMac, gateways: &[GatewayMac]) -> Vec<Vec<Signal>> {
        let shard = self.shard(label);
        let at = now();
        let of = |shard: &Shard, gateway| {
            let ring = shard.signals.get(&(label, gateway))?;
            Some(signals(label, at, |span| ring.octet(span)))
        };
        gateways.iter().map(|&gateway| of(&shard, gateway).unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_last_day_is_kept(writes: Vec<(u8, u8)>, first in 0_u32..2_000_000) {
            let (mut ring, mut all, mut span) = (Ring::new(first), BTreeMap::new(), first);
            for (later, octet) in writes {
                span += u32::from(later % 60);
                ring.write(span, octet.max(1));
                all.insert(i64::from(span), octet.max(1));
            }
            for asked in i64::from(first) - 100..i64::from(span) + 100 {
                let kept = i64::from(span) - asked < SPANS;
                let expected = all.get(&asked).copied().filter(|_| kept);
                prop_assert_eq!(ring.octet(asked).filter(|octet| *octet != 0), expected, "{}", asked);
            }
            ring.write(span.saturating_sub(SPANS as u32), 7);
            prop_assert_eq!(ring.octet(i64::from(span) + 1), None);
        }
    }

    #[test]
    fn a_pair_is_small() {
        assert!(size_of::<((LabelMac, GatewayMac), Ring)>() <= 64);
    }
}

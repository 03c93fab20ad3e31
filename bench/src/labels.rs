//! Which label is whose, and what it is told.

use anyhow::{Result, bail};
use protocol::{Fields, LabelMac, Version};
use std::{cell::Cell, time::SystemTime};

/// The emulator's label at this index, from 0: the first has the MAC `001a2b000001`.
pub(crate) fn label(index: u32) -> LabelMac {
    let [_, high, middle, low] = (index + 1).to_be_bytes();
    LabelMac::from_octets([0x00, 0x1a, 0x2b, high, middle, low])
}

/// Labels (or pairs of them), divided among the slots of a closed loop: no two slots ever speak to the same label, so none is busy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    slots: u32,
    each: u32,
}

impl Shares {
    /// Divides so many among so many slots.
    ///
    /// # Errors
    /// When there are not enough for all.
    pub(crate) fn new(count: u32, slots: u32) -> Result<Self> {
        match count.checked_div(slots) {
            Some(each @ 1..) => Ok(Self { slots, each }),
            _ => bail!("{count} are not enough for {slots} at a time: take more --labels"),
        }
    }

    /// The index, from 0, of the one that a slot speaks to in its turn: all of its share one after the other.
    pub(crate) fn index(self, slot: u32, turn: u32) -> u32 {
        slot + self.slots * (turn % self.each)
    }
}

/// Versions that grow with every one taken, over rounds and levels.
#[derive(Debug)]
pub(crate) struct Versions(Cell<u64>);

impl Versions {
    /// Begins with the time, in milliseconds since the Unix epoch, as the backbone itself does where a task has none.
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(Cell::new(u64::try_from(since_epoch.as_millis()).unwrap_or_default()))
    }

    /// The next one, and what a label shows with it.
    pub(crate) fn next(&self) -> (Option<Version>, Fields) {
        let version = self.0.get() + 1;
        self.0.set(version);
        let fields = Fields {
            name: Some("Furadeira 650W".to_owned()),
            price: format!("{}.{:02}", version / 100 % 10_000, version % 100).parse().ok(),
            currency: "BRL".parse().ok(),
            ..Fields::default()
        };
        (Version::try_from(version).ok(), fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_label_is_in_two_shares_and_each_slot_goes_round() {
        let shares = Shares::new(10, 3).unwrap();
        let of = |slot| (0..9).map(|turn| shares.index(slot, turn)).collect::<HashSet<_>>();
        let (first, second, third) = (of(0), of(1), of(2));
        assert!(first.is_disjoint(&second) && second.is_disjoint(&third) && third.is_disjoint(&first));
        assert_eq!((first.len(), second.len(), third.len()), (3, 3, 3));
        assert_eq!(label(Shares::new(5, 5).unwrap().index(4, 7)).to_string(), "001a2b000005");
        assert!(Shares::new(2, 3).is_err());
    }

    #[test]
    fn versions_grow_and_have_a_price() {
        let versions = Versions::new();
        let ((first, fields), (second, _)) = (versions.next(), versions.next());
        assert!(first.is_some() && first < second && fields.price.is_some());
    }
}

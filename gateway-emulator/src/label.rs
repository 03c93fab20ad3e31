//! The labels' memories: what was written to each, when, and by whom.

use crate::faults::LabelFaults;
use protocol::{Action, Command, CorrelationId, Fields, GatewayMac, LabelMac, Timestamp, Version};
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A label remembers so many of its latest commands.
const MAX_HISTORY: usize = 1000;

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The version that was written; only a price update has one.
    pub version: Option<Version>,
    /// When it came to the gateway.
    pub came: Timestamp,
    /// When it was done.
    pub at: Timestamp,
    /// The broker had kept it for whoever subscribes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retained: bool,
    /// Which gateway did it.
    pub gateway: GatewayMac,
    /// For which RPC.
    pub id: CorrelationId,
    /// What was done.
    #[serde(rename = "type")]
    pub action: Action,
}

/// A command that came to a gateway.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The command.
    pub command: Command,
    /// When it came.
    pub came: Timestamp,
    /// The broker had kept it for whoever subscribes.
    pub retained: bool,
}

/// What a label shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The version.
    pub version: Option<Version>,
    /// The fields.
    pub fields: Fields,
    /// Since when.
    pub at: Timestamp,
    /// Which gateway wrote it.
    pub gateway: GatewayMac,
}

/// One label's memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// What it shows; nothing when it is new.
    pub shown: Option<Shown>,
    /// How many price updates were written to it.
    pub writes: u64,
    /// How many other commands it carried out.
    pub others: u64,
    /// Its latest commands, the oldest first.
    pub history: VecDeque<Done>,
    /// What is wrong with it.
    pub faults: LabelFaults,
}

/// All labels of the store, by index.
#[derive(Debug)]
pub struct Labels {
    first: u32,
    memories: Vec<Mutex<Memory>>,
}

impl Memory {
    /// Carries a command out. What is shown afterwards is what came last, whether newer or not: labels don't compare.
    pub fn carry_out(&mut self, taken: Taken, gateway: GatewayMac, at: Timestamp) {
        let Taken { command: Command { id, action, version, fields, .. }, came, retained } = taken;
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        if self.history.len() == self.history.capacity() {
            // Most labels are written to once or twice: no room for four at once, as a push would make.
            self.history.reserve_exact(self.history.len() / 2 + 1);
        }
        self.history.push_back(Done { version, came, at, retained, gateway, id, action });
        if action == Action::PriceUpdate {
            self.writes += 1;
            self.shown = Some(Shown { version, fields, at, gateway });
        } else {
            self.others += 1;
        }
    }
}

impl Labels {
    /// So many new labels, from this number on.
    pub fn new(first: u32, count: u32) -> Self {
        Self { first, memories: (0..count).map(|_| Mutex::default()).collect() }
    }

    /// The index of a label of this store.
    pub fn index(&self, mac: LabelMac) -> Option<usize> {
        let [0x00, 0x1a, 0x2b, a, b, c] = mac.octets() else { return None };
        let index = u32::from_be_bytes([0, a, b, c]).checked_sub(self.first)? as usize;
        (index < self.memories.len()).then_some(index)
    }

    /// The MAC of the label at an index.
    pub fn mac(&self, index: usize) -> LabelMac {
        let [_, a, b, c] = (self.first + index as u32).to_be_bytes();
        LabelMac::from_octets([0x00, 0x1a, 0x2b, a, b, c])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.memories.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.memories.is_empty()
    }

    /// The memory of the label at an index.
    pub fn memory(&self, index: usize) -> MutexGuard<'_, Memory> {
        // No change to a memory can stop half way, so one that a panic left is whole.
        self.memories[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The MAC of the gateway at an index.
pub fn gateway_mac(first: u32, index: usize) -> GatewayMac {
    let [_, a, b, c] = (first + index as u32).to_be_bytes();
    GatewayMac::from_octets([0x00, 0xfa, 0x7e, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(json: &str) -> Taken {
        let command = serde_json::from_str(json).unwrap();
        Taken { command, came: Timestamp::from_unix_millis(4), retained: false }
    }

    #[test]
    fn macs_and_indices_belong_together() {
        let labels = Labels::new(1, 3000);
        assert_eq!(labels.mac(0).to_string(), "001a2b000001");
        assert_eq!(labels.mac(2999).to_string(), "001a2b000bb8");
        assert!((0..3000).all(|index| labels.index(labels.mac(index)) == Some(index)));
        for stranger in ["001a2b000000", "001a2b000bb9", "001a2c000001"] {
            assert_eq!(labels.index(stranger.parse().unwrap()), None, "{stranger}");
        }
        assert_eq!(gateway_mac(1, 254).to_string(), "00fa7e0000ff");
    }

    #[test]
    fn a_label_shows_what_came_last_even_if_older() {
        let (mut memory, gateway) = (Memory::default(), gateway_mac(1, 0));
        for (version, id) in [(2, "b"), (1, "a")] {
            let json = format!(
                r#"{{"id":"{id}","deviceMac":"001a2b000001","type":"price_update","version":{version},"fields":{{"price":"{version}.00"}}}}"#
            );
            memory.carry_out(command(&json), gateway, Timestamp::from_unix_millis(5));
        }
        memory.carry_out(
            command(r#"{"id":"c","deviceMac":"001a2b000001","type":"blink"}"#),
            gateway,
            Timestamp::from_unix_millis(6),
        );
        assert_eq!(memory.shown.as_ref().unwrap().version, Version::try_from(1).ok());
        assert_eq!((memory.writes, memory.others, memory.history.len()), (2, 1, 3));
    }

    #[test]
    fn a_memory_is_bounded() {
        let (mut memory, blink) = (Memory::default(), r#"{"id":"c","deviceMac":"001a2b000001","type":"blink"}"#);
        for _ in 0..MAX_HISTORY + 5 {
            memory.carry_out(command(blink), gateway_mac(1, 0), Timestamp::from_unix_millis(6));
        }
        assert_eq!((memory.others, memory.history.len()), (MAX_HISTORY as u64 + 5, MAX_HISTORY));
    }
}

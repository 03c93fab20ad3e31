//! The miniature's gateways, and the MQTT broker before them.

use crate::{
    backbone::{Model, Rpc, Step},
    rules::Rule,
    wire::{RPC_TIMEOUT_MS, gateway_mac, label_mac, rpc_id, time},
};
use faults::history::Carried;
use protocol::Version;
use std::collections::HashMap;

/// This label's answers are always lost.
pub(crate) const MUTE: usize = 5;

/// The command of an RPC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent(pub(crate) usize);

pub(crate) struct Gateway {
    /// It names the RPC in its answers, not only the label.
    pub(crate) echoes: bool,
    pub(crate) online: bool,
    /// What the broker keeps while it is away.
    pub(crate) waiting: Vec<usize>,
    /// What the broker keeps for whoever subscribes.
    pub(crate) retained: Option<Sent>,
    /// Until when it is at work on a label: commands to one label are carried out in their order.
    busy: HashMap<usize, u64>,
    came: HashMap<usize, u64>,
}

impl Gateway {
    pub(crate) fn new(echoes: bool) -> Self {
        Self { echoes, online: true, waiting: Vec::new(), retained: None, busy: HashMap::new(), came: HashMap::new() }
    }
}

impl Model {
    pub(crate) fn send(&mut self, rpc: usize) {
        let gateway = self.rpcs[rpc].gateway;
        if !self.rules.hold(Rule::NotRetained) {
            self.gateways[gateway].retained = Some(Sent(rpc));
        }
        let transit = 1 + self.random.u64(..10);
        self.agenda.later(transit, Step::Arrive(rpc));
    }

    fn fate(&mut self) -> u8 {
        let fate = self.random.u8(..100);
        if self.agenda.now < self.kind_until { 99 } else { fate }
    }

    /// The broker has it for the gateway.
    pub(crate) fn arrive(&mut self, rpc: usize) {
        let Rpc { label, gateway, began, .. } = self.rpcs[rpc];
        let now = self.agenda.now;
        if now > began + RPC_TIMEOUT_MS && self.rules.hold(Rule::Expiry) {
            return;
        }
        if !self.gateways[gateway].online {
            return self.gateways[gateway].waiting.push(rpc);
        }
        self.gateways[gateway].came.insert(rpc, now);
        let (fate, writing) = (self.fate(), 20 + self.random.u64(..250));
        // An RPC that names only the label is answered within its quarantine: what comes after that nobody can tell.
        let late = RPC_TIMEOUT_MS * 12 / 10 + self.random.u64(..RPC_TIMEOUT_MS * 3 / 10);
        match fate {
            0..6 => {} // it loses the command
            6..14 => self.agenda.later(late, Step::Write(rpc, false)),
            _ => {
                let busy = self.gateways[gateway].busy.entry(label).or_default();
                *busy = now.max(*busy) + writing;
                let delay = *busy - now;
                self.agenda.later(delay, Step::Write(rpc, false));
            }
        }
    }

    pub(crate) fn write(&mut self, rpc: usize, retained: bool) {
        let Rpc { label, version, gateway, began, .. } = self.rpcs[rpc];
        let now = self.agenda.now;
        let came = if retained { now } else { self.gateways[gateway].came[&rpc] };
        self.history.commands.push(Carried {
            label: label_mac(label),
            gateway: gateway_mac(gateway),
            rpc: rpc_id(rpc, began),
            version: version.and_then(|version| Version::try_from(version).ok()),
            came: time(came),
            at: time(now),
            retained,
        });
        let in_time = now <= began + RPC_TIMEOUT_MS;
        let fate = self.fate();
        // Where a command is carried out late and its answer is lost, nobody can notice.
        if in_time && (label == MUTE || fate < 5) {
            return;
        }
        let late = in_time && (5..12).contains(&fate);
        let quarantined = began + RPC_TIMEOUT_MS + self.random.u64(..RPC_TIMEOUT_MS * 8 / 10);
        let delay = if late { quarantined - now } else { 1 + self.random.u64(..5) };
        self.agenda.later(delay, Step::Answer(rpc));
    }
}

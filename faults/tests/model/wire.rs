//! Names and times of the miniature.

use protocol::{CorrelationId, GatewayMac, LabelMac, TaskId, Timestamp};
use std::{cmp::Reverse, collections::BinaryHeap};
use uuid::Builder;

/// How long somebody waits for an RPC's answer.
pub(crate) const RPC_TIMEOUT_MS: u64 = 1_000;
/// How long a task may take.
pub(crate) const TASK_TIMEOUT_MS: u64 = 12_000;

/// When the miniature's time begins.
const BEGIN_MS: u64 = 1_800_000_000_000;

/// A time of the miniature, on everybody's clock.
pub(crate) fn time(now: u64) -> Timestamp {
    Timestamp::from_unix_millis(i64::try_from(BEGIN_MS + now).unwrap())
}

/// The ID of the RPC with this number, which begins now.
pub(crate) fn rpc_id(number: usize, now: u64) -> CorrelationId {
    let mut rest = [0; 10];
    rest[2..].copy_from_slice(&(number as u64).to_be_bytes());
    CorrelationId::from_uuid(Builder::from_unix_timestamp_millis(BEGIN_MS + now, &rest).into_uuid())
}

/// The task with this number.
pub(crate) fn task_id(number: usize) -> TaskId {
    format!("task-{number}").parse().unwrap()
}

/// The label with this number.
pub(crate) fn label_mac(label: usize) -> LabelMac {
    LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, u8::try_from(label).unwrap()])
}

/// The gateway with this number.
pub(crate) fn gateway_mac(gateway: usize) -> GatewayMac {
    GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, u8::try_from(gateway).unwrap()])
}

/// What is to happen, by its time.
pub(crate) struct Agenda<T> {
    steps: BinaryHeap<Reverse<(u64, usize)>>,
    what: Vec<Option<T>>,
    pub(crate) now: u64,
}

impl<T> Agenda<T> {
    /// Nothing is to happen.
    pub(crate) fn new() -> Self {
        Self { steps: BinaryHeap::new(), what: Vec::new(), now: 0 }
    }

    /// This happens so much later.
    pub(crate) fn later(&mut self, delay: u64, step: T) {
        self.steps.push(Reverse((self.now + delay, self.what.len())));
        self.what.push(Some(step));
    }

    /// What happens next, until this time.
    pub(crate) fn next(&mut self, until: u64) -> Option<T> {
        let Reverse((at, index)) = self.steps.pop().filter(|Reverse((at, _))| *at <= until)?;
        self.now = at;
        self.what[index].take()
    }
}

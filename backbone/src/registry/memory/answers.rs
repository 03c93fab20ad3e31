//! How gateways have answered of late, in this process's memory.

use super::MemoryRegistry;
use crate::registry::answers::{AnswerCounts, spans};
use protocol::{CorrelationId, GatewayMac, LabelMac};
use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};
use uuid::Uuid;

/// What was counted of a gateway in a span, by worker.
pub(super) type Counted = HashMap<(GatewayMac, i64), HashMap<Uuid, AnswerCounts>>;

impl MemoryRegistry {
    pub(in crate::registry) fn write_answers(&self, worker: Uuid, span: i64, counted: &[(GatewayMac, AnswerCounts)]) {
        let mut answers = self.answers_locked();
        for (gateway, counts) in counted {
            answers.entry((*gateway, span)).or_default().insert(worker, counts.clone());
        }
        answers.retain(|(_, span), _| spans().contains(span));
    }

    pub(in crate::registry) fn answers(&self, gateways: &[GatewayMac]) -> Vec<AnswerCounts> {
        let answers = self.answers_locked();
        let of = |&gateway: &GatewayMac| {
            let spans = spans().filter_map(|span| answers.get(&(gateway, span)));
            AnswerCounts::sum(spans.flat_map(HashMap::values))
        };
        gateways.iter().map(of).collect()
    }

    pub(in crate::registry) fn asked(&self, label: LabelMac, id: &CorrelationId) -> Option<GatewayMac> {
        self.shard(label).labels.get(&label)?.asked(id)
    }

    fn answers_locked(&self) -> MutexGuard<'_, Counted> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! How gateways answer, counted in memory and written now and then for whoever looks. No price waits for it.

use backbone::{
    registry::{AnswerCounts, Registry, RegistryError, answer_span},
    service::now,
};
use protocol::{CorrelationId, GatewayMac, LabelMac, Refusal, Reply, ReplyOutcome};
use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const WRITE_EVERY: Duration = Duration::from_secs(5);
/// At the end of the process, the last write may take so long.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// More gateways than these are not counted in a span of time, nor more RPCs without an answer between two writes.
const MOST: usize = 10_000;
/// RPCs that are looked up, or gateways that are written, in one round trip.
const CHUNK: usize = 1_000;

/// What was counted in the present span. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    span: i64,
    gateways: HashMap<GatewayMac, AnswerCounts>,
    /// Those whose counts are not written yet.
    changed: HashSet<GatewayMac>,
    /// Nobody says which gateway did not answer: it is looked up before the next write.
    unanswered: Vec<(LabelMac, CorrelationId)>,
}

impl Answers {
    /// Counts what came of an RPC, if a gateway was asked.
    pub(crate) fn note(&self, label: LabelMac, id: &CorrelationId, reply: Option<&Reply>, took: Duration) {
        let mut counted = self.locked();
        let Some(reply) = reply else {
            if counted.unanswered.len() < MOST {
                counted.unanswered.push((label, id.clone()));
            }
            return;
        };
        let Some(gateway) = reply.gateway else { return };
        match reply.outcome {
            ReplyOutcome::Ack => counted.count(gateway, AnswerCounts::ACK, Some(took)),
            ReplyOutcome::Nack => {
                let refusal = reply.error.as_deref().map_or(Refusal::UNSPECIFIED, Refusal::new);
                counted.count(gateway, refusal.as_str(), Some(took));
            }
            _ => {}
        }
    }

    /// Writes until closed, and once more then.
    pub(crate) async fn keep_writing(self, registry: Registry, worker: Uuid, closed: CancellationToken) {
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.write_or_log(&registry, worker).await,
                () = closed.cancelled() => break,
            }
        }
        let _ = tokio::time::timeout(LAST_WRITE, self.write_or_log(&registry, worker)).await;
    }

    async fn write_or_log(&self, registry: &Registry, worker: Uuid) {
        if let Err(error) = self.write(registry, worker).await {
            tracing::debug!("how gateways answer is not written: {error}");
        }
    }

    async fn write(&self, registry: &Registry, worker: Uuid) -> Result<(), RegistryError> {
        let unanswered = mem::take(&mut self.locked().unanswered);
        for rpcs in unanswered.chunks(CHUNK) {
            let asked = registry.asked(rpcs).await?;
            let mut counted = self.locked();
            asked.into_iter().flatten().for_each(|gateway| counted.count(gateway, AnswerCounts::TIMEOUT, None));
        }
        let (span, changed) = self.locked().take_changed();
        for counts in changed.chunks(CHUNK) {
            if let Err(error) = registry.write_answers(worker, span, counts).await {
                // The counts of the present span are still there, to be written whole the next time.
                self.locked().changed.extend(changed.iter().map(|(gateway, _)| *gateway));
                return Err(error);
            }
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn count(&mut self, gateway: GatewayMac, kind: &str, took: Option<Duration>) {
        if self.gateways.len() < MOST || self.gateways.contains_key(&gateway) {
            self.gateways.entry(gateway).or_default().count(kind, took);
            self.changed.insert(gateway);
        }
    }

    /// What is to be written, and for which span; where that is over, the next begins with nothing.
    fn take_changed(&mut self) -> (i64, Vec<(GatewayMac, AnswerCounts)>) {
        let present = answer_span(now());
        let span = if self.span == 0 { present } else { self.span };
        let changed = mem::take(&mut self.changed).into_iter();
        let changed = changed.filter_map(|gateway| Some((gateway, self.gateways.get(&gateway)?.clone()))).collect();
        if span != present {
            self.gateways.clear();
        }
        self.span = present;
        (span, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::registry::{MemoryRegistry, RouteEntry, RpcPolicy, Start, Started};
    use protocol::{Rssi, Version};

    const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
    const LABEL: LabelMac = LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, 1]);

    fn reply(outcome: ReplyOutcome, error: Option<&str>) -> Reply {
        let error = error.map(str::to_owned);
        Reply { id: None, label: LABEL, outcome, error, gateway: Some(GATEWAY), retry_after_ms: None }
    }

    #[tokio::test]
    async fn what_a_gateway_did_not_answer_is_counted_as_its_own() {
        let registry = Registry::connect(&MemoryRegistry::new().into()).unwrap();
        let rssi = Rssi::try_from(-50).unwrap();
        let route = RouteEntry { label: LABEL, gateway: GATEWAY, rssi, at: now(), battery_mv: None };
        registry.write_routes(&[route], Duration::from_secs(60)).await.unwrap();
        let id: CorrelationId = "silent".parse().unwrap();
        let start = Start {
            id: id.clone(),
            label: LABEL,
            version: Version::try_from(1).ok(),
            reply_to: "to".to_owned(),
            time_left: Duration::from_secs(1),
            again: false,
        };
        let started = registry.start(&[start], &RpcPolicy::default(), &[]).await.unwrap();
        assert_eq!(started, [Started::Send(GATEWAY)]);

        let answers = Answers::default();
        let took = Duration::from_millis(45);
        answers.note(LABEL, &id, None, took);
        answers.note(LABEL, &"never-sent".parse().unwrap(), None, took);
        answers.note(LABEL, &id, Some(&reply(ReplyOutcome::Ack, None)), took);
        answers.note(LABEL, &id, Some(&reply(ReplyOutcome::Nack, Some("queue_full"))), took);
        answers.note(LABEL, &id, Some(&reply(ReplyOutcome::Busy, None)), took);
        let worker = Uuid::now_v7();
        // What is written twice counts once.
        answers.write(&registry, worker).await.unwrap();
        answers.note(LABEL, &id, Some(&reply(ReplyOutcome::Ack, None)), took);
        answers.write(&registry, worker).await.unwrap();
        let counted = registry.answers(&[GATEWAY]).await.unwrap().remove(0);
        let kinds: Vec<_> = counted.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(kinds, [("ack", 2), ("queue_full", 1), ("timeout", 1)]);
        assert_eq!(counted.latencies().collect::<Vec<_>>(), [(50, 3)]);
    }
}

//! One label, until it has its outcome: RPC after RPC, with backoff between them, until the task's deadline.

use crate::{decide::Drive, metrics::Metrics};
use backbone::{
    ledger::{LabelRecord, LedgerError, LedgerWriter, RpcLatency, Telemetry},
    queue::{QueueError, RpcClient, RpcError, RpcRequest},
    service::{Backoff, now},
};
use protocol::{Action, Command, CorrelationId, GatewayMac, LabelMac, Outcome, Refusal, Reply, ReplyOutcome};
use std::time::Duration;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The last attempt needs so much time at least.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);

/// What drives labels, for all tasks of one session.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) rpc: RpcClient,
    pub(crate) ledger: LedgerWriter,
    pub(crate) telemetry: Telemetry,
    pub(crate) metrics: Metrics,
    pub(crate) permits: Semaphore,
    pub(crate) rpc_timeout: Duration,
    pub(crate) worker: Uuid,
    /// Cancelled when the worker shall take up nothing new.
    pub(crate) stop: CancellationToken,
}

/// How driving a label ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Driven {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<String>,
    pub(crate) gateway: Option<GatewayMac>,
    pub(crate) attempts: u32,
    /// A gateway acknowledged it to us: what the label shows is news to the ledger.
    pub(crate) acknowledged: bool,
}

/// Why a label was not driven to its end: the task is delivered again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("the session with RabbitMQ is lost")]
    Session(#[from] QueueError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    #[error("the worker stops")]
    Stopping,
}

/// What an attempt leads to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The label has its outcome.
    End(Outcome, Option<String>),
    /// Another RPC is at work on the label: try again soon.
    WaitForTurn,
    /// It may work later; the text is the reason should this have been the last attempt.
    Retry(String),
}

/// What a reply, or none, leads to.
fn step(reply: Option<&Reply>) -> Step {
    let Some(reply) = reply else { return Step::Retry("no answer from the gateway".to_owned()) };
    let error = || reply.error.as_deref();
    match reply.outcome {
        ReplyOutcome::Ack => Step::End(Outcome::Shown, None),
        ReplyOutcome::Nack => match error().map_or(Refusal::UNSPECIFIED, Refusal::new) {
            refusal if refusal.is_passing() => Step::Retry(format!("the gateway answered {refusal}")),
            refusal => Step::End(Outcome::Rejected, Some(refusal.to_string())),
        },
        ReplyOutcome::NoRoute => Step::Retry(error().unwrap_or("no gateway hears the label").to_owned()),
        ReplyOutcome::Busy => Step::WaitForTurn,
        // The ledger has the last word on that, and is asked before each retry.
        ReplyOutcome::Superseded => Step::Retry("a newer version was started".to_owned()),
        ReplyOutcome::Expired => Step::Retry("no time was left when the command was to be sent".to_owned()),
    }
}

/// Whether what became known of the label in the meantime settles it, after these attempts.
fn settled_meanwhile(action: Action, drive: &Drive, known: Option<&LabelRecord>, so_far: &Driven) -> Option<Driven> {
    let (version, known) = (drive.version?, known?);
    match (&known.desired, &known.shown) {
        (Some(desired), _) if desired.version > version => {
            let reason = Some(format!("version {} is desired", desired.version));
            Some(Driven { outcome: Outcome::Superseded, reason, ..so_far.clone() })
        }
        // Another task's acknowledgement. To a repair it means nothing: it may be from before the label went back.
        (_, Some(shown)) if shown.version == version && action != Action::Repair => {
            Some(Driven { outcome: Outcome::Shown, reason: None, gateway: shown.gateway, ..so_far.clone() })
        }
        _ => None,
    }
}

impl Driver {
    /// Drives one label until it has its outcome or the deadline has come.
    pub(crate) async fn drive(
        &self,
        label: LabelMac,
        action: Action,
        drive: &Drive,
        deadline: Instant,
    ) -> Result<Driven, Interrupted> {
        let mut turns = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut retries = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut driven =
            Driven { outcome: Outcome::Unreachable, reason: None, gateway: None, attempts: 0, acknowledged: false };
        loop {
            let reply = self.attempt(label, action, drive, deadline).await?;
            driven.attempts += 1;
            driven.gateway = reply.as_ref().and_then(|reply| reply.gateway).or(driven.gateway);
            let delay = match step(reply.as_ref()) {
                Step::End(outcome, reason) => {
                    return Ok(Driven { outcome, reason, acknowledged: outcome == Outcome::Shown, ..driven });
                }
                Step::WaitForTurn => {
                    driven.reason.get_or_insert_with(|| "another command to the label was under way".to_owned());
                    turns.next_delay()
                }
                Step::Retry(reason) => {
                    driven.reason = Some(reason);
                    retries.next_delay()
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left < LAST_ATTEMPT {
                return Ok(driven);
            }
            tokio::select! {
                () = tokio::time::sleep(delay.min(left - LAST_ATTEMPT)) => {}
                () = self.stop.cancelled() => return Err(Interrupted::Stopping),
            }
            let known = self.ledger.look(vec![label]).await?.pop().flatten();
            if let Some(settled) = settled_meanwhile(action, drive, known.as_ref(), &driven) {
                return Ok(settled);
            }
        }
    }

    /// One RPC; `None`: no reply came in time.
    async fn attempt(
        &self,
        label: LabelMac,
        action: Action,
        drive: &Drive,
        deadline: Instant,
    ) -> Result<Option<Reply>, Interrupted> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|_| Interrupted::Stopping)?;
        let timeout = self.rpc_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let id = CorrelationId::from_uuid(Uuid::now_v7());
        // To a gateway, a repair is a price update like any other.
        let action = if action == Action::Repair { Action::PriceUpdate } else { action };
        let fields = (*drive.fields).clone();
        let command = Command { id: id.clone(), label, action, version: drive.version, fields };
        let body = serde_json::to_vec(&command).unwrap_or_default();
        let began = Instant::now();
        let in_flight = self.metrics.rpc_in_flight();
        let reply = self.rpc.call(RpcRequest { id: &id, label, body: &body, timeout }).await;
        drop(in_flight);
        let reply = match reply {
            Ok(reply) => Some(reply),
            Err(RpcError::Timeout) => None,
            Err(RpcError::Session(error)) => return Err(error.into()),
        };
        self.note(label, reply.as_ref(), began.elapsed());
        tracing::debug!(rpc.id = %id, device.mac = %label, ?reply, "rpc");
        Ok(reply)
    }

    fn note(&self, label: LabelMac, reply: Option<&Reply>, latency: Duration) {
        let end = reply.map_or("timeout", |reply| outcome_name(reply.outcome));
        self.metrics.count_rpc(end, latency);
        self.telemetry.record(RpcLatency {
            at: now(),
            label,
            gateway: reply.and_then(|reply| reply.gateway),
            outcome: end,
            latency,
            worker: self.worker,
        });
    }
}

const fn outcome_name(outcome: ReplyOutcome) -> &'static str {
    match outcome {
        ReplyOutcome::Ack => "ack",
        ReplyOutcome::Nack => "nack",
        ReplyOutcome::NoRoute => "no_route",
        ReplyOutcome::Busy => "busy",
        ReplyOutcome::Superseded => "superseded",
        ReplyOutcome::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::ledger::{Desired, Shown};
    use protocol::{Timestamp, Version};
    use std::sync::Arc;

    fn reply(outcome: ReplyOutcome, error: Option<&str>) -> Reply {
        let label = LabelMac::from_octets([0; 6]);
        Reply { id: None, label, outcome, error: error.map(str::to_owned), gateway: None, retry_after_ms: None }
    }

    #[test]
    fn final_refusals_end_it_and_passing_ones_do_not() {
        assert_eq!(step(Some(&reply(ReplyOutcome::Ack, None))), Step::End(Outcome::Shown, None));
        let end = step(Some(&reply(ReplyOutcome::Nack, Some("insufficient_battery"))));
        assert_eq!(end, Step::End(Outcome::Rejected, Some("insufficient_battery".to_owned())));
        assert!(matches!(step(Some(&reply(ReplyOutcome::Nack, None))), Step::End(Outcome::Rejected, _)));
        for passing in ["retry", "queue_full", "insufficient_resources"] {
            assert!(matches!(step(Some(&reply(ReplyOutcome::Nack, Some(passing)))), Step::Retry(_)));
        }
        assert!(matches!(step(None), Step::Retry(_)));
        assert_eq!(step(Some(&reply(ReplyOutcome::Busy, None))), Step::WaitForTurn);
    }

    #[test]
    fn what_others_did_meanwhile_settles_it() {
        let version = |number| Version::try_from(number).unwrap();
        let (at, task_id) = (Timestamp::from_unix_millis(0), "t".parse::<protocol::TaskId>().unwrap());
        let gateway = Some(GatewayMac::from_octets([7; 6]));
        let record = |desired, shown| LabelRecord {
            desired: Some(Desired { version: version(desired), fields: Arc::default(), at, task_id: task_id.clone() }),
            shown: Some(Shown {
                version: version(shown),
                fields: Arc::default(),
                at,
                task_id: task_id.clone(),
                gateway,
            }),
            ..LabelRecord::default()
        };
        let so_far =
            Driven { outcome: Outcome::Unreachable, reason: None, gateway: None, attempts: 2, acknowledged: false };
        let settled = |action, record| {
            let drive = Drive { version: Some(version(5)), fields: Arc::default() };
            settled_meanwhile(action, &drive, Some(&record), &so_far)
        };
        let outcome = |action, record| settled(action, record).map(|settled| settled.outcome);
        assert_eq!(outcome(Action::PriceUpdate, record(6, 4)), Some(Outcome::Superseded));
        let shown = Driven { outcome: Outcome::Shown, gateway, ..so_far.clone() };
        assert_eq!(settled(Action::PriceUpdate, record(5, 5)), Some(shown), "by the gateway that showed it");
        assert_eq!(outcome(Action::PriceUpdate, record(5, 4)), None);
        assert_eq!(outcome(Action::Repair, record(6, 4)), Some(Outcome::Superseded));
        assert_eq!(outcome(Action::Repair, record(5, 5)), None, "a repair believes nobody");
        let blink = Drive { version: None, fields: Arc::default() };
        assert_eq!(settled_meanwhile(Action::Blink, &blink, Some(&record(6, 6)), &so_far), None);
    }
}

//! One label, until it has its outcome or must wait for its gateway: RPC after RPC, with backoff between them, until the
//! task's deadline.

use crate::{
    answers::Answers,
    ask::Asker,
    decide::Drive,
    held::{self, Held, Holders},
    metrics::Metrics,
};
use backbone::{
    ledger::{LabelRecord, LedgerError, LedgerWriter, RpcLatency, Telemetry},
    queue::{QueueError, RpcRequest},
    service::{Backoff, now},
};
use protocol::{
    Action, CANCELLED, Command, CorrelationId, GatewayMac, LabelMac, MAX_WAIT, Outcome, Priority, Refusal, Reply,
    ReplyOutcome, Timestamp, Turn, WaitFor,
};
use std::time::Duration;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The last attempt needs so much time at least.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);

/// A label that is not to be asked before so long needs nobody until then: it waits in the queue.
const LONG: Duration = Duration::from_secs(1);

/// What drives labels, for all tasks of one session.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) rpc: Asker,
    pub(crate) ledger: LedgerWriter,
    pub(crate) telemetry: Telemetry,
    pub(crate) answers: Answers,
    pub(crate) metrics: Metrics,
    pub(crate) permits: Permits,
    pub(crate) rpc_timeout: Duration,
    pub(crate) worker: Uuid,
    /// Cancelled when the worker shall take up nothing new.
    pub(crate) stop: CancellationToken,
}

/// How many RPCs may be in flight: what is urgent has a share of its own, which nothing else can take.
#[derive(Debug)]
pub(crate) struct Permits {
    normal: Semaphore,
    urgent: Semaphore,
}

impl Permits {
    pub(crate) fn new(normal: u16) -> Self {
        Self { normal: Semaphore::new(normal.into()), urgent: Semaphore::new(urgent_share(normal).into()) }
    }

    fn of(&self, priority: Priority) -> &Semaphore {
        match priority {
            Priority::Normal => &self.normal,
            Priority::Urgent => &self.urgent,
        }
    }
}

/// How many more there may be of what is urgent, where there may be so many of what is not.
pub(crate) fn urgent_share(normal: u16) -> u16 {
    (normal / 4).max(1)
}

/// Which label is to be driven, and to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) label: LabelMac,
    pub(crate) action: Action,
    pub(crate) priority: Priority,
    pub(crate) drive: &'a Drive,
    pub(crate) holders: &'a Holders,
}

/// Where driving a label begins, again perhaps.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// When it was taken up.
    pub(crate) at: Timestamp,
    pub(crate) deadline: Instant,
    /// What it has waited, without its deadline coming closer.
    pub(crate) waited: Duration,
    /// How long its batch has been paused, likewise.
    pub(crate) paused: Duration,
    /// What it waited for last.
    pub(crate) waited_for: Option<WaitFor>,
    pub(crate) attempts: u32,
    /// Why the latest of them failed.
    pub(crate) reason: Option<String>,
}

/// What driving a label came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has its outcome.
    Ended(Driven),
    /// It is to be asked again after a while, and needs nobody until then.
    Waits(Pause),
}

/// Why a label waits, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) what: WaitFor,
    /// Since it was taken up in order to be asked: that nobody was free to ask it, or to answer, was waiting, too.
    pub(crate) since: Timestamp,
    pub(crate) time: Duration,
    pub(crate) attempts: u32,
    /// Why the latest of them failed.
    pub(crate) reason: Option<String>,
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

/// Whether an RPC may be made.
enum Permit<'a> {
    /// It may, as long as this lives.
    Granted(SemaphorePermit<'a>),
    /// Its batch is paused or cancelled.
    Held(Held),
}

/// What an attempt leads to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The label has its outcome.
    End(Outcome, Option<String>),
    /// Another RPC is at work on the label: try again soon.
    WaitForTurn,
    /// Its gateway takes no more for so long.
    Pause(WaitFor, Duration),
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
        ReplyOutcome::Busy => reply.wait().map_or(Step::WaitForTurn, |(what, time)| Step::Pause(what, time)),
        // The ledger has the last word on that, and is asked before each retry.
        ReplyOutcome::Superseded => Step::Retry("a newer version was started".to_owned()),
        ReplyOutcome::Expired => Step::Retry("no time was left when the command was to be sent".to_owned()),
    }
}

/// The reason of a label for which there is no time left to wait.
const fn reason(what: WaitFor) -> &'static str {
    match what {
        WaitFor::GatewayFull => "no place at the gateway came free",
        WaitFor::GatewayFailing => "the gateway keeps failing, and is left alone for a while",
        WaitFor::NextAttempt => "no gateway hears the label, or none answers",
        WaitFor::BatchPaused => "no time was left when its batch was resumed",
    }
}

/// How long a label may wait that was told to wait so long; `None`: its time is over.
fn time_to_wait(what: WaitFor, told: Duration, waited: Duration, left: Duration) -> Option<Duration> {
    if what == WaitFor::GatewayFull && waited < MAX_WAIT {
        return Some(told);
    }
    let before_the_last_attempt = left.checked_sub(LAST_ATTEMPT)?;
    Some(told.min(before_the_last_attempt))
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

/// It waits for so long, out of the worker's hands.
fn waits(driven: Driven, what: WaitFor, since: Timestamp, time: Duration) -> Progress {
    let Driven { attempts, reason, .. } = driven;
    Progress::Waits(Pause { what, since, time, attempts, reason })
}

impl Driver {
    /// Drives one label until it has its outcome, the deadline has come, or it must wait for its gateway.
    pub(crate) async fn drive(&self, target: &Target<'_>, start: Start) -> Result<Progress, Interrupted> {
        let mut driven = so_far(&start);
        let Start { at: mut taken_up, deadline, waited, paused, waited_for, attempts, reason: _ } = start;
        let mut turn = turn(target.priority, waited_for);
        if driven.reason.is_some() && left_until(deadline) < LAST_ATTEMPT {
            return Ok(Progress::Ended(driven));
        }
        let mut turns = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut retries = retries(attempts);
        loop {
            let reply = match self.permit(target).await? {
                Permit::Granted(_permit) => self.attempt(target, turn, deadline).await?,
                Permit::Held(held) => return Ok(hold(held, driven, taken_up, paused)),
            };
            driven.gateway = reply.as_ref().and_then(|reply| reply.gateway).or(driven.gateway);
            let step = step(reply.as_ref());
            // Being told to come back is no attempt.
            driven.attempts += u32::from(!matches!(step, Step::Pause(..)));
            let delay = match step {
                Step::End(outcome, reason) => {
                    let acknowledged = outcome == Outcome::Shown;
                    return Ok(Progress::Ended(Driven { outcome, reason, acknowledged, ..driven }));
                }
                Step::Pause(what, told) => {
                    let Some(time) = time_to_wait(what, told, waited, left_until(deadline)) else {
                        return Ok(Progress::Ended(Driven { reason: Some(reason(what).to_owned()), ..driven }));
                    };
                    return Ok(waits(Driven { reason: None, ..driven }, what, taken_up, time));
                }
                Step::WaitForTurn => {
                    driven.reason.get_or_insert_with(|| "another command to the label was under way".to_owned());
                    turns.next_delay()
                }
                Step::Retry(reason) => {
                    driven.reason = Some(reason);
                    // What it waited for, it has had.
                    turn = self::turn(target.priority, None);
                    let (delay, what) = (retries.next_delay(), WaitFor::NextAttempt);
                    if delay >= LONG
                        && let Some(time) = time_to_wait(what, delay, waited, left_until(deadline))
                    {
                        return Ok(waits(driven, what, taken_up, time));
                    }
                    delay
                }
            };
            let left = left_until(deadline);
            if left < LAST_ATTEMPT {
                return Ok(Progress::Ended(driven));
            }
            tokio::select! {
                () = tokio::time::sleep(delay.min(left - LAST_ATTEMPT)) => {}
                () = self.stop.cancelled() => return Err(Interrupted::Stopping),
            }
            if let Some(settled) = self.settled_meanwhile(target, &driven).await? {
                return Ok(Progress::Ended(settled));
            }
            taken_up = now();
        }
    }

    /// Asks the ledger whether the label needs no more asking, after these attempts.
    pub(crate) async fn settled_meanwhile(
        &self,
        target: &Target<'_>,
        driven: &Driven,
    ) -> Result<Option<Driven>, Interrupted> {
        let known = self.ledger.look(vec![target.label]).await?.pop().flatten();
        Ok(settled_meanwhile(target.action, target.drive, known.as_ref(), driven))
    }

    /// The permit for one RPC, unless the label is held.
    async fn permit(&self, target: &Target<'_>) -> Result<Permit<'_>, Interrupted> {
        if let Some(held) = target.holders.now() {
            return Ok(Permit::Held(held));
        }
        // The semaphore is never closed.
        let permit = self.permits.of(target.priority).acquire().await.map_err(|_| Interrupted::Stopping)?;
        // It may have been waited for.
        Ok(target.holders.now().map_or(Permit::Granted(permit), Permit::Held))
    }

    /// One RPC; `None`: no reply came in time.
    async fn attempt(&self, target: &Target<'_>, turn: Turn, deadline: Instant) -> Result<Option<Reply>, Interrupted> {
        let Target { label, action, drive, .. } = *target;
        let timeout = self.rpc_timeout.min(left_until(deadline));
        let id = CorrelationId::from_uuid(Uuid::now_v7());
        // To a gateway, a repair is a price update like any other.
        let action = if action == Action::Repair { Action::PriceUpdate } else { action };
        let fields = (*drive.fields).clone();
        let command = Command { id: id.clone(), label, action, version: drive.version, fields };
        let body = serde_json::to_vec(&command).unwrap_or_default();
        let began = Instant::now();
        let in_flight = self.metrics.rpc_in_flight();
        let reply = self.rpc.call(RpcRequest { id: &id, label, body: &body, timeout, turn }).await;
        drop(in_flight);
        let reply = reply?;
        let took = began.elapsed();
        self.answers.note(label, &id, reply.as_ref(), took);
        self.note(label, reply.as_ref(), took);
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

/// What becomes of a label that is held, after these attempts; its batch had been paused for so long before.
fn hold(held: Held, so_far: Driven, since: Timestamp, paused: Duration) -> Progress {
    match held {
        Held::Cancelled => {
            Progress::Ended(Driven { outcome: Outcome::Rejected, reason: Some(CANCELLED.to_owned()), ..so_far })
        }
        Held::Paused => waits(so_far, WaitFor::BatchPaused, since, held::time_away(paused)),
    }
}

/// Where a label begins that has been asked so often and then waited for this.
pub(crate) fn so_far(start: &Start) -> Driven {
    let attempts = start.attempts;
    let reason = start.reason.clone().or_else(|| start.waited_for.map(|what| reason(what).to_owned()));
    Driven { outcome: Outcome::Unreachable, reason, gateway: None, attempts, acknowledged: false }
}

/// Goes on where the attempts before left off.
fn retries(attempts: u32) -> Backoff {
    let mut retries = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for _ in 0..attempts.min(8) {
        retries.next_delay();
    }
    retries
}

fn turn(priority: Priority, waited_for: Option<WaitFor>) -> Turn {
    match (priority, waited_for) {
        (Priority::Urgent, _) => Turn::Urgent,
        (Priority::Normal, Some(WaitFor::GatewayFull)) => Turn::Waited,
        _ => Turn::Newcomer,
    }
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
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
    use protocol::Version;
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
    fn who_is_told_when_to_come_back_waits() {
        let told = |what| Reply { retry_after_ms: Some(1500), ..reply(ReplyOutcome::Busy, Some(what)) };
        let after = Duration::from_millis(1500);
        assert_eq!(step(Some(&told("gateway_full"))), Step::Pause(WaitFor::GatewayFull, after));
        assert_eq!(step(Some(&told("gateway_failing"))), Step::Pause(WaitFor::GatewayFailing, after));
        assert_eq!(step(Some(&told("unheard_of"))), Step::WaitForTurn);
        assert_eq!(turn(Priority::Normal, Some(WaitFor::GatewayFull)), Turn::Waited);
        assert_eq!(turn(Priority::Normal, Some(WaitFor::GatewayFailing)), Turn::Newcomer);
        assert_eq!(turn(Priority::Urgent, None), Turn::Urgent);
    }

    #[test]
    fn waiting_for_a_place_takes_no_time_from_the_deadline_for_a_day() {
        let (told, left, none) = (Duration::from_secs(60), Duration::from_secs(10), Duration::ZERO);
        let almost = left - LAST_ATTEMPT;
        assert_eq!(time_to_wait(WaitFor::GatewayFull, told, none, none), Some(told));
        assert_eq!(time_to_wait(WaitFor::GatewayFull, told, MAX_WAIT, left), Some(almost));
        assert_eq!(time_to_wait(WaitFor::GatewayFull, told, MAX_WAIT, none), None);
        assert_eq!(time_to_wait(WaitFor::GatewayFailing, told, none, left), Some(almost));
        assert_eq!(time_to_wait(WaitFor::GatewayFailing, told, none, told * 2), Some(told));
        assert_eq!(time_to_wait(WaitFor::GatewayFailing, told, none, LAST_ATTEMPT / 2), None);
    }

    #[test]
    fn something_is_always_left_for_what_is_urgent() {
        assert_eq!((urgent_share(1), urgent_share(200)), (1, 50));
    }

    #[test]
    fn what_others_did_meanwhile_settles_it() {
        let version = |number| Version::try_from(number).unwrap();
        let (at, task_id) = (Timestamp::from_unix_millis(0), "t".parse::<protocol::TaskId>().unwrap());
        let gateway = Some(GatewayMac::from_octets([7; 6]));
        let record = |desired, shown| LabelRecord {
            desired: Some(Desired {
                version: version(desired),
                fields: Arc::default(),
                at,
                task_id: task_id.clone(),
                batch: None,
            }),
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

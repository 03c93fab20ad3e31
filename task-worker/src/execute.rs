//! One task, until each of its labels has its outcome recorded and its result published.

use crate::{
    decide::{Decision, Drive, decide, opening, version_by_time},
    drive::{Driven, Driver, Interrupted, Pause, Progress, Start, Target, so_far},
    held::{Holders, standing, still},
    park::{Parcel, parcels, time_away},
};
use backbone::{
    ledger::{BatchKey, BatchWatch, LabelState, Ledger, Opening, Settled, Settlement, Watched},
    queue::{Delivery, Later, Message, Publisher, QueueError, Routed},
    service::{Backoff, now},
};
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use protocol::{
    Action, BatchId, Fields, LabelMac, MAX_LABELS_PER_TASK, MAX_WAIT, Outcome, Priority, ResultMessage, Store, Task,
    TaskId, Timestamp, Version, Wait, names::amqp,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// What is to become of a task's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Every label has its outcome.
    Done,
    /// No label is bound to its product: nothing to do.
    Unbound,
    /// It can't be used, for this reason.
    Dead(String),
    /// It has neither version nor time: this copy, with a version, takes its place.
    Stamped(Box<Task>),
    /// Its other labels have their outcomes: these copies, for those that wait, take its place.
    Parked(Vec<Parcel>),
    /// It is back too early: it waits for the rest.
    TooEarly(Priority, Wait),
}

/// Executes the tasks of one session.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) driver: Driver,
    pub(crate) ledger: Ledger,
    pub(crate) batches: BatchWatch,
    pub(crate) publisher: Publisher,
}

/// A task that is worked on.
struct Work<'a> {
    task: &'a Task,
    version: Option<Version>,
    fields: Arc<Fields>,
    /// When it was first delivered, as far as its message knows.
    began: Timestamp,
    /// When it was delivered now.
    arrived: Timestamp,
    /// How its labels have waited.
    wait: Option<Wait>,
    /// Its batch.
    batch: Option<Watched>,
}

/// A label that is to be driven.
struct Ride {
    label: LabelMac,
    state: LabelState,
    drive: Drive,
    holders: Holders,
    /// How it has waited before, or waits now.
    wait: Option<Wait>,
    /// It was asked for this delivery of its task before.
    asked: bool,
}

impl Executor {
    /// Executes a task.
    ///
    /// # Errors
    /// When it could not be finished: it must be delivered again. Whatever was recorded by then stays.
    pub(crate) async fn execute(&self, delivery: &Delivery) -> Result<Disposition, Interrupted> {
        let mut task = match Task::parse(&delivery.body) {
            Ok(task) => task,
            Err(error) => return Ok(Disposition::Dead(error.to_string())),
        };
        let (arrived, wait) = (now(), delivery.wait.clone());
        let batch = match &task.batch {
            Some(batch) => Some(self.batch(&task.store, batch).await?),
            None => None,
        };
        if let Some(wait) = wait.as_ref().and_then(|wait| still(wait, standing(batch.as_ref()), arrived)) {
            return Ok(Disposition::TooEarly(task.priority, wait));
        }
        let version = match (task.action, task.version.or_else(|| version_by_time(&task, delivery))) {
            (Action::PriceUpdate, None) => return Ok(Disposition::Stamped(Box::new(stamp(task)))),
            (Action::PriceUpdate, version) => version,
            _ => None,
        };
        let labels = match (task.labels.take(), &task.sku) {
            (Some(labels), _) => labels,
            (None, Some(sku)) => self.labels_of(&task.store, sku).await?,
            (None, None) => Vec::new(),
        };
        if labels.is_empty() {
            return Ok(Disposition::Unbound);
        }
        if labels.len() > MAX_LABELS_PER_TASK {
            let reason =
                format!("sku: {} labels are bound to it, expected at most {MAX_LABELS_PER_TASK}", labels.len());
            return Ok(Disposition::Dead(reason));
        }
        let fields = Arc::new(task.fields.clone());
        let began = wait.as_ref().map_or(arrived, Wait::first_delivery);
        let work = Work { task: &task, version, fields, began, arrived, wait, batch };
        let waiting = self.work(&work, labels).await?;
        if waiting.is_empty() {
            return Ok(Disposition::Done);
        }
        Ok(Disposition::Parked(parcels(&task, version, &waiting, now())))
    }

    async fn batch(&self, store: &Store, batch: &BatchId) -> Result<Watched, Interrupted> {
        Ok(self.batches.of(BatchKey { store: store.clone(), batch: batch.clone() }).await?)
    }

    /// Who may hold a label back. What a repair sends again belongs to a batch, too.
    async fn holders(&self, work: &Work<'_>, state: &LabelState) -> Result<Holders, Interrupted> {
        let desired = state.desired.as_ref().filter(|_| work.task.action == Action::Repair);
        let sent_again = match desired.and_then(|desired| desired.batch.as_ref()) {
            Some(batch) => Some(self.batch(state.store.as_ref().unwrap_or(&work.task.store), batch).await?),
            None => None,
        };
        Ok(Holders::new(work.batch.clone().into_iter().chain(sent_again)))
    }

    async fn labels_of(&self, store: &Store, sku: &protocol::Sku) -> Result<Vec<LabelMac>, Interrupted> {
        let mut backoff = Backoff::for_connections();
        loop {
            match self.ledger.labels_of(store, sku).await {
                Err(error) if error.is_passing() => tokio::time::sleep(backoff.next_delay()).await,
                result => return Ok(result?),
            }
        }
    }

    /// Answers the labels that wait; the others have their outcomes.
    async fn work(&self, work: &Work<'_>, labels: Vec<LabelMac>) -> Result<Vec<(LabelMac, Wait)>, Interrupted> {
        let openings = labels.iter().map(|&label| Opening {
            label,
            task_id: work.task.task_id.clone(),
            store: work.task.store.clone(),
            batch: work.task.batch.clone(),
            what: opening(work.task, work.version, &work.fields),
        });
        let states = self.driver.ledger.open(openings.collect()).await?;
        let (mut recorded, mut settled, mut rides) = (Vec::new(), Vec::new(), Vec::new());
        for (label, state) in labels.into_iter().zip(states) {
            match decide(work.task.action, work.version, &work.fields, &state) {
                Decision::Recorded(result) => recorded.push(*result),
                Decision::Nothing => {}
                Decision::Settle { outcome, reason, gateway } => {
                    let attempts = work.wait.as_ref().map_or(0, |wait| wait.attempts);
                    let end = Driven { outcome, reason, gateway, attempts, acknowledged: false };
                    settled.push(Settlement { result: work.result(label, &state, work.version, end), shown: None });
                }
                Decision::Drive(drive) => {
                    let holders = self.holders(work, &state).await?;
                    rides.push(Ride { label, state, drive, holders, wait: work.wait.clone(), asked: false });
                }
            }
        }
        let publish = recorded.iter().map(|result| self.publish(result)).collect::<FuturesUnordered<_>>();
        let ((), (), waiting) =
            tokio::try_join!(publish.try_collect::<()>(), self.settle(settled), self.drive_all(work, rides))?;
        Ok(waiting)
    }

    /// Drives labels until each has its outcome or waits. As long as one is at work, so is the task, and those that wait
    /// are asked again when it is time.
    async fn drive_all(&self, work: &Work<'_>, rides: Vec<Ride>) -> Result<Vec<(LabelMac, Wait)>, Interrupted> {
        let mut at_work = rides.into_iter().map(|ride| self.drive(work, ride)).collect::<FuturesUnordered<_>>();
        let mut waiting: BTreeMap<(i64, LabelMac), (Wait, Ride)> = BTreeMap::new();
        while !at_work.is_empty() {
            let next = waiting.first_key_value().map(|(_, (wait, _))| wait.left(now()));
            tokio::select! {
                Some(driven) = at_work.next() => {
                    if let Some((wait, ride)) = driven? {
                        waiting.insert((wait.due_ms, ride.label), (wait, ride));
                    }
                }
                () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {
                    if let Some((_, (wait, ride))) = waiting.pop_first() {
                        at_work.push(self.drive(work, Ride { wait: Some(wait), asked: true, ..ride }));
                    }
                }
            }
        }
        Ok(waiting.into_values().map(|(wait, ride)| (ride.label, wait)).collect())
    }

    /// Drives a label; one that must wait is given back.
    async fn drive(&self, work: &Work<'_>, ride: Ride) -> Result<Option<(Wait, Ride)>, Interrupted> {
        let Ride { label, state, drive, holders, wait, asked } = &ride;
        let Task { action, priority, .. } = *work.task;
        let target = Target { label: *label, action, priority, drive, holders };
        let start = work.start(state, wait.as_ref(), if *asked { now() } else { work.arrived });
        let known = if *asked { self.driver.settled_meanwhile(&target, &so_far(&start)).await? } else { None };
        let before = (start.waited, start.paused);
        let progress = match known {
            Some(known) => Progress::Ended(known),
            None => self.driver.drive(&target, start).await?,
        };
        match progress {
            Progress::Ended(end) => {
                let shown = (end.acknowledged && drive.version.is_some()).then(|| Arc::clone(&drive.fields));
                let result = work.result(*label, state, drive.version, end);
                self.settle(vec![Settlement { result, shown }]).await?;
                Ok(None)
            }
            Progress::Waits(pause) => Ok(Some((work.wait(state, &pause, before), ride))),
        }
    }

    /// Records outcomes, then publishes what is recorded: ours, or what another delivery of the task had before us.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Interrupted> {
        if settlements.is_empty() {
            return Ok(());
        }
        let settled = self.driver.ledger.settle(settlements).await?;
        let publish = settled.iter().map(|settled| self.finish(settled)).collect::<FuturesUnordered<_>>();
        publish.try_collect().await
    }

    async fn finish(&self, settled: &Settled) -> Result<(), Interrupted> {
        self.driver.metrics.count_outcome(settled.recorded.outcome);
        if settled.went_back {
            self.repair(settled.recorded.label).await?;
        }
        self.publish(&settled.recorded).await
    }

    async fn publish(&self, result: &ResultMessage) -> Result<(), Interrupted> {
        let body = serde_json::to_vec(result).unwrap_or_default();
        let key = amqp::result_key(&result.store, result.outcome);
        let message =
            Message { exchange: amqp::RESULTS, routing_key: &key, body: &body, persistent: true, ..Message::default() };
        self.publisher.publish(message).await?;
        self.driver.metrics.results.inc();
        Ok(())
    }

    /// A gateway acknowledged a version when a newer one was shown already: the label is driven to the newest again.
    async fn repair(&self, label: LabelMac) -> Result<(), Interrupted> {
        tracing::warn!(device.mac = %label, "the label may have gone back to an older version: repairing it");
        self.driver.metrics.repairs.inc();
        self.enqueue(&Task::repair(TaskId::repair(Uuid::now_v7()), label)).await
    }

    /// Puts a task off until its labels are to be asked again.
    pub(crate) async fn park(&self, parcel: &Parcel) -> Result<(), Interrupted> {
        let body = serde_json::to_vec(&parcel.task).unwrap_or_default();
        self.put_later(parcel.task.priority, &body, &parcel.wait).await?;
        self.driver.metrics.count_parked(parcel.wait.what);
        Ok(())
    }

    /// Puts a task's message off until it is due.
    pub(crate) async fn put_later(&self, priority: Priority, body: &[u8], wait: &Wait) -> Result<(), QueueError> {
        // However long it waits, it is seen within a minute that its batch was cancelled.
        let delay = wait.left(now()).min(Duration::from_secs(amqp::LONGEST_WAIT_SECONDS));
        self.publisher.publish_later(Later { priority, delay, body, wait }).await
    }

    /// Puts a task into its queue, and waits until the broker has it.
    pub(crate) async fn enqueue(&self, task: &Task) -> Result<(), Interrupted> {
        let body = serde_json::to_vec(task).unwrap_or_default();
        Ok(self.put(amqp::task_queue(task.priority), &body, &[]).await?)
    }

    /// Puts a message into a queue, and waits until the broker has it.
    pub(crate) async fn put(
        &self,
        queue: &str,
        body: &[u8],
        headers: &[(&'static str, &str)],
    ) -> Result<(), QueueError> {
        let message =
            Message { routing_key: queue, body, persistent: true, mandatory: true, headers, ..Message::default() };
        match self.publisher.publish(message).await? {
            Routed::Yes => Ok(()),
            // Somebody deleted it; the next session declares it again.
            Routed::Nowhere => Err(QueueError::Lost(format!("no queue {queue}"))),
        }
    }
}

impl Work<'_> {
    /// When the task was first delivered, as far as the ledger knows: a redelivery has no more time than was left.
    fn first_delivery(&self, state: &LabelState) -> Timestamp {
        let ours = state.desired.as_ref().filter(|desired| desired.task_id == self.task.task_id);
        ours.map_or(self.began, |desired| desired.at.min(self.began))
    }

    /// Where a label begins that was taken up at this time, after it had waited so.
    fn start(&self, state: &LabelState, wait: Option<&Wait>, at: Timestamp) -> Start {
        let waited = wait.map_or(Duration::ZERO, |wait| wait.waited(at));
        let paused = wait.map_or(Duration::ZERO, |wait| wait.paused(at));
        let gone = now().unix_millis() - self.first_delivery(state).unix_millis();
        let gone = Duration::from_millis(u64::try_from(gone).unwrap_or(0));
        let time = self.task.timeout().saturating_add(waited.min(MAX_WAIT)).saturating_add(paused);
        Start {
            at,
            deadline: Instant::now() + time.saturating_sub(gone),
            waited,
            paused,
            waited_for: wait.map(|wait| wait.what),
            attempts: wait.map_or(0, |wait| wait.attempts),
            reason: wait.and_then(|wait| wait.reason.clone()),
        }
    }

    /// What is to be known of a label that pauses, after it has waited and its batch was paused so long before.
    fn wait(&self, state: &LabelState, pause: &Pause, (waited, paused): (Duration, Duration)) -> Wait {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let away = i64::try_from(millis(time_away(self.task.priority, pause.what, pause.time))).unwrap_or(i64::MAX);
        Wait {
            what: pause.what,
            since_ms: pause.since.unix_millis(),
            due_ms: now().unix_millis().saturating_add(away),
            waited_ms: millis(waited),
            paused_ms: millis(paused),
            first_delivery_ms: self.first_delivery(state).unix_millis(),
            attempts: pause.attempts,
            reason: pause.reason.clone(),
        }
    }

    fn result(&self, label: LabelMac, state: &LabelState, version: Option<Version>, end: Driven) -> ResultMessage {
        let at = now();
        let latency = at.unix_millis() - self.first_delivery(state).unix_millis();
        // Whoever asks for a repair knows the label only.
        let store = match (self.task.action, &state.store) {
            (Action::Repair, Some(store)) => store.clone(),
            _ => self.task.store.clone(),
        };
        ResultMessage {
            task_id: self.task.task_id.clone(),
            store,
            sku: self.task.sku.clone(),
            label,
            version,
            outcome: end.outcome,
            reason: end.reason.filter(|_| end.outcome != Outcome::Shown),
            gateway: end.gateway,
            attempts: end.attempts,
            latency_ms: u64::try_from(latency).unwrap_or(0),
            at,
            batch: self.task.batch.clone(),
        }
    }
}

/// Gives a task the version that it lacks: the time now, fixed in the queue so that each delivery has the same.
fn stamp(task: Task) -> Task {
    Task { version: Version::try_from(now().unix_millis().cast_unsigned()).ok(), ..task }
}

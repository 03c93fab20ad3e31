//! One task, until each of its labels has its outcome recorded and its result published.

use crate::{
    decide::{Decision, Drive, decide, opening, version_by_time},
    drive::{Driven, Driver, Interrupted},
};
use backbone::{
    ledger::{LabelState, Ledger, Opening, Settled, Settlement},
    queue::{Delivery, Message, Publisher, QueueError, Routed},
    service::{Backoff, now},
};
use futures::{TryStreamExt, stream::FuturesUnordered};
use protocol::{
    Action, Fields, LabelMac, MAX_LABELS_PER_TASK, Outcome, ResultMessage, Store, Task, TaskId, Timestamp, Version,
    names::amqp,
};
use std::{sync::Arc, time::Duration};
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
}

/// Executes the tasks of one session.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) driver: Driver,
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Publisher,
}

/// A task that is worked on.
struct Work<'a> {
    task: &'a Task,
    version: Option<Version>,
    fields: Arc<Fields>,
    began: Timestamp,
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
        let fields = Arc::new(std::mem::take(&mut task.fields));
        let work = Work { task: &task, version, fields, began: now() };
        self.work(&work, labels).await?;
        Ok(Disposition::Done)
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

    async fn work(&self, work: &Work<'_>, labels: Vec<LabelMac>) -> Result<(), Interrupted> {
        let openings = labels.iter().map(|&label| Opening {
            label,
            task_id: work.task.task_id.clone(),
            store: work.task.store.clone(),
            batch: work.task.batch.clone(),
            what: opening(work.task, work.version, &work.fields),
        });
        let states = self.driver.ledger.open(openings.collect()).await?;
        let (mut recorded, mut settled, mut driven) = (Vec::new(), Vec::new(), Vec::new());
        for (label, state) in labels.into_iter().zip(states) {
            match decide(work.task.action, work.version, &work.fields, &state) {
                Decision::Recorded(result) => recorded.push(*result),
                Decision::Nothing => {}
                Decision::Settle { outcome, reason, gateway } => {
                    let end = Driven { outcome, reason, gateway, attempts: 0, acknowledged: false };
                    settled.push(Settlement { result: work.result(label, &state, work.version, end), shown: None });
                }
                Decision::Drive(drive) => driven.push(self.drive(work, label, state, drive)),
            }
        }
        let publish = recorded.iter().map(|result| self.publish(result)).collect::<FuturesUnordered<_>>();
        let drives = driven.into_iter().collect::<FuturesUnordered<_>>();
        tokio::try_join!(publish.try_collect::<()>(), self.settle(settled), drives.try_collect::<()>())?;
        Ok(())
    }

    async fn drive(
        &self,
        work: &Work<'_>,
        label: LabelMac,
        state: LabelState,
        drive: Drive,
    ) -> Result<(), Interrupted> {
        let deadline = work.deadline(&state);
        let end = self.driver.drive(label, work.task.action, &drive, deadline).await?;
        let shown = (end.acknowledged && drive.version.is_some()).then(|| Arc::clone(&drive.fields));
        let result = work.result(label, &state, drive.version, end);
        self.settle(vec![Settlement { result, shown }]).await
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

    /// Puts a task into the queue, and waits until the broker has it.
    pub(crate) async fn enqueue(&self, task: &Task) -> Result<(), Interrupted> {
        let body = serde_json::to_vec(task).unwrap_or_default();
        Ok(self.put(amqp::TASKS, &body, &[]).await?)
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

    fn deadline(&self, state: &LabelState) -> Instant {
        let gone = now().unix_millis() - self.first_delivery(state).unix_millis();
        let gone = Duration::from_millis(u64::try_from(gone).unwrap_or(0));
        Instant::now() + self.task.timeout().saturating_sub(gone)
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

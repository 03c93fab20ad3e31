//! A store backend: publishes tasks, and waits for what becomes of them.

use crate::{
    closed_loop::{Plan, Tally, closed_loop, progress},
    labels::{Shares, Versions, label},
    options::Options,
};
use anyhow::{Context, Result};
use backbone::queue::{AmqpUrl, Broker, Consumer, Message, Publisher, QueueError, Routed};
use protocol::{Action, LabelMac, Outcome, Priority, ResultMessage, Store, Task, TaskId, names::amqp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use testbed::Servers;
use tokio::{sync::mpsc, task::JoinSet};
use uuid::Uuid;

/// A task that has not got all of its results after this has failed.
const TASK_LIMIT: Duration = Duration::from_secs(60);
const LABELS_PER_TASK: usize = 2;
const RESULTS_QUEUE: &str = "bench-results";
const RESULTS_PREFETCH: u16 = 500;
const RESULTS_AT_A_TIME: usize = 100;

/// How a label of a task ended, and when that was known here.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    pub(crate) outcome: Outcome,
    reason: Option<String>,
}

type Arrived = (Instant, ResultMessage);
/// Takes results for as long as it can.
pub(crate) type Listening = JoinSet<QueueError>;

/// Which task's results go where.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<TaskId, mpsc::Sender<Arrived>>>>);

impl Waiting {
    fn insert(&self, task: &TaskId) -> mpsc::Receiver<Arrived> {
        let (sender, results) = mpsc::channel(2 * LABELS_PER_TASK);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task.clone(), sender);
        results
    }

    fn remove(&self, task: &TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
    }

    /// A result that nobody waits for is a repeat.
    fn hand_over(&self, at: Instant, result: ResultMessage) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.get(&result.task_id) {
            let _ = sender.try_send((at, result));
        }
    }

    /// Takes results until the session is lost.
    async fn listen(self, mut results: Consumer) -> QueueError {
        loop {
            let chunk = match results.next_chunk(RESULTS_AT_A_TIME).await {
                Ok(chunk) => chunk,
                Err(error) => return error,
            };
            let at = Instant::now();
            let tickets: Vec<_> = chunk.iter().map(|delivery| delivery.ticket).collect();
            let results_read = chunk.iter().filter_map(|delivery| serde_json::from_slice(&delivery.body).ok());
            results_read.for_each(|result| self.hand_over(at, result));
            if let Err(error) = results.settler().settle(&tickets).await {
                return error;
            }
        }
    }
}

/// A store backend: publishes tasks and takes their results.
pub(crate) struct Backend<'a> {
    publisher: Publisher,
    waiting: Waiting,
    versions: &'a Versions,
    store: Store,
}

impl<'a> Backend<'a> {
    /// Connects, and begins to take results. The last part ends with the error that ended the session.
    pub(crate) async fn open(servers: &Servers, versions: &'a Versions) -> Result<(Broker, Self, Listening)> {
        let url: AmqpUrl = servers.amqp_url.parse().context("reading RabbitMQ's URL")?;
        let broker = Broker::connect(&url, "bench").await.context("connecting")?;
        let results = broker.consume_results(RESULTS_QUEUE, "#", RESULTS_PREFETCH).await.context("taking results")?;
        let waiting = Waiting::default();
        let mut listening = JoinSet::new();
        listening.spawn(waiting.clone().listen(results));
        let publisher = broker.publisher().await.context("opening a channel for tasks")?;
        let store = "bench".parse().context("naming the store")?;
        Ok((broker, Self { publisher, waiting, versions, store }, listening))
    }

    /// Publishes so many tasks, each to another pair of labels, with so many in flight.
    pub(crate) async fn load(&self, shares: Shares, tasks: u32, in_flight: u32, options: &Options) -> Result<Tally> {
        let bar = progress(tasks, format!("{in_flight} tasks in flight"));
        let plan = Plan { slots: in_flight, total: tasks, limit: options.level_limit };
        let once = async |slot, turn| {
            let first = 2 * shares.index(slot, turn);
            self.change([label(first), label(first + 1)]).await
        };
        let tally = closed_loop(plan, &bar, once).await;
        bar.finish_and_clear();
        tally
    }

    /// One task: how long each of its results took from its confirm, or what went wrong.
    async fn change(&self, labels: [LabelMac; LABELS_PER_TASK]) -> Result<[Duration; LABELS_PER_TASK], String> {
        let (confirmed, ended) = self.update(labels, None, TASK_LIMIT).await?;
        if let Some(failed) = ended.iter().find(|ended| ended.outcome != Outcome::Shown) {
            return Err(format!("{}: {}", failed.outcome, failed.reason.as_deref().unwrap_or_default()));
        }
        Ok(ended.map(|ended| ended.at.saturating_duration_since(confirmed)))
    }

    /// One task with this deadline: when it was confirmed, and how each of its labels ended; or what went wrong.
    pub(crate) async fn update(
        &self,
        labels: [LabelMac; LABELS_PER_TASK],
        deadline: Option<Duration>,
        limit: Duration,
    ) -> Result<(Instant, [Ended; LABELS_PER_TASK]), String> {
        let task = self.task(labels, deadline)?;
        let results = self.waiting.insert(&task.task_id);
        let updated = tokio::time::timeout(limit, self.publish_and_wait(&task, labels, results)).await;
        self.waiting.remove(&task.task_id);
        updated.map_err(|_| format!("not all results within {limit:?}"))?
    }

    fn task(&self, labels: [LabelMac; LABELS_PER_TASK], deadline: Option<Duration>) -> Result<Task, String> {
        let (version, fields) = self.versions.next();
        Ok(Task {
            task_id: Uuid::now_v7().to_string().parse().map_err(|error| format!("{error}"))?,
            store: self.store.clone(),
            action: Action::PriceUpdate,
            sku: None,
            labels: Some(labels.to_vec()),
            version,
            fields,
            batch: None,
            timeout_ms: deadline.and_then(|deadline| deadline.as_millis().try_into().ok()),
            priority: Priority::Normal,
        })
    }

    async fn publish_and_wait(
        &self,
        task: &Task,
        labels: [LabelMac; LABELS_PER_TASK],
        mut results: mpsc::Receiver<Arrived>,
    ) -> Result<(Instant, [Ended; LABELS_PER_TASK]), String> {
        let body = serde_json::to_vec(task).map_err(|error| error.to_string())?;
        let (key, persistent) = (amqp::TASKS, true);
        let message = Message { routing_key: key, body: &body, persistent, mandatory: true, ..Message::default() };
        match self.publisher.publish(message).await {
            Ok(Routed::Yes) => {}
            Ok(Routed::Nowhere) => return Err(format!("there is no queue {key}")),
            Err(error) => return Err(format!("{:#}", anyhow::Error::from(error))),
        }
        let confirmed = Instant::now();
        let mut ended = [const { None }; LABELS_PER_TASK];
        loop {
            if let [Some(one), Some(other)] = ended {
                return Ok((confirmed, [one, other]));
            }
            let (at, ResultMessage { label, outcome, reason, .. }) =
                results.recv().await.ok_or("no results any more")?;
            if let Some(place) = labels.iter().position(|known| *known == label) {
                ended[place] = Some(Ended { at, outcome, reason });
            }
        }
    }
}

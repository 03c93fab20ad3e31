//! A backbone without servers, with everything that a story needs around it.
//!
//! What its queues and its ledger hold is in a data folder, which one process at a time can open: tasks are enqueued
//! before it starts, and the books are checked when it has ended.

use crate::{Backend, Books, Emulator, Results, story::expected};
use anyhow::{Context, Result, ensure};
use backbone::{
    embedded::{DataFolder, FolderOptions},
    ledger::{Ledger, LedgerUrl},
    queue::{AmqpUrl, Broker, EmbeddedQueues, Message},
};
use protocol::{LabelMac, Task, Version, names::amqp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use testbed::{StackConfig, Standalone};

const POLL: Duration = Duration::from_millis(100);
/// The worker has nothing to do when it says so that many times in a row.
const QUIET_POLLS: usize = 5;

/// A `standalone` process, and emulated gateways that outlive it.
pub struct StandaloneStory {
    /// The processes.
    pub process: Standalone,
    /// What labels really show.
    pub emulator: Emulator,
    enqueued: Vec<(Task, Vec<LabelMac>)>,
}

/// A label in the emulator's list.
#[derive(Deserialize)]
struct Listed {
    mac: LabelMac,
    shown: Option<ListedShown>,
    writes: usize,
}

#[derive(Deserialize)]
struct ListedShown {
    version: Version,
}

/// The data folder while the backbone does not run.
struct Opened {
    folder: DataFolder,
    amqp: AmqpUrl,
}

impl StandaloneStory {
    /// Starts the gateways; the backbone does not run yet.
    pub async fn begin(config: StackConfig) -> Result<Self> {
        let process = Standalone::launch(config)?;
        let emulator = Emulator::new(process.emulator.admin_url());
        let story = Self { process, emulator, enqueued: Vec::new() };
        let opened = story.open().await?;
        // From now on results are kept, as for a store backend that is away.
        drop(Results::observe(opened.amqp.clone()).await);
        opened.close().await;
        Ok(story)
    }

    /// Enqueues tasks, each confirmed, while the backbone does not run.
    pub async fn enqueue_all(&mut self, tasks: &[Task]) -> Result<()> {
        let opened = self.open().await?;
        let backend = Backend::new(opened.amqp.clone());
        backend.enqueue_all(tasks).await?;
        self.enqueued.extend(backend.enqueued());
        drop(backend);
        opened.close().await;
        Ok(())
    }

    /// Puts a message into a queue of tasks as it is, while the backbone does not run; with a reason, as into the dead
    /// letters.
    pub async fn put(&self, queue: &str, body: &[u8], reason: Option<&str>) -> Result<()> {
        let opened = self.open().await?;
        let broker = Broker::connect(&opened.amqp, "story").await?;
        broker.declare().await?;
        let headers: Vec<_> = reason.into_iter().map(|reason| (amqp::REASON, reason)).collect();
        let message = Message { routing_key: queue, body, headers: &headers, persistent: true, ..Message::default() };
        broker.publisher().await?.publish(message).await?;
        broker.close().await;
        opened.close().await;
        Ok(())
    }

    /// Enqueues tasks over HTTP, each confirmed, while the backbone runs.
    pub async fn post(&mut self, tasks: &[Task]) -> Result<()> {
        self.ask(Method::POST, &format!("/v1/stores/{}/tasks", Backend::store()), &json!(tasks)).await?;
        tasks.iter().for_each(|task| self.expect(task, task.labels.as_deref().unwrap_or_default()));
        Ok(())
    }

    /// Makes the books expect an outcome of this task for each of these labels.
    pub fn expect(&mut self, task: &Task, labels: &[LabelMac]) {
        self.enqueued.push((task.clone(), labels.to_vec()));
    }

    /// Sends this to the API, which must succeed; gives its answer.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.process.api_url());
        let answer = testbed::http_builder().build()?.request(method, url).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status} to {path}: {text}");
        serde_json::from_str(&text).with_context(|| format!("reading the answer to {path}"))
    }

    /// What the API answers to `GET path`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// Waits until this holds.
    pub async fn until(&self, what: &str, limit: Duration, condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        until(what, limit, condition).await
    }

    /// Waits until so many writes have come to labels, and more is under way.
    pub async fn reach(&self, writes: usize, limit: Duration) -> Result<()> {
        let reached = async || Ok(self.writes().await? >= writes);
        until(&format!("{writes} writes under load"), limit, reached).await
    }

    /// How many writes have come to labels.
    pub async fn writes(&self) -> Result<usize> {
        Ok(self.labels().await?.iter().map(|label| label.writes).sum())
    }

    /// What each label shows now, as the gateways know.
    pub async fn shown(&self) -> Result<HashMap<LabelMac, Option<Version>>> {
        let labels = self.labels().await?.into_iter();
        Ok(labels.map(|label| (label.mac, label.shown.map(|shown| shown.version))).collect())
    }

    /// A metric of the running backbone.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        self.process.metric(sample).await
    }

    /// Waits until each label shows the newest version that was enqueued, and no task is in hand.
    pub async fn all_shown(&self, limit: Duration) -> Result<()> {
        let newest = self.newest();
        let shown = async || {
            let labels = self.labels().await?.into_iter();
            let shown: HashMap<_, _> = labels.filter_map(|label| Some((label.mac, label.shown?.version))).collect();
            Ok(newest.iter().all(|(label, version)| shown.get(label) == Some(version)))
        };
        until("all labels show their newest version", limit, shown).await?;
        self.idle(limit).await
    }

    /// Waits until no task is in hand.
    pub async fn idle(&self, limit: Duration) -> Result<()> {
        let mut quiet = 0;
        let idle = async || {
            quiet = if self.metric("task_worker_tasks_in_hand").await? == 0.0 { quiet + 1 } else { 0 };
            Ok(quiet == QUIET_POLLS)
        };
        until("no task is in hand", limit, idle).await
    }

    /// Checks the promises over all that happened, when the backbone has ended.
    pub async fn check_books(&self, books: &Books) -> Result<()> {
        let opened = self.open().await?;
        let results = Results::observe(opened.amqp.clone()).await;
        let expected = expected(&self.enqueued);
        let all_there = results.wait_for(&expected, Duration::from_secs(30)).await;
        ensure!(all_there, "P1: {} of {} results", results.settled(&expected), expected.len());
        let broker = Broker::connect(&opened.amqp, "story").await?;
        broker.declare().await?;
        let left =
            (broker.backlog(amqp::TASKS).await?, broker.waiting().await?, broker.backlog(amqp::DEAD_TASKS).await?);
        ensure!(left == (0, 0, books.dead_letters), "tasks, waiting tasks and dead letters left: {left:?}");
        broker.close().await;
        let retained = self.process.emulator.metric("gateway_emulator_retained_commands_total").await?;
        ensure!(retained == 0.0, "P7: {retained} commands were retained");
        let ledger = Ledger::connect(&LedgerUrl::Sqlite(opened.folder.clone())).await?;
        books.check_entries(&self.enqueued, &results.seen(), &ledger, &self.emulator).await?;
        drop((results, ledger));
        opened.close().await;
        Ok(())
    }

    fn newest(&self) -> HashMap<LabelMac, Version> {
        let mut newest = HashMap::new();
        for (task, labels) in &self.enqueued {
            for label in labels {
                let known = newest.entry(*label).or_insert(task.version);
                *known = task.version.max(*known);
            }
        }
        newest.into_iter().filter_map(|(label, version)| Some((label, version?))).collect()
    }

    async fn labels(&self) -> Result<Vec<Listed>> {
        serde_json::from_value(self.process.emulator.json("/labels").await?).context("reading the emulator's labels")
    }

    async fn open(&self) -> Result<Opened> {
        let options = FolderOptions { path: self.process.data().to_owned(), max_bytes: None };
        let folder = DataFolder::open(&options)?;
        let amqp = AmqpUrl::Embedded(EmbeddedQueues::open(&folder).await?);
        Ok(Opened { folder, amqp })
    }
}

impl Opened {
    async fn close(self) {
        drop(self.amqp);
        self.folder.close().await;
    }
}

async fn until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition().await? {
        ensure!(Instant::now() < deadline, "still not after {limit:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

//! Load that runs while something else happens.

use crate::{Backend, Story, price_update};
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use protocol::{LabelMac, Task};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Each task has so many labels.
const LABELS_PER_TASK: usize = 2;
/// So many tasks wait for the broker's confirm; while it is away, the others wait behind them.
const UNCONFIRMED: usize = 64;
/// Results must get as far as a story waits for within this time: servers that start again are part of it.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// Under load, so many updates are confirmed and not yet ended.
const UNDER_WAY: usize = 10;

/// Updates enqueued at a steady rate by a task of its own, version after version of all labels, until the story ends it:
/// however slow the machine, faults always meet load. While the broker is away the load stands still.
pub struct Load {
    task: JoinHandle<Result<()>>,
    enough: CancellationToken,
    before: usize,
    updates: usize,
}

impl Load {
    /// Begins to update these labels, so many per second, to so many versions at least.
    pub fn start(story: &Story, labels: &[LabelMac], versions: usize, rate: u32) -> Self {
        let (before, enough) = (story.expected().len(), CancellationToken::new());
        let tasks = Tasks { labels: labels.to_vec(), at_least: labels.len().div_ceil(LABELS_PER_TASK) * versions };
        let gap = Duration::from_secs(1) * LABELS_PER_TASK as u32 / rate;
        #[expect(clippy::disallowed_methods, reason = "awaited by `end`, aborted on drop")]
        let task = tokio::spawn(enqueue(Arc::clone(&story.backend), tasks, gap, enough.clone()));
        Self { task, enough, before, updates: labels.len() * versions }
    }

    /// Waits until results of this part of the least that is enqueued have come, from 0 to 1, and more is under way at
    /// this moment.
    ///
    /// # Errors
    /// When the results don't come.
    pub async fn reach(&self, story: &Story, part: f64) -> Result<()> {
        let results = self.before + (self.updates as f64 * part) as usize;
        let reached = async |story: &Story| Ok(story.results.settled(&story.expected()) >= results);
        story.until(&format!("{results} results under load"), PROGRESS_LIMIT, reached).await?;
        self.pile_up(story, UNDER_WAY).await
    }

    /// Waits until so many updates are confirmed and have not ended: soon, where something is stuck.
    ///
    /// # Errors
    /// When there are never so many.
    pub async fn pile_up(&self, story: &Story, updates: usize) -> Result<()> {
        let under_way = async |story: &Story| Ok(story.under_way() >= updates);
        story.until(&format!("{updates} updates under way"), PROGRESS_LIMIT, under_way).await
    }

    /// Ends the load, and waits until all that it has to enqueue is confirmed.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub async fn end(mut self) -> Result<()> {
        self.enough.cancel();
        let ended = tokio::time::timeout(PROGRESS_LIMIT, &mut self.task).await;
        ended.context("the load is not enqueued in time")?.context("the load panicked")?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One task after the other for all labels, then the same in their next version.
struct Tasks {
    labels: Vec<LabelMac>,
    at_least: usize,
}

impl Tasks {
    fn get(&self, number: usize) -> Task {
        let of_one_version = self.labels.len().div_ceil(LABELS_PER_TASK);
        let first = number % of_one_version * LABELS_PER_TASK;
        let labels = &self.labels[first..self.labels.len().min(first + LABELS_PER_TASK)];
        price_update(labels, (number / of_one_version) as u64 + 1)
    }
}

async fn enqueue(backend: Arc<Backend>, tasks: Tasks, gap: Duration, enough: CancellationToken) -> Result<()> {
    let (backend, tasks) = (&backend, &tasks);
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let at_the_rate = stream::unfold((ticks, 0), |(mut ticks, number)| async move {
        ticks.tick().await;
        Some((number, (ticks, number + 1)))
    });
    let wanted =
        at_the_rate.take_while(|&number| std::future::ready(number < tasks.at_least || !enough.is_cancelled()));
    let enqueued = wanted.map(|number| async move { backend.enqueue(&tasks.get(number)).await });
    enqueued.buffer_unordered(UNCONFIRMED).try_collect().await
}

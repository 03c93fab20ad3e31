//! Load that runs while something else happens.

use crate::{Backend, Story, price_update};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use protocol::{LabelMac, Task};
use std::{ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

/// Each task has so many labels.
const LABELS_PER_TASK: usize = 2;
/// So many tasks wait for the broker's confirm; while it is away, the others wait behind them.
const UNCONFIRMED: usize = 64;
/// Results must get as far as a story waits for within this time: servers that start again are part of it.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// Under load, so many updates are confirmed and not yet ended.
const UNDER_WAY: usize = 10;

/// Updates enqueued at a steady rate by a task of its own, version after version of all labels. While the broker is away
/// the load stands still.
pub struct Load {
    task: JoinHandle<Result<()>>,
    before: usize,
    updates: usize,
}

impl Load {
    /// Begins to update these labels to these versions, so many labels per second.
    pub fn start(story: &Story, labels: &[LabelMac], versions: RangeInclusive<u64>, rate: u32) -> Self {
        let before = story.expected().len();
        let of_version = |version| labels.chunks(LABELS_PER_TASK).map(move |labels| price_update(labels, version));
        let tasks: Vec<_> = versions.flat_map(of_version).collect();
        let updates = tasks.iter().filter_map(|task| task.labels.as_ref()).map(Vec::len).sum();
        let gap = Duration::from_secs(1) * LABELS_PER_TASK as u32 / rate;
        #[expect(clippy::disallowed_methods, reason = "awaited by `end`, aborted on drop")]
        let task = tokio::spawn(enqueue(Arc::clone(&story.backend), tasks, gap));
        Self { task, before, updates }
    }

    /// Waits until this part of the load's results has come, from 0 to 1, and more is under way at this moment.
    ///
    /// # Errors
    /// When the results don't come, or the load has ended.
    pub async fn reach(&self, story: &Story, part: f64) -> Result<()> {
        let results = self.before + (self.updates as f64 * part) as usize;
        let reached = async |story: &Story| Ok(story.results.settled(&story.expected()) >= results);
        story.until(&format!("{results} results under load"), PROGRESS_LIMIT, reached).await?;
        self.pile_up(story, UNDER_WAY).await
    }

    /// Waits until so many updates are confirmed and have not ended: soon, where something is stuck.
    ///
    /// # Errors
    /// When there are never so many, or the load has ended.
    pub async fn pile_up(&self, story: &Story, updates: usize) -> Result<()> {
        let under_way = async |story: &Story| Ok(story.under_way() >= updates);
        story.until(&format!("{updates} updates under way"), PROGRESS_LIMIT, under_way).await?;
        ensure!(!self.task.is_finished(), "the load has ended before the fault: make it longer");
        Ok(())
    }

    /// Waits until all is enqueued and confirmed.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub async fn end(mut self) -> Result<()> {
        let ended = tokio::time::timeout(PROGRESS_LIMIT, &mut self.task).await;
        ended.context("the load is not enqueued in time")?.context("the load panicked")?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn enqueue(backend: Arc<Backend>, tasks: Vec<Task>, gap: Duration) -> Result<()> {
    let backend = &backend;
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let at_the_rate = stream::unfold((ticks, tasks.into_iter()), |(mut ticks, mut tasks)| async move {
        ticks.tick().await;
        Some((tasks.next()?, (ticks, tasks)))
    });
    let enqueued = at_the_rate.map(|task| async move { backend.enqueue(&task).await });
    enqueued.buffer_unordered(UNCONFIRMED).try_collect().await
}

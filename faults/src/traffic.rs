//! Load: store backends that ask for versions, and askers of single RPCs.

use crate::{
    Config,
    history::{Asked, Credit},
};
use anyhow::{Context, Result};
use backbone::{queue::AmqpUrl, service::now};
use futures::{StreamExt, stream};
use integration::{Asker, Backend, Results, labels, price_update};
use protocol::{CorrelationId, LabelMac, Priority, ReplyOutcome, Task, TaskId};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

const BACKENDS: u32 = 3;
const ASKERS: usize = 2;
const LABELS_PER_TASK: std::ops::RangeInclusive<u32> = 1..=4;
/// So many tasks of a backend wait for their confirm.
const UNCONFIRMED: usize = 64;
/// Every second update is for one of these: they get many versions.
const HOT_LABELS: usize = 200;
/// A version may be asked for that much after a newer one, in milliseconds.
const VERSION_SPREAD_MS: u64 = 3_000;
/// How long a task has.
const TASK_TIMEOUT: Duration = Duration::from_secs(120);
const PING_PAUSE: Duration = Duration::from_millis(200);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// What is asked for, as long as it goes on, and what came of it.
pub(crate) struct Traffic {
    log: Arc<Log>,
    enough: CancellationToken,
    tasks: TaskTracker,
    pub(crate) results: Results,
}

/// What backends and askers remember.
#[derive(Default)]
struct Log {
    asked: Mutex<Vec<Asked>>,
    credits: Mutex<Vec<Credit>>,
    /// Confirmed, and without a result as far as was looked.
    open: Mutex<Vec<(TaskId, LabelMac)>>,
    unconfirmed: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Begins.
    pub(crate) async fn begin(config: &Config, url: &AmqpUrl) -> Self {
        let traffic = Self {
            log: Arc::default(),
            enough: CancellationToken::new(),
            tasks: TaskTracker::new(),
            results: Results::observe(url.clone()).await,
        };
        let began = Instant::now();
        for backend in 0..BACKENDS {
            let wishes = Wishes {
                random: fastrand::Rng::with_seed(config.seed.wrapping_mul(1_000).wrapping_add(backend.into())),
                labels: labels(config.labels),
                began,
            };
            let mean = f64::from(LABELS_PER_TASK.start() + LABELS_PER_TASK.end()) / 2.0;
            let gap = Duration::from_secs_f64(f64::from(BACKENDS) * mean / f64::from(config.rate.max(1)));
            let (log, enough) = (Arc::clone(&traffic.log), traffic.enough.clone());
            traffic.tasks.spawn(ask(Backend::new(url.clone()), wishes, gap, log, enough));
        }
        for asker in 0..ASKERS {
            let random = fastrand::Rng::with_seed(config.seed.wrapping_add(asker as u64));
            let (log, enough) = (Arc::clone(&traffic.log), traffic.enough.clone());
            traffic.tasks.spawn(ping(url.clone(), random, labels(config.labels), log, enough));
        }
        traffic
    }

    /// How many updates are confirmed and have no result yet.
    pub(crate) fn in_flight(&self) -> usize {
        let mut open = lock(&self.log.open);
        self.results.retain_missing(&mut open);
        open.len()
    }

    /// How many updates were confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        lock(&self.log.asked).len()
    }

    /// Waits until all that is in flight now has its result. False when that takes too long.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        self.in_flight();
        let mut pairs = lock(&self.log.open).clone();
        let end = Instant::now() + limit;
        while !pairs.is_empty() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(LOOK).await;
            self.results.retain_missing(&mut pairs);
        }
        true
    }

    /// Asks for nothing more, and waits until all that was asked for is confirmed.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn stop(&self, limit: Duration) -> Result<()> {
        self.enough.cancel();
        self.tasks.close();
        let waiting = || format!("{} tasks are not confirmed", self.log.unconfirmed.load(Ordering::Relaxed));
        tokio::time::timeout(limit, self.tasks.wait()).await.with_context(waiting)
    }

    /// What was asked for, and what askers were told.
    pub(crate) fn told(&self) -> (Vec<Asked>, Vec<Credit>) {
        (lock(&self.log.asked).clone(), lock(&self.log.credits).clone())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.enough.cancel();
    }
}

/// What one backend asks for.
struct Wishes {
    random: fastrand::Rng,
    labels: Vec<LabelMac>,
    began: Instant,
}

impl Wishes {
    fn next(&mut self) -> Task {
        let count = self.random.u32(LABELS_PER_TASK);
        let mut labels: Vec<_> = (0..count).map(|_| self.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Backends share the labels, but no version: they write different prices.
        let version = (elapsed + self.random.u64(..VERSION_SPREAD_MS)) * 1_000 + self.random.u64(..1_000);
        let priority = if self.random.u8(..10) == 0 { Priority::Urgent } else { Priority::Normal };
        let timeout_ms = u64::try_from(TASK_TIMEOUT.as_millis()).ok();
        Task { priority, timeout_ms, ..price_update(&labels, version) }
    }

    fn label(&mut self) -> LabelMac {
        let among = if self.random.bool() { self.labels.len().min(HOT_LABELS) } else { self.labels.len() };
        self.labels[self.random.usize(..among)]
    }
}

async fn ask(backend: Backend, wishes: Wishes, gap: Duration, log: Arc<Log>, enough: CancellationToken) {
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let wishes = stream::unfold((ticks, wishes), |(mut ticks, mut wishes)| async move {
        ticks.tick().await;
        Some((wishes.next(), (ticks, wishes)))
    });
    let (backend, log) = (&backend, &log);
    wishes.take_until(enough.cancelled()).for_each_concurrent(UNCONFIRMED, |task| enqueue(backend, log, task)).await;
}

async fn enqueue(backend: &Backend, log: &Log, task: Task) {
    log.unconfirmed.fetch_add(1, Ordering::Relaxed);
    // It tries until the broker confirms.
    if backend.enqueue(&task).await.is_ok() {
        let (confirmed, id) = (Some(now()), &task.task_id);
        let labels = || task.labels.iter().flatten().copied();
        lock(&log.open).extend(labels().map(|label| (id.clone(), label)));
        if let Some(version) = task.version {
            lock(&log.asked).extend(labels().map(|label| Asked { task: id.clone(), label, version, confirmed }));
        }
    }
    log.unconfirmed.fetch_sub(1, Ordering::Relaxed);
}

/// Asks hot labels to answer, which are asked by workers and other askers as well, over a session after the other.
async fn ping(
    url: AmqpUrl,
    mut random: fastrand::Rng,
    labels: Vec<LabelMac>,
    log: Arc<Log>,
    enough: CancellationToken,
) {
    let hot = &labels[..labels.len().min(HOT_LABELS)];
    while !enough.is_cancelled() {
        if let Ok(asker) = Asker::connect_to(&url).await {
            while !enough.is_cancelled() {
                let (id, label) = (CorrelationId::from_uuid(Uuid::now_v7()), hot[random.usize(..hot.len())]);
                match asker.ping_as(&id, label, PING_TIMEOUT).await {
                    Ok(reply) if reply.outcome == ReplyOutcome::Ack => {
                        lock(&log.credits).push(Credit { rpc: id, label, at: now() });
                    }
                    Ok(_) | Err(backbone::queue::RpcError::Timeout) => {}
                    Err(backbone::queue::RpcError::Session(_)) => break,
                }
                tokio::time::sleep(PING_PAUSE).await;
            }
        }
        tokio::time::sleep(PING_PAUSE).await;
    }
}

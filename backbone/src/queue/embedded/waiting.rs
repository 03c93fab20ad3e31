//! Tasks that come to their queues later: rows of a table of their own, moved when they are due. What comes is a new
//! message, as it is in RabbitMQ, so nothing else knows of waiting.

use super::durable::DurableQueue;
use crate::{
    embedded::{Job, Jobs, StoreError},
    queue::Message,
    service::now,
};
use protocol::names::amqp;
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// One transaction moves so many at most.
const MOST_PER_MOVE: usize = 256;
/// When moving has failed, it is tried again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All tasks that wait.
pub(super) struct WaitingRoom {
    jobs: Arc<Jobs>,
    /// Where they come to.
    queues: Mutex<Vec<Arc<DurableQueue>>>,
    waiting: AtomicI64,
}

impl WaitingRoom {
    pub(super) fn new(jobs: Arc<Jobs>) -> Self {
        Self { jobs, queues: Mutex::default(), waiting: AtomicI64::new(0) }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Arc<DurableQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_queue(&self, queue: &Arc<DurableQueue>) {
        self.queues().push(Arc::clone(queue));
    }

    /// Begins with what the data folder holds.
    pub(super) fn begin(self: &Arc<Self>, waiting: i64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        if waiting > 0 {
            self.wake_after(Duration::ZERO);
        }
    }

    pub(super) fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.load(Ordering::Relaxed).max(0)).unwrap_or(u32::MAX)
    }

    fn wake_after(self: &Arc<Self>, delay: Duration) {
        if let Some(at) = Instant::now().checked_add(delay) {
            self.jobs.wake_at(at, Box::new(Move::into_queues_of(Arc::clone(self))));
        }
    }
}

impl fmt::Debug for WaitingRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingRoom").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// A task on its way into the room.
pub(super) struct Enter {
    room: Arc<WaitingRoom>,
    queue: i64,
    delay: Duration,
    body: Vec<u8>,
    wait: Option<String>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Enter {
    pub(super) fn new(
        room: &Arc<WaitingRoom>,
        queue: &DurableQueue,
        message: &Message<'_>,
        delay: Duration,
        reply: oneshot::Sender<Result<(), StoreError>>,
    ) -> Self {
        let wait = super::memory::header(message, amqp::WAIT).map(str::to_owned);
        Self { room: Arc::clone(room), queue: queue.id, delay, body: message.body.to_vec(), wait, reply }
    }
}

impl Job for Enter {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let delay = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let not_before = now().unix_millis().saturating_add(delay);
        let insert = "INSERT INTO waiting (queue, not_before, wait, body) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(insert)?.execute(params![self.queue, not_before, self.wait, self.body])?;
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        if outcome.is_ok() {
            self.room.waiting.fetch_add(1, Ordering::Relaxed);
            self.room.wake_after(self.delay);
        }
        // Whoever no longer waits is passed over.
        let _ = self.reply.send(outcome);
    }
}

/// Moves what is due into its queue.
struct Move {
    room: Arc<WaitingRoom>,
    /// How many came to each queue.
    moved: HashMap<i64, i64>,
    /// After how long the next one is due.
    next: Option<Duration>,
}

impl Move {
    fn into_queues_of(room: Arc<WaitingRoom>) -> Self {
        Self { room, moved: HashMap::new(), next: None }
    }
}

impl Job for Move {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.moved.clear();
        let now = now().unix_millis();
        let due = "SELECT id, queue FROM waiting WHERE not_before <= ?1 ORDER BY not_before, id LIMIT ?2";
        let mut due = connection.prepare_cached(due)?;
        let due = due.query_map(params![now, MOST_PER_MOVE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (id, queue) in due.collect::<rusqlite::Result<Vec<(i64, i64)>>>()? {
            let copy = "INSERT INTO message (queue, published_at, wait, body)
                SELECT queue, ?2, wait, body FROM waiting WHERE id = ?1";
            connection.prepare_cached(copy)?.execute([id, now])?;
            connection.prepare_cached("DELETE FROM waiting WHERE id = ?1")?.execute([id])?;
            *self.moved.entry(queue).or_default() += 1;
        }
        for queue in self.room.queues().iter().filter(|queue| self.moved.contains_key(&queue.id)) {
            queue.push_turn_for_new();
        }
        let earliest: Option<i64> =
            connection.prepare_cached("SELECT min(not_before) FROM waiting")?.query_row([], |row| row.get(0))?;
        self.next = earliest.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)));
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => {
                for queue in self.room.queues().iter() {
                    if let Some(moved) = self.moved.get(&queue.id) {
                        queue.add_waiting(*moved);
                        self.room.waiting.fetch_sub(*moved, Ordering::Relaxed);
                    }
                }
                if let Some(next) = self.next {
                    self.room.wake_after(next);
                }
            }
            Err(error) => {
                tracing::warn!(error = error.to_string(), "tasks that are due wait for their data folder");
                self.room.wake_after(RETRY_AFTER);
            }
        }
    }
}

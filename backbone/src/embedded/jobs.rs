//! What waits for the writer.

use super::StoreError;
use rusqlite::Connection;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many KiB of jobs wait at most, those in the transaction under way included.
const ROOM_KIB: u32 = 16 * 1024;
/// What failed without anybody waiting for it is tried again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What must have survived when a job is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// The end of the process. The disk is left to the operating system, or to the next full one.
    Process,
    /// A power loss.
    Power,
}

/// A part of a transaction.
pub(crate) trait Job: Send {
    /// Does it. An error undoes what it has done and nothing else. Done again where the transaction came to nothing
    /// because of another job.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Told once, after the commit, or why there is none. In the order in which the jobs were done.
    fn done(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A job that somebody asked for.
pub(super) struct Asked {
    pub(super) job: Box<dyn Job>,
    pub(super) durability: Durability,
    /// Given back when the job is done: until then it takes up room.
    pub(super) _room: OwnedSemaphorePermit,
}

/// The writer's queue: bounded for those who ask, and not for the few jobs that the queues make for themselves, of
/// which each has one at most.
pub(crate) struct Jobs {
    state: Mutex<State>,
    wake: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    asked: VecDeque<Asked>,
    own: Vec<Box<dyn Job>>,
    later: Vec<(Instant, Box<dyn Job>)>,
    alarm: Option<(Instant, Box<dyn Job>)>,
    closed: bool,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), room: Arc::new(Semaphore::new(ROOM_KIB as usize)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job of about so many bytes, when there is room.
    pub(crate) async fn ask(&self, job: Box<dyn Job>, durability: Durability, bytes: usize) -> Result<(), StoreError> {
        let room = u32::try_from(bytes / 1024).unwrap_or(ROOM_KIB).saturating_add(1).min(ROOM_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_| StoreError::Closed)?;
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.asked.push_back(Asked { job, durability, _room: room });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a job that nobody waits for; from within another job, it goes into the same transaction.
    pub(crate) fn push_own(&self, job: Box<dyn Job>) {
        let mut state = self.state();
        if !state.closed {
            state.own.push(job);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// As [`push_own`](Self::push_own), after a while: for a job that failed.
    pub(crate) fn push_own_later(&self, job: Box<dyn Job>) {
        let mut state = self.state();
        if !state.closed {
            state.later.push((Instant::now() + RETRY_AFTER, job));
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Has a job done at this time. There is one such time, the earliest that was asked for: whoever asks for a later one
    /// must ask again when the job is done.
    pub(crate) fn wake_at(&self, at: Instant, job: Box<dyn Job>) {
        let mut state = self.state();
        if !state.closed && state.alarm.as_ref().is_none_or(|(set, _)| at < *set) {
            state.alarm = Some((at, job));
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for work, and takes all that was asked. `None`: it was closed, and all is done.
    pub(super) fn wait(&self) -> Option<Vec<Asked>> {
        let mut state = self.state();
        loop {
            state.promote();
            if !state.asked.is_empty() || !state.own.is_empty() {
                return Some(state.asked.drain(..).collect());
            }
            if state.closed {
                return None;
            }
            let alarm = state.alarm.as_ref().map(|(at, _)| *at);
            state = match state.later.iter().map(|(at, _)| *at).chain(alarm).min() {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let patience = at.saturating_duration_since(Instant::now());
                    self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(super) fn take_own(&self) -> Vec<Box<dyn Job>> {
        std::mem::take(&mut self.state().own)
    }

    /// Takes nothing more; what was taken is done.
    pub(super) fn close(&self) {
        self.room.close();
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// The writer has ended, however: whoever still waits hears so, because the jobs are dropped.
    pub(super) fn abandon(&self) {
        self.close();
        let left = std::mem::replace(&mut *self.state(), State { closed: true, ..State::default() });
        drop(left); // not under the lock: whoever is told may ask for more
    }
}

impl State {
    /// What was put off is due: by its time, or because there will be no later.
    fn promote(&mut self) {
        let (now, closed) = (Instant::now(), self.closed);
        let due = self.later.extract_if(.., |(at, _)| closed || *at <= now);
        self.own.extend(due.map(|(_, job)| job));
        if !closed && self.alarm.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.own.extend(self.alarm.take().map(|(_, job)| job));
        }
    }
}

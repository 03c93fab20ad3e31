//! The one thread that writes: group commit.

use super::{
    StoreError,
    jobs::{Asked, Durability, Job, Jobs},
};
use prometheus_client::metrics::counter::Counter;
use rusqlite::Connection;
use std::{collections::VecDeque, fs::File, sync::Arc};
use tokio::sync::watch;

/// Jobs that jobs make go into the same transaction, for so many generations.
const GENERATIONS: usize = 3;

/// What is counted of the writer.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// Transactions that were committed.
    pub(super) commits: Counter,
    /// Of those, the ones after which the disk was waited for.
    pub(super) full_syncs: Counter,
    /// Jobs that were done.
    pub(super) jobs: Counter,
    /// Jobs that failed.
    pub(super) failures: Counter,
}

/// The writing connection, and what it does next. Dropped, it tells everybody that nothing is written any more.
pub(super) struct Writer {
    /// `Some` until the end: closed before the lock, and before anybody hears of it.
    pub(super) connection: Option<Connection>,
    pub(super) lock: Option<File>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) durability: Durability,
    pub(super) counters: Counters,
    pub(super) ended: watch::Sender<bool>,
}

/// A job that was run, and what came of it.
type Ran = (Box<dyn Job>, Result<(), StoreError>);

/// Jobs of a transaction that is none, before and after the one that ended it.
struct GivenUp {
    before: Vec<Box<dyn Job>>,
    after: Vec<Box<dyn Job>>,
}

impl Writer {
    /// Writes until it is closed and nothing waits.
    pub(super) fn run(mut self) {
        let Some(connection) = self.connection.take() else { return };
        while let Some(asked) = self.jobs.wait() {
            self.carry_out(&connection, asked);
        }
        // Leaves one file behind; where that fails, the log is read by whoever opens the folder next.
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        self.connection = Some(connection);
    }

    /// One transaction, or as many as it takes to keep those apart that can't be carried out.
    fn carry_out(&mut self, connection: &Connection, asked: Vec<Asked>) {
        let durability = asked.iter().map(|asked| asked.durability).max().unwrap_or(Durability::Process);
        let (jobs, room): (Vec<_>, Vec<_>) = asked.into_iter().map(|asked| (asked.job, asked._room)).unzip();
        let mut parts = vec![jobs];
        while let Some(jobs) = parts.pop() {
            if let Some(GivenUp { before, after }) = self.transaction(connection, durability, jobs) {
                parts.extend([after, before].into_iter().filter(|part| !part.is_empty()));
            }
        }
        drop(room);
    }

    /// Does jobs, and what they ask for themselves. Where SQLite gives up the whole transaction over one of them, as it
    /// does when there is no room for it, that one has failed, and the others are to be done without it.
    fn transaction(
        &mut self,
        connection: &Connection,
        durability: Durability,
        mut jobs: Vec<Box<dyn Job>>,
    ) -> Option<GivenUp> {
        if let Err(error) = self.begin(connection, durability) {
            jobs.extend(self.jobs.take_own());
            self.tell(jobs.into_iter().map(|job| (job, Ok(()))).collect(), &Err(error));
            return None;
        }
        let (mut ran, mut waiting, mut generations) = (Vec::with_capacity(jobs.len()), VecDeque::from(jobs), 0);
        loop {
            let Some(mut job) = waiting.pop_front() else {
                waiting.extend(if generations < GENERATIONS { self.jobs.take_own() } else { Vec::new() });
                generations += 1;
                if waiting.is_empty() {
                    break;
                }
                continue;
            };
            let result = run_one(connection, &mut *job);
            if connection.is_autocommit() {
                self.tell(vec![(job, result)], &Ok(()));
                let before = ran.into_iter().map(|(job, _)| job).collect();
                return Some(GivenUp { before, after: waiting.into() });
            }
            ran.push((job, result));
        }
        let committed = commit(connection);
        self.counters.commits.inc_by(committed.is_ok().into());
        self.counters.full_syncs.inc_by((committed.is_ok() && durability == Durability::Power).into());
        self.tell(ran, &committed);
        None
    }

    fn begin(&mut self, connection: &Connection, durability: Durability) -> Result<(), StoreError> {
        if self.durability != durability {
            // In WAL mode, NORMAL syncs at checkpoints only; a FULL commit syncs what earlier ones have left.
            connection.execute_batch(match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            })?;
            self.durability = durability;
        }
        Ok(connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn tell(&self, ran: Vec<Ran>, committed: &Result<(), StoreError>) {
        for (job, result) in ran {
            let outcome = committed.clone().and(result);
            let counter = if outcome.is_ok() { &self.counters.jobs } else { &self.counters.failures };
            counter.inc();
            job.done(outcome);
        }
    }
}

fn commit(connection: &Connection) -> Result<(), StoreError> {
    let outcome = connection.execute_batch("COMMIT");
    if outcome.is_err() && !connection.is_autocommit() {
        // A failure here means that SQLite has rolled back by itself.
        let _ = connection.execute_batch("ROLLBACK");
    }
    Ok(outcome?)
}

fn run_one(connection: &Connection, job: &mut dyn Job) -> Result<(), StoreError> {
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT job")?;
    let result = job.run(connection);
    if result.is_err() && !connection.is_autocommit() && execute("ROLLBACK TO job").is_err() {
        // Half a job must never be committed: rather the whole transaction again, without it.
        let _ = connection.execute_batch("ROLLBACK");
    }
    if !connection.is_autocommit() {
        execute("RELEASE job")?;
    }
    Ok(result?)
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs.abandon();
        drop(self.connection.take());
        drop(self.lock.take());
        self.ended.send_replace(true);
    }
}

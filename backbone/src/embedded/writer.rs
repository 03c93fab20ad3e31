//! The one thread that writes: group commit.

use super::{
    StoreError,
    jobs::{Asked, Durability, Job, Jobs},
};
use prometheus_client::metrics::counter::Counter;
use rusqlite::Connection;
use std::{fs::File, sync::Arc};
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

    /// One transaction.
    fn carry_out(&mut self, connection: &Connection, asked: Vec<Asked>) {
        let durability = asked.iter().map(|asked| asked.durability).max().unwrap_or(Durability::Process);
        let mut outcome = self.begin(connection, durability);
        let (jobs, room): (Vec<_>, Vec<_>) = asked.into_iter().map(|asked| (asked.job, asked._room)).unzip();
        let mut ran: Vec<Ran> = Vec::with_capacity(jobs.len());
        run_all(connection, jobs, &mut outcome, &mut ran);
        for _ in 0..GENERATIONS {
            let own = self.jobs.take_own();
            if own.is_empty() {
                break;
            }
            run_all(connection, own, &mut outcome, &mut ran);
        }
        let outcome = outcome.and_then(|()| Ok(connection.execute_batch("COMMIT")?));
        if outcome.is_err() && !connection.is_autocommit() {
            // A failure here means that SQLite has rolled back by itself.
            let _ = connection.execute_batch("ROLLBACK");
        }
        self.count(durability, outcome.is_ok(), &ran);
        for (job, result) in ran {
            job.done(outcome.clone().and(result));
        }
        drop(room);
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

    fn count(&self, durability: Durability, committed: bool, ran: &[Ran]) {
        let failed = if committed { ran.iter().filter(|(_, result)| result.is_err()).count() } else { ran.len() };
        self.counters.commits.inc_by(committed.into());
        self.counters.full_syncs.inc_by((committed && durability == Durability::Power).into());
        self.counters.failures.inc_by(failed as u64);
        self.counters.jobs.inc_by((ran.len() - failed) as u64);
    }
}

/// Runs jobs, each undone alone where it fails. When SQLite has given up the whole transaction, none is run any more.
fn run_all(connection: &Connection, jobs: Vec<Box<dyn Job>>, outcome: &mut Result<(), StoreError>, ran: &mut Vec<Ran>) {
    for mut job in jobs {
        let result = match outcome {
            Ok(()) => run_one(connection, &mut *job),
            Err(error) => Err(error.clone()),
        };
        if let (Ok(()), Err(error)) = (&outcome, &result)
            && connection.is_autocommit()
        {
            *outcome = Err(error.clone());
        }
        ran.push((job, result));
    }
}

fn run_one(connection: &Connection, job: &mut dyn Job) -> Result<(), StoreError> {
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT job")?;
    let result = job.run(connection);
    if result.is_err() && !connection.is_autocommit() {
        execute("ROLLBACK TO job")?;
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

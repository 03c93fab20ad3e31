//! What was enqueued over HTTP, and how far it is.

use super::{
    Sqlite,
    row::{parse, time},
};
use crate::{
    embedded::Durability,
    ledger::{Enqueued, LedgerError, Progress},
};
use protocol::{BatchId, Store, Timestamp};
use rusqlite::{Connection, Row, params};

const COLUMNS: &str = "key, store, batch, digest, at, tasks, labels, confirmed";
const BEGIN: &str = "INSERT INTO enqueued (key, store, batch, digest, at, tasks, labels, confirmed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
const CONFIRM: &str = "UPDATE enqueued SET confirmed = 1 WHERE store = ?1 AND key = ?2";
const PROGRESS: &str = "SELECT outcome, count(*), max(at) FROM outcome WHERE batch = ?1 GROUP BY outcome";

impl Sqlite {
    pub(in crate::ledger) async fn begin_enqueueing(&self, enqueued: &Enqueued) -> Result<Enqueued, LedgerError> {
        let enqueued = enqueued.clone();
        let work = move |connection: &Connection| begin(connection, &enqueued);
        self.write("recording what is enqueued", Durability::Power, 1, work).await
    }

    pub(in crate::ledger) async fn confirm_enqueued(&self, store: &Store, key: &str) -> Result<(), LedgerError> {
        let (store, key) = (store.clone(), key.to_owned());
        let confirm = move |connection: &Connection| {
            connection.prepare_cached(CONFIRM)?.execute([store.as_str(), &key]).map(drop)
        };
        self.write("recording that tasks are confirmed", Durability::Power, 1, confirm).await
    }

    pub(in crate::ledger) async fn enqueued_in(&self, batch: &BatchId) -> Result<Vec<Enqueued>, LedgerError> {
        let batch = batch.clone();
        let find = move |connection: &Connection| {
            let mut find = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM enqueued WHERE batch = ?1"))?;
            find.query_map([batch.as_str()], enqueued)?.collect()
        };
        self.read("reading a batch", find).await
    }

    pub(in crate::ledger) async fn progress(&self, batch: &BatchId) -> Result<Progress, LedgerError> {
        let batch = batch.clone();
        let count = move |connection: &Connection| {
            let mut count = connection.prepare_cached(PROGRESS)?;
            let counts = count.query_map([batch.as_str()], |row| {
                Ok((parse(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs(), time(row, 2)?))
            })?;
            let mut progress = Progress::default();
            for counted in counts {
                let (outcome, labels, last): (_, _, Timestamp) = counted?;
                progress.outcomes.insert(outcome, labels);
                progress.last = progress.last.max(Some(last));
            }
            Ok(progress)
        };
        self.read("reading a batch's progress", count).await
    }
}

fn begin(connection: &Connection, wanted: &Enqueued) -> rusqlite::Result<Enqueued> {
    let Enqueued { key, store, batch, digest, at, tasks, labels, confirmed } = wanted;
    let (tasks, labels) = (tasks.cast_signed(), labels.cast_signed());
    let values = params![key, store.as_str(), batch.as_str(), digest, at.unix_millis(), tasks, labels, confirmed];
    if connection.prepare_cached(BEGIN)?.execute(values)? > 0 {
        return Ok(wanted.clone());
    }
    let select = format!("SELECT {COLUMNS} FROM enqueued WHERE store = ?1 AND key = ?2");
    connection.prepare_cached(&select)?.query_row([store.as_str(), key], enqueued)
}

fn enqueued(row: &Row<'_>) -> rusqlite::Result<Enqueued> {
    Ok(Enqueued {
        key: row.get(0)?,
        store: parse(row, 1)?,
        batch: parse(row, 2)?,
        digest: row.get(3)?,
        at: time(row, 4)?,
        tasks: row.get::<_, i64>(5)?.unsigned_abs(),
        labels: row.get::<_, i64>(6)?.unsigned_abs(),
        confirmed: row.get(7)?,
    })
}

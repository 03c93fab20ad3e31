//! What was decided about batches.

use super::{
    Sqlite,
    row::{parse, time},
};
use crate::{
    embedded::Durability,
    ledger::{BatchControl, BatchKey, LedgerError},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;

const DECIDE: &str = "INSERT INTO batch_state (store, batch, state, who, at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (store, batch) DO UPDATE SET state = excluded.state, who = excluded.who, at = excluded.at
    WHERE state <> 'cancelled'";
const FIND: &str = "SELECT state, who, at FROM batch_state WHERE store = ?1 AND batch = ?2";

impl Sqlite {
    pub(in crate::ledger) async fn control_batch(
        &self,
        key: &BatchKey,
        control: &BatchControl,
    ) -> Result<BatchControl, LedgerError> {
        let (key, control) = (key.clone(), control.clone());
        let decide = move |connection: &Connection| {
            let BatchControl { state, by, at } = &control;
            let values = params![key.store.as_str(), key.batch.as_str(), state.as_str(), by, at.unix_millis()];
            connection.prepare_cached(DECIDE)?.execute(values)?;
            find(connection, &key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        };
        self.write("recording what is decided about a batch", Durability::Power, 1, decide).await
    }

    pub(in crate::ledger) async fn controls_of(
        &self,
        keys: &[BatchKey],
    ) -> Result<HashMap<BatchKey, BatchControl>, LedgerError> {
        let keys = keys.to_vec();
        let find_all = move |connection: &Connection| {
            let found = keys.into_iter().map(|key| Ok(find(connection, &key)?.map(|control| (key, control))));
            found.filter_map(Result::transpose).collect()
        };
        self.read("reading what was decided about batches", find_all).await
    }
}

fn find(connection: &Connection, key: &BatchKey) -> rusqlite::Result<Option<BatchControl>> {
    let read = |row: &Row<'_>| Ok(BatchControl { state: parse(row, 0)?, by: row.get(1)?, at: time(row, 2)? });
    connection.prepare_cached(FIND)?.query_row([key.store.as_str(), key.batch.as_str()], read).optional()
}

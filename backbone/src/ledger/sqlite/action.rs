//! Who did what.

use super::{
    Sqlite,
    row::{maybe, parse_maybe, time},
};
use crate::{
    embedded::Durability,
    ledger::{ActionTaken, LedgerError},
};
use protocol::Store;
use rusqlite::{Connection, Row, params};

const ACT: &str = "INSERT INTO action (at, who, store, what, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const ACTIONS: &str =
    "SELECT at, who, store, what, target, detail FROM action WHERE store IS ?1 ORDER BY id DESC LIMIT ?2";

impl Sqlite {
    pub(in crate::ledger) async fn record_action(&self, action: &ActionTaken) -> Result<(), LedgerError> {
        let ActionTaken { at, who, store, what, target, detail } = action.clone();
        let work = move |connection: &Connection| {
            let values = params![at.unix_millis(), who, maybe(store.as_ref()), what, target, detail];
            connection.prepare_cached(ACT)?.execute(values).map(drop)
        };
        self.write("recording an action", Durability::Power, 1, work).await
    }

    pub(in crate::ledger) async fn actions(
        &self,
        store: Option<&Store>,
        limit: u32,
    ) -> Result<Vec<ActionTaken>, LedgerError> {
        let read = |row: &Row<'_>| {
            let (at, store) = (time(row, 0)?, parse_maybe(row, 2)?);
            Ok(ActionTaken { at, who: row.get(1)?, store, what: row.get(3)?, target: row.get(4)?, detail: row.get(5)? })
        };
        self.all("reading what was done", ACTIONS, [maybe(store), i64::from(limit).into()], read).await
    }
}

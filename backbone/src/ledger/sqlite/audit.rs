//! The history of a label, and which labels are out of date.

use super::{
    Sqlite,
    row::{self, OUTCOME, RECORD},
};
use crate::ledger::{HistoryPlace, LabelRecord, LedgerError, OutOfDate, Recorded};
use protocol::{LabelMac, Outcome, Store};
use rusqlite::{Connection, Row, params};

impl Sqlite {
    pub(in crate::ledger) async fn history_before(
        &self,
        label: LabelMac,
        place: Option<&HistoryPlace>,
        limit: u32,
    ) -> Result<Vec<Recorded>, LedgerError> {
        // Nothing is later than the greatest number, and no text less than an empty one.
        let (at, task) = place
            .map_or((i64::MAX, String::new()), |HistoryPlace { at, task_id }| (at.unix_millis(), task_id.to_string()));
        let find = move |connection: &Connection| {
            let mut find = connection.prepare_cached(&format!(
                "SELECT {OUTCOME}, fields FROM outcome WHERE label = ?1 AND (at, task_id) < (?2, ?3)
                 ORDER BY at DESC, task_id DESC LIMIT ?4"
            ))?;
            find.query_map(params![label.to_string(), at, task, limit.max(1)], recorded)?.collect()
        };
        self.read("reading a label's history", find).await
    }

    pub(in crate::ledger) async fn stores_out_of_date(&self) -> Result<Vec<Store>, LedgerError> {
        let find = |connection: &Connection| {
            let mut find =
                connection.prepare_cached("SELECT DISTINCT store FROM label WHERE out_of_date IS NOT NULL")?;
            find.query_map([], |row| row::parse(row, 0))?.collect()
        };
        self.read("finding stores with labels that are out of date", find).await
    }

    pub(in crate::ledger) async fn out_of_date(
        &self,
        store: &Store,
        after: Option<LabelMac>,
        limit: u32,
    ) -> Result<Vec<OutOfDate>, LedgerError> {
        let (store, after) = (store.clone(), after.map_or_else(String::new, |label| label.to_string()));
        let find = move |connection: &Connection| {
            let mut find = connection.prepare_cached(&format!(
                "SELECT {RECORD}, mac, out_of_date FROM label
                 WHERE store = ?1 AND mac > ?2 AND out_of_date IS NOT NULL ORDER BY mac LIMIT ?3"
            ))?;
            let found = find.query_map(params![store.as_str(), after, limit.max(1)], |row| stale(connection, row))?;
            found.filter_map(Result::transpose).collect()
        };
        self.read("finding labels that are out of date", find).await
    }
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    // The column behind those of an outcome.
    const FIELDS: usize = 12;
    let has_fields = row.get_ref(FIELDS)?.as_str_or_null()?.is_some();
    let fields = if has_fields { Some((*row::fields(row, FIELDS)?).clone()) } else { None };
    Ok(Recorded { result: row::outcome(row)?, fields })
}

/// `None` for one that nothing is desired of, which is never marked.
fn stale(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Option<OutOfDate>> {
    let LabelRecord { store: _, sku, desired, shown } = row::record(row)?;
    let Some(desired) = desired else { return Ok(None) };
    let label = row::parse(row, 12)?;
    let outcome = row::outcome_of(connection, &desired.task_id, label)?;
    // What was shown and is forgotten is being repaired.
    let outcome = outcome.filter(|result| result.outcome != Outcome::Shown);
    Ok(Some(OutOfDate { label, sku, desired, shown, since: row::time(row, 13)?, outcome }))
}

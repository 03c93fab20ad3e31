//! What is only read.

use super::{
    Sqlite,
    row::{self, OUTCOME, parse},
};
use crate::ledger::{LabelRecord, LedgerError, Shown};
use protocol::{BatchId, LabelMac, Outcome, ResultMessage, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, HashMap};

/// The newest acknowledged content until a time.
const SHOWN_AT: &str = "SELECT version, fields, at, task_id, gateway FROM outcome
    WHERE label = ?1 AND at <= ?2 AND fields IS NOT NULL AND version IS NOT NULL ORDER BY at DESC, rowid DESC LIMIT 1";

impl Sqlite {
    pub(in crate::ledger) async fn desired_of(
        &self,
        labels: &[LabelMac],
    ) -> Result<HashMap<LabelMac, LabelRecord>, LedgerError> {
        let labels = labels.to_vec();
        let find = move |connection: &Connection| {
            let mut known = HashMap::with_capacity(labels.len());
            for label in labels {
                known.extend(row::label(connection, label)?.map(|record| (label, record)));
            }
            Ok(known)
        };
        self.read("reading labels", find).await
    }

    pub(in crate::ledger) async fn history(
        &self,
        label: LabelMac,
        limit: u32,
    ) -> Result<Vec<ResultMessage>, LedgerError> {
        let find = move |connection: &Connection| {
            let select =
                format!("SELECT {OUTCOME} FROM outcome WHERE label = ?1 ORDER BY at DESC, rowid DESC LIMIT ?2");
            let mut find = connection.prepare_cached(&select)?;
            let found = find.query_map(params![label.to_string(), limit], row::outcome)?;
            found.collect()
        };
        self.read("reading a label's history", find).await
    }

    pub(in crate::ledger) async fn shown_at(
        &self,
        label: LabelMac,
        at: Timestamp,
    ) -> Result<Option<Shown>, LedgerError> {
        let find = move |connection: &Connection| {
            let mut find = connection.prepare_cached(SHOWN_AT)?;
            let found = find.query_row(params![label.to_string(), at.unix_millis()], |row| {
                row::parse_version(row, 0)?.map(|version| row::shown(row, version, 1)).transpose()
            });
            Ok(found.optional()?.flatten())
        };
        self.read("reading what a label showed", find).await
    }

    pub(in crate::ledger) async fn balance(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, LedgerError> {
        let batch = batch.clone();
        let count = move |connection: &Connection| {
            let mut count =
                connection.prepare_cached("SELECT outcome, count(*) FROM outcome WHERE batch = ?1 GROUP BY outcome")?;
            let counts =
                count.query_map([batch.as_str()], |row| Ok((parse(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            counts.collect()
        };
        self.read("counting a batch's outcomes", count).await
    }
}

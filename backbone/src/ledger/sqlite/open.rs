//! A task begins with labels: what is desired is recorded, and how they stand is read.

use super::{
    Sqlite,
    row::{self, fields_text, number},
};
use crate::{
    embedded::Durability,
    ledger::{LabelRecord, LabelState, LedgerError, Opening, What},
    service::now,
};
use protocol::{BatchId, Fields, LabelMac, Timestamp, Version};
use rusqlite::{Connection, params};
use std::collections::HashMap;

const FORGET: &str = "UPDATE label SET shown_version = NULL, shown_fields = NULL, shown_at = NULL, shown_task = NULL,
    shown_gateway = NULL, out_of_date = CASE WHEN desired_version IS NOT NULL THEN ifnull(out_of_date, ?2) END
    WHERE mac = ?1 AND NOT EXISTS (SELECT 1 FROM outcome WHERE task_id = ?3 AND label = ?1)";
const DESIRE: &str = "INSERT INTO label (mac, store, desired_version, desired_fields, desired_at, desired_task,
        desired_batch, out_of_date) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?5)
    ON CONFLICT (mac) DO UPDATE SET desired_version = excluded.desired_version,
        desired_fields = excluded.desired_fields, desired_at = excluded.desired_at,
        desired_task = excluded.desired_task, desired_batch = excluded.desired_batch,
        out_of_date = CASE WHEN excluded.desired_version > ifnull(shown_version, -1)
            THEN ifnull(out_of_date, excluded.desired_at) END
    WHERE desired_version IS NULL OR desired_version < excluded.desired_version";
/// By itself, since what is in an index is written again wherever it is set.
const SETTLE_IN: &str = "UPDATE label SET store = ?2 WHERE mac = ?1 AND store IS NULL";

impl Sqlite {
    pub(in crate::ledger) async fn open(&self, openings: &[Opening]) -> Result<Vec<LabelState>, LedgerError> {
        let openings = openings.to_vec();
        let records = openings.len();
        let work = move |connection: &Connection| open(connection, &openings, now());
        self.write("recording what labels should show", Durability::Power, records, work).await
    }
}

fn open(connection: &Connection, openings: &[Opening], at: Timestamp) -> rusqlite::Result<Vec<LabelState>> {
    for opening in openings.iter().filter(|opening| matches!(opening.what, What::Forget)) {
        let values = params![opening.label.to_string(), at.unix_millis(), opening.task_id.as_str()];
        connection.prepare_cached(FORGET)?.execute(values)?;
    }
    for (version, opening, fields) in newest(openings).into_values() {
        desire(connection, opening, version, fields, at)?;
    }
    let states = openings.iter().map(|opening| {
        let record = row::label(connection, opening.label)?;
        let LabelRecord { store, sku: _, desired, shown } = record.unwrap_or_default();
        let recorded = row::outcome_of(connection, &opening.task_id, opening.label)?;
        Ok(LabelState { store, desired, shown, recorded })
    });
    states.collect()
}

/// The newest version of each label; of equals, the first.
fn newest(openings: &[Opening]) -> HashMap<LabelMac, (Version, &Opening, &Fields)> {
    let mut newest: HashMap<LabelMac, (Version, &Opening, &Fields)> = HashMap::with_capacity(openings.len());
    for opening in openings {
        let What::Desire { version, fields } = &opening.what else { continue };
        let candidate = (*version, opening, &**fields);
        let kept = newest.entry(opening.label).or_insert(candidate);
        if kept.0 < *version {
            *kept = candidate;
        }
    }
    newest
}

fn desire(
    connection: &Connection,
    opening: &Opening,
    version: Version,
    fields: &Fields,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let (label, store) = (opening.label.to_string(), opening.store.as_str());
    let (fields, task) = (fields_text(fields)?, opening.task_id.as_str());
    let batch = opening.batch.as_ref().map(BatchId::as_str);
    let values = params![label, store, number(version), fields, at.unix_millis(), task, batch];
    connection.prepare_cached(DESIRE)?.execute(values)?;
    connection.prepare_cached(SETTLE_IN)?.execute(params![label, store])?;
    Ok(())
}

//! A task ends with labels: what is shown is recorded, and the outcome.

use super::{
    Sqlite,
    row::{self, fields_text, maybe, number},
};
use crate::{
    embedded::Durability,
    ledger::{LedgerError, Settled, Settlement},
};
use protocol::{Fields, LabelMac, ResultMessage, Version};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

const SHOW: &str = "UPDATE label SET shown_version = ?2, shown_fields = ?3, shown_at = ?4, shown_task = ?5,
    shown_gateway = ?6, out_of_date = CASE WHEN desired_version > ?2 THEN ifnull(out_of_date, ?4) END
    WHERE mac = ?1 AND (shown_version IS NULL OR shown_version <= ?2)";
const RECORD: &str = "INSERT INTO outcome (task_id, label, store, sku, version, outcome, reason, gateway, attempts,
    latency_ms, at, batch, fields) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT DO NOTHING";

impl Sqlite {
    pub(in crate::ledger) async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, LedgerError> {
        let settlements = settlements.to_vec();
        let records = settlements.len();
        let work = move |connection: &Connection| settle(connection, &settlements);
        self.write("recording outcomes", Durability::Power, records, work).await
    }
}

fn settle(connection: &Connection, settlements: &[Settlement]) -> rusqlite::Result<Vec<Settled>> {
    let mut newest: HashMap<LabelMac, Version> = HashMap::with_capacity(settlements.len());
    for Settlement { result, shown } in settlements {
        if let (Some(fields), Some(version)) = (shown, result.version) {
            let shown = show(connection, result, version, fields)?;
            let kept = newest.entry(result.label).or_insert(shown);
            *kept = shown.max(*kept);
        }
    }
    let settled = settlements.iter().map(|settlement| {
        let result = &settlement.result;
        let recorded = record(connection, settlement)?;
        let went_back = settlement.shown.is_some() && result.version < newest.get(&result.label).copied();
        Ok(Settled { recorded, went_back })
    });
    settled.collect()
}

/// Answers the newest version recorded as shown, this one included.
fn show(
    connection: &Connection,
    result: &ResultMessage,
    version: Version,
    fields: &Fields,
) -> rusqlite::Result<Version> {
    let (label, gateway) = (result.label.to_string(), maybe(result.gateway));
    let (fields, at, task) = (fields_text(fields)?, result.at.unix_millis(), result.task_id.as_str());
    let mut show = connection.prepare_cached(SHOW)?;
    if show.execute(params![label, number(version), fields, at, task, gateway])? > 0 {
        return Ok(version);
    }
    let mut find = connection.prepare_cached("SELECT shown_version FROM label WHERE mac = ?1")?;
    let shown = find.query_row([label], |row| row::parse_version(row, 0)).optional()?.flatten();
    Ok(shown.map_or(version, |shown| shown.max(version)))
}

/// Answers the outcome that counts.
fn record(connection: &Connection, settlement: &Settlement) -> rusqlite::Result<ResultMessage> {
    let Settlement { result, shown } = settlement;
    let fields = shown.as_ref().map(|fields| fields_text(fields)).transpose()?;
    let mut insert = connection.prepare_cached(RECORD)?;
    let inserted = insert.execute(params![
        result.task_id.as_str(),
        result.label.to_string(),
        result.store.as_str(),
        maybe(result.sku.as_ref()),
        result.version.map(number),
        result.outcome.as_str(),
        result.reason,
        maybe(result.gateway),
        result.attempts,
        i64::try_from(result.latency_ms).unwrap_or(i64::MAX),
        result.at.unix_millis(),
        maybe(result.batch.as_ref()),
        fields,
    ])?;
    if inserted > 0 {
        return Ok(result.clone());
    }
    row::outcome_of(connection, &result.task_id, result.label)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

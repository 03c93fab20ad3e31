//! Rows as they are stored, and back.

use crate::ledger::{Desired, LabelRecord, Shown};
use protocol::{Fields, LabelMac, ResultMessage, TaskId, Timestamp, Version};
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{Type, Value},
};
use std::{error::Error, str::FromStr, sync::Arc};

/// The columns that [`record`] reads.
pub(super) const RECORD: &str = "store, sku, desired_version, desired_fields, desired_at, desired_task,
    shown_version, shown_fields, shown_at, shown_task, shown_gateway, desired_batch";
/// The columns that [`outcome`] reads.
pub(super) const OUTCOME: &str =
    "task_id, store, sku, label, version, outcome, reason, gateway, attempts, latency_ms, at, batch";

/// What is known of a label.
pub(super) fn label(connection: &Connection, label: LabelMac) -> rusqlite::Result<Option<LabelRecord>> {
    let select = format!("SELECT {RECORD} FROM label WHERE mac = ?1");
    connection.prepare_cached(&select)?.query_row([label.to_string()], record).optional()
}

/// How a label of a task ended.
pub(super) fn outcome_of(
    connection: &Connection,
    task: &TaskId,
    label: LabelMac,
) -> rusqlite::Result<Option<ResultMessage>> {
    let select = format!("SELECT {OUTCOME} FROM outcome WHERE task_id = ?1 AND label = ?2");
    connection.prepare_cached(&select)?.query_row([task.as_str(), &label.to_string()], outcome).optional()
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<LabelRecord> {
    let desired = match parse_version(row, 2)? {
        Some(version) => {
            let (fields, at, task_id) = (fields(row, 3)?, time(row, 4)?, parse(row, 5)?);
            Some(Desired { version, fields, at, task_id, batch: parse_maybe(row, 11)? })
        }
        None => None,
    };
    let shown = match parse_version(row, 6)? {
        Some(version) => Some(shown(row, version, 7)?),
        None => None,
    };
    Ok(LabelRecord { store: parse_maybe(row, 0)?, sku: parse_maybe(row, 1)?, desired, shown })
}

/// Fields, time, task and gateway, in columns from this one on.
pub(super) fn shown(row: &Row<'_>, version: Version, first: usize) -> rusqlite::Result<Shown> {
    Ok(Shown {
        version,
        fields: fields(row, first)?,
        at: time(row, first + 1)?,
        task_id: parse(row, first + 2)?,
        gateway: parse_maybe(row, first + 3)?,
    })
}

pub(super) fn outcome(row: &Row<'_>) -> rusqlite::Result<ResultMessage> {
    Ok(ResultMessage {
        task_id: parse(row, 0)?,
        store: parse(row, 1)?,
        sku: parse_maybe(row, 2)?,
        label: parse(row, 3)?,
        version: parse_version(row, 4)?,
        outcome: parse(row, 5)?,
        reason: row.get(6)?,
        gateway: parse_maybe(row, 7)?,
        attempts: u32::try_from(row.get::<_, i64>(8)?).unwrap_or_default(),
        latency_ms: u64::try_from(row.get::<_, i64>(9)?).unwrap_or_default(),
        at: time(row, 10)?,
        batch: parse_maybe(row, 11)?,
    })
}

pub(super) fn parse<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error: T::Err| unreadable(column, Type::Text, error))
}

pub(super) fn parse_maybe<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(column)?.as_str_or_null()?.is_none() { Ok(None) } else { parse(row, column).map(Some) }
}

pub(super) fn parse_version(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Version>> {
    let number: Option<i64> = row.get(column)?;
    let version = number.map(|number| Version::try_from(u64::try_from(number).unwrap_or(u64::MAX)));
    version.transpose().map_err(|error| unreadable(column, Type::Integer, error))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_unix_millis(row.get(column)?))
}

pub(super) fn fields(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<Fields>> {
    let text = row.get_ref(column)?.as_str()?;
    let fields: Fields = serde_json::from_str(text).map_err(|error| unreadable(column, Type::Text, error))?;
    Ok(Arc::new(fields))
}

fn unreadable(column: usize, kind: Type, error: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
}

pub(super) fn fields_text(fields: &Fields) -> rusqlite::Result<String> {
    serde_json::to_string(fields).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A text that may be missing.
pub(super) fn maybe(text: Option<impl ToString>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.to_string()))
}

pub(super) fn number(version: Version) -> i64 {
    version.get().cast_signed()
}

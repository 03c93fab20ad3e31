//! Documents as they are stored. Numbers are signed in BSON, times are dates, everything else is as on the wire.

use crate::ledger::{Desired, LabelRecord, LedgerError, Settlement, Shown};
use mongodb::bson::{self, DateTime, RawDocumentBuf, rawdoc};
use protocol::{BatchId, Fields, GatewayMac, LabelMac, Outcome, ResultMessage, Sku, Store, TaskId, Timestamp, Version};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{borrow::Cow, sync::Arc};

#[derive(Debug, Deserialize)]
pub(super) struct LabelDocument {
    #[serde(rename = "_id")]
    pub(super) label: LabelMac,
    store: Option<Store>,
    sku: Option<Sku>,
    desired: Option<ContentDocument<'static>>,
    shown: Option<ContentDocument<'static>>,
}

/// What a label should show or shows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContentDocument<'a> {
    #[serde(deserialize_with = "version")]
    pub(super) version: Version,
    pub(super) fields: Cow<'a, Fields>,
    #[serde(with = "date")]
    pub(super) at: Timestamp,
    pub(super) task_id: TaskId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<GatewayMac>,
    /// Of what is desired only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<BatchId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutcomeDocument {
    /// `<task_id>/<label>`.
    #[serde(rename = "_id")]
    pub(super) id: String,
    task_id: TaskId,
    store: Store,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sku: Option<Sku>,
    label: LabelMac,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "maybe_version")]
    version: Option<Version>,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayMac>,
    attempts: i64,
    latency_ms: i64,
    #[serde(with = "date")]
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<BatchId>,
    /// What a gateway acknowledged, so that it is known which price was on a label when. Old documents have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fields: Option<Fields>,
}

/// To be run after `desired` or `shown` has changed: keeps since when a label has not shown what it should, where that
/// is so. It is stored because no index compares two fields.
pub(super) fn mark_out_of_date() -> RawDocumentBuf {
    let newer = rawdoc! { "$gt": ["$desired.version", { "$ifNull": ["$shown.version", -1_i64] }] };
    let since = rawdoc! { "$ifNull": ["$out_of_date", "$$NOW"] };
    rawdoc! { "$set": { "out_of_date": { "$cond": [newer, since, "$$REMOVE"] } } }
}

/// The `_id` of the outcome of a label in a task.
pub(super) fn outcome_id(task: &TaskId, label: LabelMac) -> String {
    format!("{task}/{label}")
}

/// As BSON; fails on a name with a zero byte in it, which BSON can't hold.
pub(super) fn encode(doing: &'static str, document: &impl Serialize) -> Result<RawDocumentBuf, LedgerError> {
    bson::serialize_to_raw_document_buf(document).map_err(|error| LedgerError::refused(doing, error))
}

impl From<LabelDocument> for LabelRecord {
    fn from(document: LabelDocument) -> Self {
        let LabelDocument { label: _, store, sku, desired, shown } = document;
        Self { store, sku, desired: desired.map(Into::into), shown: shown.map(Into::into) }
    }
}

impl From<ContentDocument<'_>> for Desired {
    fn from(content: ContentDocument<'_>) -> Self {
        let ContentDocument { version, fields, at, task_id, gateway: _, batch } = content;
        Self { version, fields: Arc::new(fields.into_owned()), at, task_id, batch }
    }
}

impl From<ContentDocument<'_>> for Shown {
    fn from(content: ContentDocument<'_>) -> Self {
        let ContentDocument { version, fields, at, task_id, gateway, batch: _ } = content;
        Self { version, fields: Arc::new(fields.into_owned()), at, task_id, gateway }
    }
}

impl From<&Settlement> for OutcomeDocument {
    fn from(settlement: &Settlement) -> Self {
        let Settlement { result, shown } = settlement.clone();
        Self {
            id: outcome_id(&result.task_id, result.label),
            task_id: result.task_id,
            store: result.store,
            sku: result.sku,
            label: result.label,
            version: result.version,
            outcome: result.outcome,
            reason: result.reason,
            gateway: result.gateway,
            attempts: result.attempts.into(),
            latency_ms: i64::try_from(result.latency_ms).unwrap_or(i64::MAX),
            at: result.at,
            batch: result.batch,
            fields: shown.as_deref().cloned(),
        }
    }
}

impl OutcomeDocument {
    /// What was shown with it.
    pub(super) fn into_shown(self) -> Option<Shown> {
        let Self { version, fields, at, task_id, gateway, .. } = self;
        Some(Shown { version: version?, fields: Arc::new(fields?), at, task_id, gateway })
    }
}

impl From<OutcomeDocument> for ResultMessage {
    fn from(document: OutcomeDocument) -> Self {
        Self {
            task_id: document.task_id,
            store: document.store,
            sku: document.sku,
            label: document.label,
            version: document.version,
            outcome: document.outcome,
            reason: document.reason,
            gateway: document.gateway,
            attempts: u32::try_from(document.attempts).unwrap_or_default(),
            latency_ms: u64::try_from(document.latency_ms).unwrap_or_default(),
            at: document.at,
            batch: document.batch,
        }
    }
}

/// BSON has no unsigned numbers, and [`Version`] reads nothing else.
fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let version = u64::try_from(number).ok().and_then(|number| Version::try_from(number).ok());
    version.ok_or_else(|| de::Error::custom(format_args!("version {number}: out of range")))
}

fn maybe_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    version(deserializer).map(Some)
}

/// A BSON date, where the wire has RFC 3339.
mod date {
    use super::*;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        DateTime::from_millis(at.unix_millis()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let date = DateTime::deserialize(deserializer)?;
        Ok(Timestamp::from_unix_millis(date.timestamp_millis()))
    }
}

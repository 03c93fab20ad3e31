//! A task ends with labels: what is shown is recorded, then the outcome.

use super::{
    Mongo,
    command::Write,
    document::{ContentDocument, OutcomeDocument, encode, mark_out_of_date, outcome_id},
};
use crate::ledger::{LedgerError, Settled, Settlement};
use mongodb::bson::{RawDocumentBuf, rawdoc};
use protocol::{Fields, LabelMac, ResultMessage, Version, names::ledger as names};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

const SHOWING: &str = "recording what labels show";
const RECORDING: &str = "recording outcomes";

impl Mongo {
    /// What is shown is written before the outcome: after a crash between the two, the task is redelivered without
    /// an outcome, and whoever takes it does the rest.
    pub(in crate::ledger) async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, LedgerError> {
        let newest = self.record_shown(settlements).await?;
        let before = self.record_outcomes(settlements).await?;
        let settled = settlements.iter().map(|settlement| {
            let result = &settlement.result;
            let recorded = before.get(&outcome_id(&result.task_id, result.label)).unwrap_or(result).clone();
            let newest = newest.get(&result.label).copied();
            let went_back = settlement.shown.is_some() && result.version < newest;
            Settled { recorded, went_back }
        });
        Ok(settled.collect())
    }

    /// Answers the newest version recorded as shown, for the labels for which one was acknowledged.
    async fn record_shown(&self, settlements: &[Settlement]) -> Result<HashMap<LabelMac, Version>, LedgerError> {
        let shown = newest_shown(settlements);
        let updates = shown.values().map(|shown| shown.update()).collect::<Result<Vec<_>, _>>()?;
        let mut newest: HashMap<_, _> = shown.iter().map(|(label, shown)| (*label, shown.version)).collect();
        let written = self.write(SHOWING, Write::Update, names::LABELS, &updates).await?;
        if written.modified < updates.len() as u64 {
            let labels: Vec<LabelMac> = newest.keys().copied().collect();
            newest.extend(self.shown_versions(&labels).await?);
        }
        Ok(newest)
    }

    /// Answers the outcomes that were there before.
    async fn record_outcomes(&self, settlements: &[Settlement]) -> Result<HashMap<String, ResultMessage>, LedgerError> {
        let documents: Vec<_> = settlements.iter().map(OutcomeDocument::from).collect();
        let encoded = documents.iter().map(|document| encode(RECORDING, document)).collect::<Result<Vec<_>, _>>()?;
        let written = self.write(RECORDING, Write::Insert, names::OUTCOMES, &encoded).await?;
        let ids: HashSet<&str> = written.duplicates.iter().map(|&at| documents[at].id.as_str()).collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let before = self.outcomes_by_id(&ids).await?;
        if before.len() < ids.len() {
            let gone = std::io::Error::other("an outcome that was there is gone");
            return Err(LedgerError::unavailable(RECORDING, gone));
        }
        Ok(before)
    }
}

/// A version that a gateway acknowledged.
struct Acknowledged<'a> {
    version: Version,
    fields: &'a Fields,
    result: &'a ResultMessage,
}

fn newest_shown(settlements: &[Settlement]) -> HashMap<LabelMac, Acknowledged<'_>> {
    let mut newest: HashMap<LabelMac, Acknowledged<'_>> = HashMap::with_capacity(settlements.len());
    for Settlement { result, shown } in settlements {
        let (Some(fields), Some(version)) = (shown, result.version) else { continue };
        if newest.get(&result.label).is_none_or(|kept| kept.version < version) {
            newest.insert(result.label, Acknowledged { version, fields, result });
        }
    }
    newest
}

impl Acknowledged<'_> {
    fn update(&self) -> Result<RawDocumentBuf, LedgerError> {
        let Self { version, fields, result } = *self;
        let task_id = result.task_id.clone();
        let content = ContentDocument {
            version,
            fields: Cow::Borrowed(fields),
            at: result.at,
            task_id,
            gateway: result.gateway,
            batch: None,
        };
        let not_older = rawdoc! { "$gte": [version.get() as i64, { "$ifNull": ["$shown.version", -1_i64] }] };
        let set = rawdoc! { "$set": {
            "shown": { "$cond": [not_older, { "$literal": encode(SHOWING, &content)? }, "$shown"] },
        } };
        Ok(rawdoc! { "q": { "_id": result.label.to_string() }, "u": [set, mark_out_of_date()] })
    }
}

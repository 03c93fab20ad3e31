//! A task begins with labels: what is desired is recorded, and how they stand is read.

use super::{
    Mongo,
    command::Write,
    document::{ContentDocument, encode, mark_out_of_date, outcome_id},
};
use crate::ledger::{LabelRecord, LabelState, LedgerError, Opening, What};
use crate::service::now;
use mongodb::bson::{RawDocumentBuf, rawdoc};
use protocol::{Fields, LabelMac, ResultMessage, Timestamp, Version, names::ledger as names};
use std::{borrow::Cow, collections::HashMap};

const DOING: &str = "recording what labels should show";
/// Two upserts of a label that is new may meet; the loser finds the label the next time.
const UPSERT_ATTEMPTS: usize = 5;

impl Mongo {
    pub(in crate::ledger) async fn open(&self, openings: &[Opening]) -> Result<Vec<LabelState>, LedgerError> {
        let ids: Vec<String> = openings.iter().map(|opening| outcome_id(&opening.task_id, opening.label)).collect();
        let standing = async {
            self.write_openings(openings).await?;
            let labels: Vec<LabelMac> = openings.iter().map(|opening| opening.label).collect();
            self.desired_of(&labels).await
        };
        // An outcome recorded after it was looked for here is found when this one is settled.
        let (labels, recorded) = futures::try_join!(standing, self.outcomes_by_id(&ids))?;
        let states = openings.iter().zip(&ids).map(|(opening, id)| {
            let LabelRecord { store, sku: _, desired, shown } = labels.get(&opening.label).cloned().unwrap_or_default();
            LabelState { store, desired, shown, recorded: recorded.get(id).cloned() }
        });
        Ok(states.collect())
    }

    async fn write_openings(&self, openings: &[Opening]) -> Result<(), LedgerError> {
        let done = self.repairs_done(openings).await?;
        let mut updates = updates(openings, &done, now())?;
        for _ in 0..UPSERT_ATTEMPTS {
            let written = self.write(DOING, Write::Update, names::LABELS, &updates).await?;
            if written.duplicates.is_empty() {
                return Ok(());
            }
            updates = written.duplicates.into_iter().map(|at| updates[at].clone()).collect();
        }
        Err(LedgerError::unavailable(DOING, std::io::Error::other("labels are made and removed again and again")))
    }

    /// The outcomes of repairs that come again: what they made the label show is not to be forgotten.
    async fn repairs_done(&self, openings: &[Opening]) -> Result<HashMap<String, ResultMessage>, LedgerError> {
        let repairs = openings.iter().filter(|opening| matches!(opening.what, What::Forget));
        let ids: Vec<String> = repairs.map(|opening| outcome_id(&opening.task_id, opening.label)).collect();
        self.outcomes_by_id(&ids).await
    }
}

/// One update for each label that is to be forgotten, and one for the newest version of each label.
fn updates(
    openings: &[Opening],
    done: &HashMap<String, ResultMessage>,
    at: Timestamp,
) -> Result<Vec<RawDocumentBuf>, LedgerError> {
    let mut updates = Vec::with_capacity(openings.len());
    let mut newest: HashMap<LabelMac, (Version, &Opening, &Fields)> = HashMap::with_capacity(openings.len());
    for opening in openings {
        match &opening.what {
            What::Look => {}
            What::Forget if done.contains_key(&outcome_id(&opening.task_id, opening.label)) => {}
            What::Forget => updates.push(forget(opening.label)),
            What::Desire { version, fields } => {
                let candidate = (*version, opening, &**fields);
                let kept = newest.entry(opening.label).or_insert(candidate);
                if kept.0 < *version {
                    *kept = candidate;
                }
            }
        }
    }
    for (version, opening, fields) in newest.into_values() {
        updates.push(desire(opening, version, fields, at)?);
    }
    Ok(updates)
}

fn forget(label: LabelMac) -> RawDocumentBuf {
    rawdoc! { "q": { "_id": label.to_string() }, "u": [{ "$unset": "shown" }, mark_out_of_date()] }
}

fn desire(opening: &Opening, version: Version, fields: &Fields, at: Timestamp) -> Result<RawDocumentBuf, LedgerError> {
    let task_id = opening.task_id.clone();
    let batch = opening.batch.clone();
    let content = ContentDocument { version, fields: Cow::Borrowed(fields), at, task_id, gateway: None, batch };
    let newer = rawdoc! { "$gt": [version.get() as i64, { "$ifNull": ["$desired.version", -1_i64] }] };
    let set = rawdoc! { "$set": {
        "desired": { "$cond": [newer, { "$literal": encode(DOING, &content)? }, "$desired"] },
        "store": { "$ifNull": ["$store", { "$literal": opening.store.as_str() }] },
    } };
    Ok(rawdoc! { "q": { "_id": opening.label.to_string() }, "u": [set, mark_out_of_date()], "upsert": true })
}

//! What is done to a batch.

use super::{Batch, read};
use crate::{
    api::Api,
    control::decide,
    page::{
        actions::{Act, record},
        door::FormOf,
        known::MOST_LATE,
        visitor::Visitor,
    },
    problem::Problem,
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use backbone::{ledger::Enqueued, queue, service::now};
use protocol::{Action, BatchId, BatchState, LabelMac, MAX_LABELS_PER_TASK, Task, TaskId};
use serde::Deserialize;
use uuid::Uuid;

/// To so many labels failures are sent again at a time.
pub(super) const MOST_AGAIN: usize = MAX_LABELS_PER_TASK;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    what: What,
    /// To how many labels the failures are to be sent again, as was confirmed.
    count: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Pause,
    Resume,
    Cancel,
    SendAgain,
}

/// `POST /stores/{store}/batches/{batch}`
pub(crate) async fn change(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    visitor: Visitor,
    FormOf(Wanted { what, count }): FormOf<Wanted>,
) -> Result<Response, Problem> {
    let (store, batch) = read(&visitor, &path)?;
    let this = Batch { store, batch, confirm: None };
    let state = match what {
        What::SendAgain => return send_again(&api, &visitor, this, count.unwrap_or(0)).await,
        What::Pause => BatchState::Paused,
        What::Resume => BatchState::Running,
        What::Cancel => BatchState::Cancelled,
    };
    let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
    decide(&api, caller, this.key(), state).await?;
    Ok(Redirect::to(&this.url()).into_response())
}

/// Drives what it failed on to the newest version, as a batch of its own.
async fn send_again(api: &Api, visitor: &Visitor, this: Batch, count: usize) -> Result<Response, Problem> {
    let labels = failed(api, &this).await?;
    if labels.len() != count || labels.is_empty() {
        // Not what was confirmed: it is asked again, with the number of this moment.
        return Ok(Redirect::to(&format!("{}?confirm=send_again", this.url())).into_response());
    }
    let publisher = api.publisher.borrow().clone();
    let publisher = publisher.ok_or_else(|| Problem::unavailable("the broker is away, so nothing was sent"))?;
    let id = Uuid::now_v7();
    let again: BatchId = again(&this.batch, id)?;
    let act = Act { what: "send_again", target: this.batch.as_str(), detail: &format!("{again}: {count} labels") };
    record(api, visitor, Some(&this.store), act).await?;
    let enqueued = Enqueued {
        key: format!("p-{id}"),
        store: this.store.clone(),
        batch: again.clone(),
        digest: String::new(),
        at: now(),
        tasks: 1,
        labels: count as u64,
        confirmed: false,
    };
    api.ledger.begin_enqueueing(&enqueued).await?;
    let task = Task {
        task_id: TaskId::repair(id),
        store: this.store.clone(),
        action: Action::Repair,
        labels: Some(labels),
        batch: Some(again.clone()),
        ..Task::repair(TaskId::repair(id), LabelMac::from_octets([0; 6]))
    };
    queue::enqueue(&publisher, task.priority, &serde_json::to_vec(&task).unwrap_or_default()).await?;
    api.ledger.confirm_enqueued(&this.store, &enqueued.key).await?;
    let there = Batch { batch: again, ..this };
    Ok(Redirect::to(&there.url()).into_response())
}

/// The labels that it failed on at this moment, as many as go in one task.
async fn failed(api: &Api, Batch { store, batch, .. }: &Batch) -> Result<Vec<LabelMac>, Problem> {
    let late = api.ledger.late(store, Some(batch), MOST_LATE).await?;
    let failed = late.into_iter().filter(|late| late.has_ended).map(|late| late.label);
    Ok(failed.take(MOST_AGAIN).collect())
}

/// The name of what is sent again: by whom it was sent first, as far as there is room, and what tells it apart.
fn again(batch: &BatchId, id: Uuid) -> Result<BatchId, Problem> {
    const ROOM: usize = 110;
    let mut name = batch.as_str();
    while name.len() > ROOM {
        name = name.char_indices().next_back().map_or("", |(at, _)| &name[..at]);
    }
    let apart = &id.simple().to_string()[24..];
    format!("{name}-again-{apart}").parse().map_err(|error: protocol::TextError| Problem::bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_has_a_name_that_fits() {
        let id = Uuid::now_v7();
        assert!(again(&"promo".parse().unwrap(), id).unwrap().as_str().starts_with("promo-again-"));
        let long: BatchId = "ç".repeat(64).parse().unwrap();
        assert!(again(&long, id).unwrap().as_str().starts_with("çççç"));
    }
}

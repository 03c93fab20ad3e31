//! `PUT /v1/stores/{store}/batches/{batch}/state`: pauses, resumes or cancels a batch.

use crate::{
    api::Api,
    ask::{JsonOf, PathOfTwo, demand_store},
    problem::Problem,
    tokens::Caller,
};
use axum::{Json, extract::State, http::StatusCode};
use backbone::{
    ledger::{BatchControl, BatchKey},
    service::now,
};
use protocol::{BatchId, BatchState, Store, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to become of a batch.
#[derive(Deserialize, ToSchema)]
pub(crate) struct WantedState {
    /// `paused`: its tasks wait; `running`: they go on; `cancelled`: labels that are not done are rejected, for good.
    #[schema(value_type = String, pattern = "^(running|paused|cancelled)$")]
    state: BatchState,
}

/// Whether the tasks of a batch are carried out in a store.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct StateView {
    /// The store.
    #[schema(value_type = String)]
    pub(crate) store: Store,
    /// `running`, `paused` or `cancelled`.
    #[schema(value_type = String, pattern = "^(running|paused|cancelled)$")]
    pub(crate) state: BatchState,
    /// Who decided so; `null`: nobody ever did, so it runs.
    pub(crate) by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
}

impl StateView {
    pub(crate) fn new(store: Store, control: Option<BatchControl>) -> Self {
        match control {
            Some(BatchControl { state, by, at }) => Self { store, state, by: Some(by), at: Some(at) },
            None => Self { store, state: BatchState::Running, by: None, at: None },
        }
    }
}

/// Pause, resume or cancel a batch
///
/// What is at a gateway already ends as it ends. A pause takes effect within a second or so, a resumption and a
/// cancellation for tasks that wait within as long as they have been paused, at most about a minute.
#[utoipa::path(put, path = "/v1/stores/{store}/batches/{batch}/state", tag = "store",
    params(
        ("store" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$"),
        ("batch" = String, Path, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]{1,128}$"),
    ),
    request_body = WantedState,
    responses(
        (status = 200, body = StateView),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn set_state(
    State(api): State<Api>,
    PathOfTwo(store, batch): PathOfTwo<Store, BatchId>,
    caller: Caller,
    JsonOf(WantedState { state }): JsonOf<WantedState>,
) -> Result<Json<StateView>, Problem> {
    demand_store(&caller, &store)?;
    let counts = decide(&api, &caller, BatchKey { store: store.clone(), batch }, state).await?;
    Ok(Json(StateView::new(store, Some(counts))))
}

/// Records it, with who decided so.
pub(crate) async fn decide(
    api: &Api,
    caller: &Caller,
    key: BatchKey,
    state: BatchState,
) -> Result<BatchControl, Problem> {
    tracing::info!(caller.name = %caller.name, batch = %key.batch, %state, "a batch is to be");
    let control = BatchControl { state, by: caller.name.to_string(), at: now() };
    let counts = api.ledger.control_batch(&key, &control).await?;
    if counts.state == state {
        return Ok(counts);
    }
    let detail = format!("batch {} was cancelled by {}, which is final: send its prices again", key.batch, counts.by);
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

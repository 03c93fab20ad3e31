//! `POST /v1/stores/{store}/tasks`: tasks, confirmed by the broker before they are answered for.

use crate::{
    api::Api,
    ask::{Format, PathOf, QueryOf, Sent, demand_labels, demand_store},
    problem::Problem,
    request::{Request, hex},
    shapes::TasksShape,
    tokens::Caller,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use backbone::{
    ledger::Enqueued,
    queue::{self, Publisher, QueueError},
    service::now,
};
use futures::{StreamExt, TryStreamExt, stream};
use protocol::{BatchId, Sku, Store, Task, TaskId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// At most so many tasks of a request are published and not yet confirmed.
const IN_FLIGHT: usize = 256;
const MAX_KEY_BYTES: usize = 128;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The batch, where the body names none; made up where neither does.
    #[param(value_type = String, required = false, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]{1,128}$")]
    batch: Option<BatchId>,
}

/// What was enqueued.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// What to follow the tasks by.
    #[schema(value_type = String)]
    batch: BatchId,
    #[schema(value_type = String)]
    store: Store,
    /// How many labels the tasks are for, by the bindings of this moment.
    labels: u64,
    /// One per task, in their order.
    #[schema(value_type = Vec<String>)]
    task_ids: Vec<TaskId>,
    /// What a repeat of this request is known by.
    idempotency_key: Option<String>,
    /// All of it was enqueued before: nothing was enqueued now.
    repeated: bool,
}

/// What makes a repeat of a request known.
struct Key {
    /// In the ledger.
    recorded: String,
    /// As the caller can send it; absent where the tasks' own IDs are the key.
    sent: Option<String>,
}

/// Enqueue tasks
#[utoipa::path(post, path = "/v1/stores/{store}/tasks", tag = "store",
    params(
        ("store" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$"),
        Which,
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$",
            description = "A repeat with the same key and content adds nothing"),
    ),
    request_body(content((TasksShape = "application/json"), (String = "text/csv"))),
    responses(
        (status = 202, body = Accepted, description = "The broker has confirmed every task"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "Why not, and what to do"),
    ))]
pub(crate) async fn enqueue(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    QueryOf(which): QueryOf<Which>,
    caller: Caller,
    headers: HeaderMap,
    mut sent: Sent,
) -> Result<Response, Problem> {
    demand_store(&caller, &store)?;
    let request = match sent.format {
        Format::Json => Request::from_json(&store, which.batch, &sent.body)?,
        Format::Csv => Request::from_csv(&store, which.batch, &sent.body)?,
    };
    sent.forget_body();
    let labels: Vec<_> = request.tasks().filter_map(|task| task.labels.as_deref()).flatten().copied().collect();
    demand_labels(&api, &caller, &labels).await?;
    let key = key(&headers, &request)?;
    // Before anything is recorded: a request that can't be carried out now shall leave nothing behind.
    let publisher = api.publisher.borrow().clone();
    let publisher = publisher.ok_or_else(|| {
        Problem::unavailable("the broker is away, so nothing was enqueued; repeat it after the time in Retry-After")
    })?;
    let record = record(&api, &store, &key, &request).await?;
    let tasks = request.into_tasks(&key.recorded, &record.batch, record.at);
    if !record.confirmed {
        let halfway = |problem: Problem| key.sent.iter().fold(problem, |problem, key| problem.with_key(key));
        publish(&publisher, &tasks).await.map_err(|error| halfway(not_all(&api, &error)))?;
        api.ledger.confirm_enqueued(&store, &key.recorded).await.map_err(|error| halfway(error.into()))?;
        api.metrics.tasks.inc_by(tasks.len() as u64);
    }
    Ok(accepted(&record, key, tasks))
}

fn accepted(record: &Enqueued, key: Key, tasks: Vec<Task>) -> Response {
    let location = format!("/v1/batches/{}", escaped(record.batch.as_str()));
    let accepted = Accepted {
        batch: record.batch.clone(),
        store: record.store.clone(),
        labels: record.labels,
        task_ids: tasks.into_iter().map(|task| task.task_id).collect(),
        idempotency_key: key.sent,
        repeated: record.confirmed,
    };
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(accepted)).into_response()
}

/// As it is written in a path.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    let escape = |octet: u8| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") };
    text.bytes().map(escape).collect()
}

fn key(headers: &HeaderMap, request: &Request) -> Result<Key, Problem> {
    if let Some(value) = headers.get("idempotency-key") {
        let text = value.to_str().ok().filter(|text| (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains(' '));
        let wrong =
            || Problem::bad(format!("Idempotency-Key: expected 1 to {MAX_KEY_BYTES} printable ASCII characters"));
        let text = text.ok_or_else(wrong)?.to_owned();
        return Ok(Key { recorded: format!("k-{text}"), sent: Some(text) });
    }
    if let Some(own) = request.own_key() {
        return Ok(Key { recorded: format!("t-{own}"), sent: None });
    }
    let made_up = Uuid::now_v7().to_string();
    Ok(Key { recorded: format!("k-{made_up}"), sent: Some(made_up) })
}

/// Records the request, or finds what its first try has recorded.
async fn record(api: &Api, store: &Store, key: &Key, request: &Request) -> Result<Enqueued, Problem> {
    let batch = match &request.batch {
        Some(batch) => batch.clone(),
        None => made_up(store, key)?,
    };
    let others = api.ledger.enqueued_in(&batch).await?;
    if others.iter().any(|other| other.store != *store) {
        let detail = format!("batch {batch} is another store's: choose another name");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let wanted = Enqueued {
        key: key.recorded.clone(),
        store: store.clone(),
        batch,
        digest: request.digest(),
        at: now(),
        tasks: request.len() as u64,
        labels: expected_labels(api, store, request).await?,
        confirmed: false,
    };
    let record = api.ledger.begin_enqueueing(&wanted).await?;
    if record.digest != wanted.digest {
        return Err(Problem::unprocessable(
            "this key, or these task IDs, came with other content before: choose new ones, or repeat the old content",
        ));
    }
    Ok(record)
}

fn made_up(store: &Store, key: &Key) -> Result<BatchId, Problem> {
    let name = format!("{store}-{}", &hex(&key.recorded)[..16]);
    name.parse().map_err(|error: protocol::TextError| Problem::bad(error.to_string()))
}

async fn expected_labels(api: &Api, store: &Store, request: &Request) -> Result<u64, Problem> {
    let bound = || request.tasks().filter(|task| task.labels.is_none()).filter_map(|task| task.sku.as_ref());
    let skus: Vec<Sku> = bound().cloned().collect();
    let counts = if skus.is_empty() { Default::default() } else { api.ledger.count_bound(store, &skus).await? };
    let named: usize = request.tasks().filter_map(|task| task.labels.as_ref()).map(Vec::len).sum();
    Ok(named as u64 + bound().filter_map(|sku| counts.get(sku)).sum::<u64>())
}

async fn publish(publisher: &Publisher, tasks: &[Task]) -> Result<(), QueueError> {
    // Each is written when it is its turn: there may be many.
    let confirms = stream::iter(0..tasks.len()).map(|at| put(publisher.clone(), &tasks[at]));
    confirms.buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn put(publisher: Publisher, task: &Task) -> Result<(), QueueError> {
    // A task has text keys only, so it can always be written.
    let body = serde_json::to_vec(task).unwrap_or_default();
    queue::enqueue(&publisher, task.priority, &body).await
}

fn not_all(api: &Api, error: &QueueError) -> Problem {
    if !matches!(error, QueueError::Refused(_)) {
        api.broken.notify_waiters();
    }
    tracing::warn!(%error, "a request is not enqueued, or not all of it");
    Problem::unavailable(
        "the broker has not confirmed all tasks: some may be enqueued; repeat the request, with this Idempotency-Key or \
         the same task IDs, and each is carried out once",
    )
}

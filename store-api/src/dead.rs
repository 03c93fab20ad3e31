//! `/v1/dead-letters`: the tasks that could not be used, and sending them again.

use crate::{
    api::Api,
    ask::{JsonOf, QueryOf},
    problem::Problem,
    tokens::Caller,
};
use axum::{Json, extract::State};
use backbone::{
    ledger::Ledger,
    queue::{self, DeadLetter, Replayed},
};
use protocol::{BatchId, Sku, Store, Task, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::{IntoParams, ToSchema};

/// So much of a task is shown.
const SHOWN_BYTES: usize = 4096;
const NAME: &str = "store-api";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Most {
    /// List at most so many, default 100.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 10_000)]
    limit: Option<u16>,
    /// Of those, list only the ones of this batch.
    #[param(value_type = String, required = false, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]{1,128}$")]
    batch: Option<BatchId>,
}

/// The dead letters.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    /// How many there are, of all stores.
    total: u32,
    /// The oldest of those that the token is for.
    letters: Vec<Letter>,
}

/// A task that could not be used.
#[derive(Serialize, ToSchema)]
pub(crate) struct Letter {
    #[schema(value_type = Option<String>)]
    task_id: Option<TaskId>,
    #[schema(value_type = Option<String>)]
    store: Option<Store>,
    /// The task's batch, where it has one.
    #[schema(value_type = Option<String>)]
    batch: Option<BatchId>,
    /// How many labels the task has, by the bindings of this moment where it names none; `null`: not known.
    labels: Option<u64>,
    /// Why it is one.
    reason: String,
    /// How many bytes it has.
    bytes: usize,
    /// It, or how it begins.
    body: String,
}

/// Which to send again: all, or those of these tasks.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Which {
    #[serde(default)]
    all: Option<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 10_000)]
    task_ids: Option<BTreeSet<TaskId>>,
}

/// What was sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replay {
    /// How many letters were.
    replayed: usize,
    /// Each task that was, once.
    #[schema(value_type = Vec<String>)]
    task_ids: BTreeSet<TaskId>,
    /// Tasks that were named but have no dead letter.
    #[schema(value_type = Vec<String>)]
    not_found: Vec<TaskId>,
    /// How many dead letters remain, of all stores.
    left: u32,
}

/// The tasks that could not be used, and why
#[utoipa::path(get, path = "/v1/dead-letters", tag = "store",
    params(Most),
    responses(
        (status = 200, body = DeadLetters),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn dead_letters(
    State(api): State<Api>,
    QueryOf(most): QueryOf<Most>,
    caller: Caller,
) -> Result<Json<DeadLetters>, Problem> {
    let Most { limit, batch } = most;
    let most = crate::shapes::limit(limit.map(u32::from), 10_000)?;
    let _alone = api.dead_letters.lock().await;
    let mut seen = Vec::new();
    let each = |letter: &DeadLetter| {
        let task = letter.task();
        let of_batch =
            batch.as_ref().is_none_or(|batch| task.as_ref().and_then(|task| task.batch.as_ref()) == Some(batch));
        if of_batch && may_see(&caller, letter) {
            seen.push((Letter::new(letter, task.as_ref()), task.and_then(product)));
        }
    };
    let total = queue::look(&api.amqp_url, NAME, u16::try_from(most).unwrap_or(u16::MAX), each).await?;
    Ok(Json(DeadLetters { total, letters: with_labels(&api.ledger, seen).await }))
}

/// The product whose labels a task is for, where it names none.
fn product(task: Task) -> Option<(Store, Sku)> {
    if task.labels.is_some() { None } else { task.sku.map(|sku| (task.store, sku)) }
}

/// Counts the labels of products. While the ledger is away they are not known, and that is all.
async fn with_labels(ledger: &Ledger, seen: Vec<(Letter, Option<(Store, Sku)>)>) -> Vec<Letter> {
    let mut products: BTreeMap<Store, BTreeSet<Sku>> = BTreeMap::new();
    for (store, sku) in seen.iter().filter_map(|(_, product)| product.clone()) {
        products.entry(store).or_default().insert(sku);
    }
    let mut counts = HashMap::new();
    for (store, skus) in products {
        let skus: Vec<Sku> = skus.into_iter().collect();
        if let Ok(found) = ledger.count_bound(&store, &skus).await {
            counts.insert(store, found);
        }
    }
    let count = |(store, sku): (Store, Sku)| Some(counts.get(&store)?.get(&sku).copied().unwrap_or(0));
    let fill =
        |(letter, product): (Letter, Option<_>)| Letter { labels: letter.labels.or(product.and_then(count)), ..letter };
    seen.into_iter().map(fill).collect()
}

fn may_see(caller: &Caller, letter: &DeadLetter) -> bool {
    caller.may_all() || letter.store().is_some_and(|store| caller.may(&store))
}

/// Send dead letters again
#[utoipa::path(post, path = "/v1/dead-letters/replay", tag = "store",
    request_body = Which,
    responses(
        (status = 200, body = Replay),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn replay(
    State(api): State<Api>,
    caller: Caller,
    JsonOf(which): JsonOf<Which>,
) -> Result<Json<Replay>, Problem> {
    let all = which.all.unwrap_or(false);
    let named = which.task_ids.unwrap_or_default();
    if all != named.is_empty() {
        return Err(Problem::unprocessable("expected either \"all\": true or task_ids that are not empty"));
    }
    let wanted = |letter: &DeadLetter| {
        may_see(&caller, letter) && (all || letter.task_id().is_some_and(|id| named.contains(&id)))
    };
    let _alone = api.dead_letters.lock().await;
    let mut replayed = Replayed::default();
    queue::replay(&api.amqp_url, NAME, wanted, &mut replayed).await?;
    let task_ids: BTreeSet<TaskId> = replayed.tasks.iter().flatten().cloned().collect();
    let not_found = named.difference(&task_ids).cloned().collect();
    Ok(Json(Replay { replayed: replayed.tasks.len(), task_ids, not_found, left: replayed.left }))
}

impl Letter {
    fn new(letter: &DeadLetter, task: Option<&Task>) -> Self {
        let body = letter.body();
        Self {
            task_id: letter.task_id(),
            store: letter.store(),
            batch: task.and_then(|task| task.batch.clone()),
            labels: task.and_then(|task| task.labels.as_ref()).map(|labels| labels.len() as u64),
            reason: letter.reason().to_owned(),
            bytes: body.len(),
            body: String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned(),
        }
    }
}

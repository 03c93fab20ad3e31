//! The back-end over HTTP: what the commands need of the API.

mod client;
mod url;

pub(crate) use client::ApiError;
pub(crate) use url::{ApiUrl, Token};

use crate::{
    balance::Dead,
    batch::Held,
    dead::{Letters, Listed, Sent},
    failure::Failure,
    gateways::Listed as Gateway,
    label::{Content, Facts, Route},
    letters::{Backlog, MOST},
    publish::Publishing,
};
use backbone::{
    ledger::{BindReport, Binding},
    service::Authorities,
};
use client::Client;
use indicatif::ProgressBar;
use protocol::{BatchId, BatchState, LabelMac, Outcome, ResultMessage, Sku, Store, TaskId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// So many tasks go with one request: few enough to see them go, and to be confirmed long before the API gives up.
const TASKS: usize = 1_000;
/// So many products are counted with one request.
const PRODUCTS: usize = 10_000;
/// The longest page of a history.
const PAGE: u32 = 1_000;

/// Asks the API.
pub(crate) struct Api(Client);

#[derive(Deserialize)]
struct Counts {
    counts: HashMap<Sku, u64>,
}

#[derive(Deserialize)]
struct Bound {
    new: u64,
    changed: u64,
    unchanged: u64,
}

#[derive(Default, Deserialize)]
struct Batch {
    outcomes: BTreeMap<Outcome, u64>,
    #[serde(default)]
    stores: Vec<Held>,
}

#[derive(Deserialize)]
struct DeadLetters {
    total: u32,
    letters: Vec<Letter>,
}

#[derive(Deserialize)]
struct Letter {
    task_id: Option<TaskId>,
    labels: Option<u64>,
    reason: String,
    bytes: usize,
    body: String,
}

#[derive(Deserialize)]
struct Replay {
    replayed: usize,
    task_ids: BTreeSet<TaskId>,
    left: u32,
}

#[derive(Deserialize)]
struct Gateways {
    gateways: Vec<Gateway>,
}

#[derive(Deserialize)]
struct LabelView {
    store: Option<Store>,
    sku: Option<Sku>,
    desired: Option<Content>,
    shown: Option<Content>,
    routes: Option<Vec<Route>>,
    battery_mv: Option<u16>,
}

#[derive(Deserialize)]
struct History {
    outcomes: Vec<ResultMessage>,
    next: Option<String>,
}

impl Api {
    pub(crate) fn new(
        url: &ApiUrl,
        token: Option<&Token>,
        token_file: Option<&Path>,
        authorities: Option<&Authorities>,
        wait: Duration,
    ) -> Result<Self, Failure> {
        Client::new(url.clone(), token, token_file, authorities, wait).map(Self)
    }

    pub(crate) fn name(&self) -> String {
        format!("the API at {}", self.0.url())
    }

    pub(crate) async fn bind(&self, bindings: &[Binding], bar: &ProgressBar) -> Result<BindReport, ApiError> {
        let mut stores: BTreeMap<&Store, Vec<Value>> = BTreeMap::new();
        for Binding { label, sku, store } in bindings {
            stores.entry(store).or_default().push(json!({"label": label, "sku": sku}));
        }
        let mut sum = BindReport::default();
        for (store, labels) in stores {
            let path = ["v1", "stores", store.as_str(), "bindings"];
            let put = || self.0.request(Method::PUT, &path).json(&labels);
            let Bound { new, changed, unchanged } = self.0.insist(put, bar, &CancellationToken::new()).await?;
            sum.new += new;
            sum.changed += changed;
            sum.unchanged += unchanged;
        }
        Ok(sum)
    }

    /// How many labels each of these products has, where it has any.
    pub(crate) async fn count_labels(&self, store: &Store, skus: &[Sku]) -> Result<HashMap<Sku, u64>, ApiError> {
        let path = ["v1", "stores", store.as_str(), "bindings", "counts"];
        let mut counts = HashMap::new();
        for skus in skus.chunks(PRODUCTS) {
            let count = || self.0.request(Method::POST, &path).json(&json!({"skus": skus}));
            let part: Counts = self.0.insist(count, &ProgressBar::hidden(), &CancellationToken::new()).await?;
            counts.extend(part.counts);
        }
        Ok(counts)
    }

    /// Sends tasks until all are confirmed or it is stopped. Each has an ID of its own, so a repeat does no harm.
    pub(crate) async fn send(&self, publishing: &Publishing<'_>, store: &Store) -> Result<(), ApiError> {
        let path = ["v1", "stores", store.as_str(), "tasks"];
        for (at, tasks) in publishing.tasks().chunks(TASKS).enumerate() {
            if publishing.stop().is_cancelled() {
                break;
            }
            let post = || self.0.request(Method::POST, &path).json(tasks);
            let sent: Result<Value, _> = self.0.insist(post, publishing.bar(), publishing.stop()).await;
            match sent {
                Ok(_) => publishing.confirm(at * TASKS, tasks.len()),
                Err(ApiError::Away { .. }) if publishing.stop().is_cancelled() => break,
                Err(error) => return Err(error),
            }
        }
        publishing.bar().finish_and_clear();
        Ok(())
    }

    /// How many labels of a batch have ended, by outcome.
    pub(crate) async fn outcomes(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, ApiError> {
        let found = self.0.ask(self.0.get(&["v1", "batches", batch.as_str()], &[])).await;
        let Batch { mut outcomes, .. } = or_unknown(found)?.unwrap_or_default();
        outcomes.retain(|_, labels| *labels > 0);
        Ok(outcomes)
    }

    /// The stores that a batch was sent to over HTTP.
    pub(crate) async fn stores_of(&self, batch: &BatchId) -> Result<Vec<Store>, ApiError> {
        let found = self.0.ask(self.0.get(&["v1", "batches", batch.as_str()], &[])).await;
        let Batch { stores, .. } = or_unknown(found)?.unwrap_or_default();
        Ok(stores.into_iter().map(|held| held.store).collect())
    }

    /// Pauses, resumes or cancels a batch in a store. It may be repeated, so an API that is away is waited for.
    pub(crate) async fn hold(&self, store: &Store, batch: &BatchId, state: BatchState) -> Result<Held, ApiError> {
        let path = ["v1", "stores", store.as_str(), "batches", batch.as_str(), "state"];
        let put = || self.0.request(Method::PUT, &path).json(&json!({"state": state}));
        self.0.insist(put, &ProgressBar::hidden(), &CancellationToken::new()).await
    }

    /// The dead letters of a batch.
    pub(crate) async fn dead_of(&self, batch: &BatchId) -> Result<Dead, ApiError> {
        let query = [("batch", batch.to_string()), ("limit", MOST.to_string())];
        let found: DeadLetters = self.0.ask(self.0.get(&["v1", "dead-letters"], &query)).await?;
        let labels = found.letters.iter().filter_map(|letter| letter.labels).sum();
        Ok(Dead { tasks: found.letters.len() as u64, labels })
    }

    /// How many tasks wait for a worker, and how many are dead letters.
    pub(crate) async fn backlog(&self) -> Result<Backlog, ApiError> {
        self.0.ask(self.0.get(&["v1", "backlog"], &[])).await
    }

    pub(crate) async fn dead_letters(&self, limit: u16) -> Result<Letters, ApiError> {
        let request = self.0.get(&["v1", "dead-letters"], &[("limit", limit.to_string())]);
        let DeadLetters { total, letters } = self.0.ask(request).await?;
        let listed = |letter: Letter| Listed::new(letter.task_id, letter.reason, letter.bytes, &letter.body);
        Ok(Letters { total, listed: letters.into_iter().map(listed).collect() })
    }

    /// Sends dead letters again: these tasks', or all. Asked once, since nobody knows how far a try that was lost came.
    pub(crate) async fn replay(&self, tasks: Option<&[TaskId]>) -> Result<Sent, ApiError> {
        let which = tasks.map_or_else(|| json!({"all": true}), |tasks| json!({"task_ids": tasks}));
        let request = self.0.request(Method::POST, &["v1", "dead-letters", "replay"]).json(&which);
        let Replay { replayed, task_ids, left } = self.0.ask(request).await?;
        Ok(Sent { letters: replayed, tasks: task_ids, left })
    }

    pub(crate) async fn gateways(&self) -> Result<Vec<Gateway>, ApiError> {
        let found: Gateways = self.0.ask(self.0.get(&["v1", "gateways"], &[])).await?;
        Ok(found.gateways)
    }

    /// What is known of a label, with so many of its latest outcomes.
    pub(crate) async fn label(&self, label: LabelMac, history: u32) -> Result<Facts, ApiError> {
        let mac = label.to_string();
        let view = or_unknown(self.0.ask(self.0.get(&["v1", "labels", &mac], &[])).await)?;
        let Some(LabelView { store, sku, desired, shown, routes, battery_mv }) = view else {
            return Ok(Facts { routes: Some(Vec::new()), ..Facts::default() });
        };
        let away = || format!("{}: its registry does not answer", self.name());
        let routes_error = routes.is_none().then(away);
        let history = self.history(&mac, history).await?;
        Ok(Facts { known: true, store, sku, desired, shown, routes, routes_error, battery_mv, history })
    }

    async fn history(&self, mac: &str, most: u32) -> Result<Vec<ResultMessage>, ApiError> {
        let (mut history, mut before) = (Vec::new(), None::<String>);
        while let Some(limit) = most.checked_sub(history.len() as u32).filter(|left| *left > 0) {
            let mut query = vec![("limit", limit.min(PAGE).to_string())];
            query.extend(before.take().map(|before| ("before", before)));
            let request = self.0.get(&["v1", "labels", mac, "history"], &query);
            // Of a label that is only heard there is none.
            let Some(page): Option<History> = or_unknown(self.0.ask(request).await)? else { break };
            history.extend(page.outcomes);
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        Ok(history)
    }
}

/// `None` where the API knows no such thing.
fn or_unknown<T>(found: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match found {
        Err(ApiError::Unknown(_)) => Ok(None),
        found => found.map(Some),
    }
}

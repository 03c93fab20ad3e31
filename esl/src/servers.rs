//! The back-end that asks the servers themselves: each is connected when it is needed.

use crate::{
    back_end::Trouble,
    balance::Dead,
    batch::Held,
    dead::{Letters, Listed, Sent},
    gateways::Listed as Gateway,
    label::{Content, Facts, Route},
    letters::{self, Backlog, MOST},
    text::chain,
};
use anyhow::{Context, Result, anyhow};
use backbone::{
    ledger::{BatchControl, BatchKey, BindReport, Binding, LabelRecord, Ledger, LedgerUrl},
    queue::{AmqpUrl, DeadLetter},
    registry::{GatewayState, RedisUrl, Registry, RouteEntry, WindowPolicy},
    service::now,
};
use protocol::{BatchId, BatchState, LabelMac, Outcome, Sku, Store, Task, TaskId};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};
use tokio::sync::OnceCell;

/// Asks RabbitMQ, MongoDB and Redis.
pub(crate) struct Servers {
    amqp: AmqpUrl,
    mongodb: LedgerUrl,
    redis: RedisUrl,
    ledger: OnceCell<Ledger>,
    prepared: OnceCell<()>,
}

impl Servers {
    pub(crate) fn new(amqp: AmqpUrl, mongodb: LedgerUrl, redis: RedisUrl) -> Self {
        Self { amqp, mongodb, redis, ledger: OnceCell::new(), prepared: OnceCell::new() }
    }

    pub(crate) fn amqp_url(&self) -> &AmqpUrl {
        &self.amqp
    }

    async fn ledger(&self) -> Result<&Ledger> {
        self.ledger.get_or_try_init(|| Ledger::connect(&self.mongodb)).await.with_context(|| self.at_mongodb())
    }

    /// What a failure of the ledger begins with.
    fn at_mongodb(&self) -> String {
        format!("MongoDB at {}", self.mongodb)
    }

    fn at_redis(&self) -> String {
        format!("Redis at {}", self.redis)
    }

    pub(crate) async fn bind(&self, bindings: &[Binding]) -> Result<BindReport> {
        let ledger = self.ledger().await?;
        self.prepared.get_or_try_init(|| ledger.prepare()).await.with_context(|| self.at_mongodb())?;
        ledger.bind(bindings).await.with_context(|| self.at_mongodb())
    }

    pub(crate) async fn count_labels(&self, store: &Store, skus: &[Sku]) -> Result<HashMap<Sku, u64>> {
        self.ledger().await?.count_bound(store, skus).await.with_context(|| self.at_mongodb())
    }

    pub(crate) async fn outcomes(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, Trouble> {
        self.ledger().await?.balance(batch).await.map_err(|error| {
            let passing = error.is_passing();
            let error = anyhow!(error).context(self.at_mongodb());
            if passing { Trouble::passing(&error) } else { error.into() }
        })
    }

    pub(crate) async fn stores_of(&self, batch: &BatchId) -> Result<Vec<Store>> {
        let enqueued = self.ledger().await?.enqueued_in(batch).await.with_context(|| self.at_mongodb())?;
        let stores: BTreeSet<Store> = enqueued.into_iter().map(|enqueued| enqueued.store).collect();
        Ok(stores.into_iter().collect())
    }

    pub(crate) async fn hold(&self, store: &Store, batch: &BatchId, state: BatchState) -> Result<Held> {
        let key = BatchKey { store: store.clone(), batch: batch.clone() };
        let control = BatchControl { state, by: "esl".to_owned(), at: now() };
        let counts = self.ledger().await?.control_batch(&key, &control).await.with_context(|| self.at_mongodb())?;
        let BatchControl { state, by, at } = counts;
        Ok(Held { store: key.store, state, by: Some(by), at: Some(at) })
    }

    pub(crate) async fn dead_of(&self, batch: &BatchId) -> Result<Dead> {
        let mut tasks = Vec::new();
        letters::look(&self.amqp, MOST, |letter| {
            tasks.extend(letter.task().filter(|task| task.batch.as_ref() == Some(batch)));
        })
        .await?;
        let mut dead = Dead { tasks: tasks.len() as u64, labels: 0 };
        for Task { labels, sku, store, .. } in &tasks {
            dead.labels += match (labels, sku) {
                (Some(labels), _) => labels.len() as u64,
                (None, Some(sku)) => self.ledger().await?.labels_of(store, sku).await?.len() as u64,
                (None, None) => 0,
            };
        }
        Ok(dead)
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog> {
        letters::backlog(&self.amqp).await
    }

    pub(crate) async fn dead_letters(&self, limit: u16) -> Result<Letters> {
        let mut listed = Vec::new();
        let each = |letter: &DeadLetter| {
            let body = letter.body();
            let text = String::from_utf8_lossy(body);
            listed.push(Listed::new(letter.task_id(), letter.reason().to_owned(), body.len(), &text));
        };
        let total = letters::look(&self.amqp, limit, each).await?;
        Ok(Letters { total, listed })
    }

    pub(crate) async fn replay(&self, tasks: Option<&[TaskId]>) -> Result<Sent> {
        let wanted =
            |letter: &DeadLetter| tasks.is_none_or(|tasks| letter.task_id().is_some_and(|id| tasks.contains(&id)));
        let replayed = letters::replay(&self.amqp, wanted).await?;
        let tasks: BTreeSet<TaskId> = replayed.tasks.iter().flatten().cloned().collect();
        Ok(Sent { letters: replayed.tasks.len(), tasks, left: replayed.left })
    }

    pub(crate) async fn gateways(&self, policy: &WindowPolicy) -> Result<Vec<Gateway>> {
        let registry = Registry::connect(&self.redis).with_context(|| self.at_redis())?;
        let found = registry.gateways().await.with_context(|| self.at_redis())?;
        let gateways: BTreeMap<_, _> = found.into_iter().collect();
        let macs: Vec<_> = gateways.keys().copied().collect();
        let windows = registry.windows(&macs, policy).await.with_context(|| self.at_redis())?;
        let listed = gateways.into_iter().zip(windows).map(|((gateway, state), window)| {
            let GatewayState { online, broker, at } = state;
            Gateway { gateway, online, broker: broker.to_string(), at, window: window.map(Into::into) }
        });
        Ok(listed.collect())
    }

    pub(crate) async fn label(&self, label: LabelMac, history: u32) -> Result<Facts> {
        let ledger = self.ledger().await?;
        let record = ledger.label(label).await.with_context(|| self.at_mongodb())?;
        let history = ledger.history(label, history).await.with_context(|| self.at_mongodb())?;
        // The ledger alone says what a label shows. Redis is a cache, so its loss costs no more than the routes.
        let heard = self.routes(label).await;
        let known = record.is_some() || heard.as_ref().is_ok_and(|(routes, _)| !routes.is_empty());
        let LabelRecord { store, sku, desired, shown } = record.unwrap_or_default();
        let routes_error = heard.as_ref().err().map(chain);
        let (routes, battery_mv) = heard.map_or((None, None), |(routes, battery_mv)| (Some(routes), battery_mv));
        let (desired, shown) = (desired.map(Content::from), shown.map(Content::from));
        Ok(Facts { known, store, sku, desired, shown, routes, routes_error, battery_mv, history })
    }

    /// Who hears a label, the strongest first, and its battery.
    async fn routes(&self, label: LabelMac) -> Result<(Vec<Route>, Option<u16>)> {
        let registry = Registry::connect(&self.redis).with_context(|| self.at_redis())?;
        let mut entries = registry.routes(label).await.with_context(|| self.at_redis())?;
        entries.sort_by_key(|entry| Reverse(entry.rssi));
        let gateways = registry.gateways().await.with_context(|| self.at_redis())?;
        let battery_mv = entries.iter().find_map(|entry| entry.battery_mv);
        let route = |RouteEntry { gateway, rssi, at, .. }| {
            let state: Option<&GatewayState> = gateways.get(&gateway);
            let broker = state.map(|state| state.broker.to_string());
            Route { gateway, rssi_dbm: rssi.dbm(), at, online: state.is_some_and(|state| state.online), broker }
        };
        Ok((entries.into_iter().map(route).collect(), battery_mv))
    }
}

//! A store backend that speaks HTTP.

use anyhow::{Context, Result, bail};
use protocol::{Fields, LabelMac, Version};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The most that a request may hold.
const TASKS_PER_REQUEST: usize = 10_000;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The HTTP API of a running backbone.
pub(crate) struct StoreApi {
    client: reqwest::Client,
    url: String,
}

/// A batch whose labels have all ended.
pub(crate) struct Ended {
    /// How many show what they should.
    pub(crate) shown: u64,
    /// How many ended how.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// From its first request to its last label's outcome, by the backbone's clock.
    pub(crate) seconds: f64,
}

#[derive(Deserialize)]
struct View {
    complete: bool,
    done: u64,
    outcomes: BTreeMap<String, u64>,
    labels_per_second: Option<f64>,
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let status = error.chain().find_map(|cause| cause.downcast_ref::<reqwest::Error>()?.status());
    status == Some(reqwest::StatusCode::NOT_FOUND)
}

impl StoreApi {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let client = testbed::http_builder().timeout(ANSWER_LIMIT).build().context("building the HTTP client")?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Waits until a gateway hears a label.
    pub(crate) async fn wait_routed(&self, label: LabelMac, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            // Of a label that nobody has heard, nothing is known.
            match self.get::<Value>(&format!("/v1/labels/{label}")).await {
                Ok(view) if view["routes"].as_array().is_some_and(|routes| !routes.is_empty()) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("no gateway hears {label} after {limit:?}")
    }

    /// Enqueues a task for each of these; their batch, once all are confirmed.
    pub(crate) async fn enqueue<const N: usize>(
        &self,
        updates: impl Iterator<Item = ([LabelMac; N], (Option<Version>, Fields))>,
    ) -> Result<String> {
        let batch = format!("bench-{}", Uuid::now_v7());
        let task = |(labels, (version, fields)): ([LabelMac; N], _)| json!({"action": "price_update", "labels": labels.to_vec(), "version": version, "fields": fields, "batch": batch});
        let tasks: Vec<Value> = updates.map(task).collect();
        for some in tasks.chunks(TASKS_PER_REQUEST) {
            let url = format!("{}/v1/stores/bench/tasks", self.url);
            let answer = self.client.post(&url).json(some).send().await.context("enqueueing")?;
            let status = answer.status();
            if !status.is_success() {
                bail!("enqueueing was answered {status}: {}", answer.text().await.unwrap_or_default());
            }
        }
        Ok(batch)
    }

    /// Waits until all labels of a batch have ended.
    pub(crate) async fn wait_complete(&self, batch: &str, limit: Duration) -> Result<Ended> {
        let end = Instant::now() + limit;
        loop {
            let view: View = self.get(&format!("/v1/batches/{batch}")).await?;
            if let (true, Some(rate)) = (view.complete, view.labels_per_second) {
                let shown = view.outcomes.get("shown").copied().unwrap_or_default();
                return Ok(Ended { shown, seconds: view.done as f64 / rate, outcomes: view.outcomes });
            }
            if Instant::now() > end {
                bail!("after {limit:?} {} labels of the batch have ended", view.done);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.and_then(|it| it.error_for_status());
        let answer = answer.with_context(|| format!("asking {path}"))?;
        answer.json().await.with_context(|| format!("reading the answer of {path}"))
    }
}

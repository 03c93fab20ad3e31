//! `GET /v1/batches/{id}`: how far a batch is, once or live.

use crate::{api::Api, ask::PathOf, control::StateView, problem::Problem, tokens::Caller};
use axum::{
    Json,
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use backbone::{
    ledger::{BatchKey, Enqueued, Progress},
    service::now,
};
use futures::{Stream, stream};
use protocol::{BatchId, BatchState, Outcome, Store, Timestamp};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use utoipa::ToSchema;

/// A batch that is followed is looked at so often.
const LOOK: Duration = Duration::from_millis(500);

/// How far a batch is.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct BatchView {
    #[schema(value_type = String)]
    pub(crate) batch: BatchId,
    /// How many tasks it has; `null` where it was enqueued over AMQP, or is being enqueued.
    pub(crate) tasks: Option<u64>,
    /// How many labels its tasks had when they were enqueued; `null` as above.
    pub(crate) labels: Option<u64>,
    /// How many labels have ended.
    pub(crate) done: u64,
    /// How many have not, where the number of labels is known.
    pub(crate) waiting: Option<u64>,
    /// How many labels ended how: every outcome is there.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    /// Every label has ended.
    pub(crate) complete: bool,
    /// The stores that it was enqueued for over HTTP, each with whether it is paused or cancelled there.
    pub(crate) stores: Vec<StateView>,
    /// When its first request came.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) enqueued_at: Option<Timestamp>,
    /// When its latest label ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_ended_at: Option<Timestamp>,
    /// Labels that ended per second, from its first request on.
    pub(crate) labels_per_second: Option<f64>,
    /// When the rest will have ended at that rate.
    pub(crate) eta_seconds: Option<f64>,
}

/// A server-sent event of a batch that is followed.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "for the document only")]
pub(crate) struct BatchEvent {
    /// `progress`, or at the end `complete`.
    event: String,
    /// The batch as it stands: what `GET /v1/batches/{batch}` answers, as JSON text.
    data: String,
}

/// How far a batch is
#[utoipa::path(get, path = "/v1/batches/{batch}", tag = "store",
    params(("batch" = String, Path, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]{1,128}$")),
    responses(
        (status = 200, body = BatchView),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn batch(
    State(api): State<Api>,
    PathOf(batch): PathOf<BatchId>,
    caller: Caller,
) -> Result<Json<BatchView>, Problem> {
    look(&api, &batch, &caller).await.map(Json)
}

pub(crate) async fn look(api: &Api, batch: &BatchId, caller: &Caller) -> Result<BatchView, Problem> {
    Found::find(api, batch).await?.view_for(api, batch, caller).await
}

/// What the ledger has of a batch.
pub(crate) struct Found {
    enqueued: Vec<Enqueued>,
    progress: Progress,
}

impl Found {
    pub(crate) async fn find(api: &Api, batch: &BatchId) -> Result<Self, Problem> {
        let enqueued = api.ledger.enqueued_in(batch).await?;
        Ok(Self { enqueued, progress: api.ledger.progress(batch).await? })
    }

    /// Every label has ended.
    pub(crate) fn is_complete(&self) -> bool {
        let labels: u64 = self.enqueued.iter().map(|enqueued| enqueued.labels).sum();
        let is_confirmed = !self.enqueued.is_empty() && self.enqueued.iter().all(|enqueued| enqueued.confirmed);
        is_confirmed && self.progress.outcomes.values().sum::<u64>() >= labels
    }

    /// What this caller is told of it.
    pub(crate) async fn view_for(&self, api: &Api, batch: &BatchId, caller: &Caller) -> Result<BatchView, Problem> {
        let Self { enqueued, progress } = self;
        if enqueued.is_empty() && (progress.outcomes.is_empty() || !caller.may_all()) {
            return Err(Problem::not_found(format!(
                "batch {batch}: nothing of this name was enqueued here; one that was enqueued over AMQP is known, to \
                 tokens for all stores, from its first outcome on"
            )));
        }
        if enqueued.iter().any(|enqueued| !caller.may(&enqueued.store)) {
            return Err(Problem::forbidden(format!("batch {batch} is of a store that this token is not for")));
        }
        let stores = states(api, batch, enqueued).await?;
        Ok(BatchView { stores, ..view(batch, enqueued, progress, now()) })
    }
}

async fn states(api: &Api, batch: &BatchId, enqueued: &[Enqueued]) -> Result<Vec<StateView>, Problem> {
    let stores: BTreeSet<&Store> = enqueued.iter().map(|enqueued| &enqueued.store).collect();
    let key = |store: &Store| BatchKey { store: store.clone(), batch: batch.clone() };
    let keys: Vec<BatchKey> = stores.into_iter().map(key).collect();
    let mut controls = api.ledger.controls_of(&keys).await?;
    Ok(keys.into_iter().map(|key| StateView::new(key.store.clone(), controls.remove(&key))).collect())
}

fn view(batch: &BatchId, enqueued: &[Enqueued], progress: &Progress, now: Timestamp) -> BatchView {
    let known = !enqueued.is_empty() && enqueued.iter().all(|enqueued| enqueued.confirmed);
    let sum = |part: fn(&Enqueued) -> u64| known.then(|| enqueued.iter().map(part).sum::<u64>());
    let done: u64 = progress.outcomes.values().sum();
    // More have ended than were counted where labels were bound meanwhile.
    let labels = sum(|enqueued| enqueued.labels).map(|labels| labels.max(done));
    let waiting = labels.map(|labels| labels - done);
    let complete = waiting == Some(0);
    let enqueued_at = enqueued.iter().map(|enqueued| enqueued.at).min();
    let end = if complete { progress.last } else { Some(now) };
    let seconds = enqueued_at.zip(end).map(|(from, to)| (to.unix_millis() - from.unix_millis()) as f64 / 1000.0);
    let rate = seconds.filter(|seconds| *seconds > 0.0 && done > 0).map(|seconds| done as f64 / seconds);
    BatchView {
        batch: batch.clone(),
        tasks: sum(|enqueued| enqueued.tasks),
        labels,
        done,
        waiting,
        outcomes: Outcome::ALL.map(|outcome| (outcome, progress.outcomes.get(&outcome).copied().unwrap_or(0))).into(),
        complete,
        stores: Vec::new(),
        enqueued_at,
        last_ended_at: progress.last,
        labels_per_second: rate,
        eta_seconds: waiting.zip(rate).map(|(waiting, rate)| waiting as f64 / rate),
    }
}

/// Follow a batch: events `progress`, and at its end `complete`, each with the batch as it stands
#[utoipa::path(get, path = "/v1/batches/{batch}/events", tag = "store",
    params(("batch" = String, Path, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]{1,128}$")),
    responses(
        (status = 200, body = BatchEvent, content_type = "text/event-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn events(
    State(api): State<Api>,
    PathOf(batch): PathOf<BatchId>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let first = look(&api, &batch, &caller).await?;
    let permit = Arc::clone(&api.followers).try_acquire_owned();
    let _permit =
        permit.map_err(|_| Problem::unavailable("too many batches are followed; ask for this one now and then"))?;
    api.metrics.followers.inc();
    let until = Instant::now() + api.follow_for;
    let follower = Follower { api, batch, caller, until, next: Some(first), said: None, ended: false, _permit };
    Ok(Sse::new(stream::unfold(follower, Follower::step)).keep_alive(KeepAlive::default()))
}

/// What a follower was told last: nothing is said twice.
type Said = (u64, Vec<BatchState>);

/// One who follows a batch.
struct Follower {
    api: Api,
    batch: BatchId,
    caller: Caller,
    until: Instant,
    next: Option<BatchView>,
    said: Option<Said>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.api.metrics.followers.dec();
    }
}

impl Follower {
    /// The next event; `None` after the last, at the end of patience, and when the server stops.
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if self.said.is_some() && self.next.is_none() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.api.stop.cancelled() => return None,
                }
                if Instant::now() >= self.until || self.ended {
                    return None;
                }
                // While the ledger is away nothing ends: the next look shows more.
                self.next = look(&self.api, &self.batch, &self.caller).await.ok();
            }
            let Some(view) = self.next.take() else { continue };
            let name = if view.complete { "complete" } else { "progress" };
            let said: Said = (view.done, view.stores.iter().map(|store| store.state).collect());
            if view.complete || self.said.as_ref() != Some(&said) {
                (self.said, self.ended) = (Some(said), view.complete);
                let event = Event::default().event(name).json_data(&view);
                return Some((Ok(event.unwrap_or_default()), self));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enqueued(labels: u64, confirmed: bool) -> Enqueued {
        Enqueued {
            key: "k".to_owned(),
            store: "sp-014".parse().unwrap(),
            batch: "b".parse().unwrap(),
            digest: String::new(),
            at: Timestamp::from_unix_millis(10_000),
            tasks: 1,
            labels,
            confirmed,
        }
    }

    fn seen(enqueued: &[Enqueued], shown: u64, rejected: u64) -> BatchView {
        let outcomes = [(Outcome::Shown, shown), (Outcome::Rejected, rejected)].into();
        let progress = Progress { outcomes, last: Some(Timestamp::from_unix_millis(14_000)) };
        view(&"b".parse().unwrap(), enqueued, &progress, Timestamp::from_unix_millis(20_000))
    }

    #[test]
    fn the_balance_adds_up_and_the_rate_is_of_the_time_that_it_took() {
        let view = seen(&[enqueued(30, true), enqueued(10, true)], 15, 5);
        assert_eq!((view.labels, view.done, view.waiting, view.complete), (Some(40), 20, Some(20), false));
        assert_eq!((view.labels_per_second, view.eta_seconds), (Some(2.0), Some(10.0)));
        let view = seen(&[enqueued(20, true)], 15, 5);
        assert_eq!((view.complete, view.labels_per_second), (true, Some(5.0)));
        assert_eq!(seen(&[enqueued(2, true)], 3, 0).waiting, Some(0), "bound meanwhile");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let over_amqp = seen(&[], 3, 0);
        assert_eq!((over_amqp.labels, over_amqp.waiting, over_amqp.complete), (None, None, false));
        let half = seen(&[enqueued(3, true), enqueued(1, false)], 3, 0);
        assert_eq!((half.labels, half.complete), (None, false), "nothing half-enqueued is claimed");
    }
}

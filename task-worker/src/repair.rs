//! The repair pass: finds labels that were left behind, and drives them to their newest versions once they are heard.
//!
//! A label that could not be reached by its task's deadline, say because its store was offline over night, has its
//! outcome and no task any more. When a gateway hears it again, it gets a task of its own: its desired version once
//! more, under a new ID. Every worker looks; the registry sees to it that a label is claimed once in a while only, and
//! a second task would find the version shown.

use crate::{Worker, drive::Interrupted, execute::Executor};
use anyhow::{Context, Result};
use backbone::{
    ledger::{BatchKey, OutOfDate},
    registry::{Registry, RouteEntry},
    service::now,
};
use protocol::{Action, BatchState, LabelMac, MAX_WAIT, Outcome, Store, Task, TaskId, Timestamp};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

/// Labels that are looked at in one round trip.
const PAGE: u32 = 500;
/// A label whose task has no outcome an hour after it can have waited its longest has no task any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 3600);

/// Looks again and again, until the session ends.
pub(crate) async fn keep_repairing(worker: &Worker, executor: &Executor) -> Interrupted {
    let mut passes = interval(worker.config.repair_every);
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pace = interval(Duration::from_secs(1) / u32::from(worker.config.repair_rate.max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        passes.tick().await;
        match pass(worker, executor, &mut pace).await {
            Ok(Ok(())) => {}
            Ok(Err(interrupted)) => return interrupted,
            // Nothing depends on this pass: the next one looks again.
            Err(error) => tracing::debug!("repair pass given up: {error:#}"),
        }
    }
}

/// One look at all labels that are out of date. The outer error is of the ledger or the registry, the inner one ends
/// the session.
async fn pass(worker: &Worker, executor: &Executor, pace: &mut Interval) -> Result<Result<(), Interrupted>> {
    for store in worker.ledger.stores_out_of_date().await.context("finding stores")? {
        let mut after = None;
        loop {
            let page = worker.ledger.out_of_date(&store, after, PAGE).await.context("finding labels")?;
            let Some(last) = page.last() else { break };
            after = Some(last.label);
            let due: Vec<_> =
                page.into_iter().filter(|label| is_due(label, now(), worker.config.repair_after)).collect();
            let due = not_held(worker, &store, due).await?;
            for label in claim(worker, due).await? {
                pace.tick().await;
                tracing::debug!(device.mac = %label.label, version = %label.desired.version, "sent again: it is heard");
                if let Err(interrupted) = executor.enqueue(&task(&store, label)).await {
                    return Ok(Err(interrupted));
                }
                worker.metrics.left_behind.inc();
            }
        }
    }
    Ok(Ok(()))
}

/// Those whose batch is neither paused, for however long, nor cancelled.
async fn not_held(worker: &Worker, store: &Store, mut due: Vec<OutOfDate>) -> Result<Vec<OutOfDate>> {
    let key = |label: &OutOfDate| Some(BatchKey { store: store.clone(), batch: label.desired.batch.clone()? });
    let keys: BTreeSet<BatchKey> = due.iter().filter_map(key).collect();
    let keys: Vec<BatchKey> = keys.into_iter().collect();
    let controls = worker.ledger.controls_of(&keys).await.context("looking at batches")?;
    let state = |label: &OutOfDate| key(label).and_then(|key| controls.get(&key)).map(|control| control.state);
    due.retain(|label| state(label).unwrap_or_default() == BatchState::Running);
    Ok(due)
}

/// Those that a gateway hears now, and that no worker has taken care of lately.
async fn claim(worker: &Worker, due: Vec<OutOfDate>) -> Result<Vec<OutOfDate>> {
    let heard = heard(&worker.registry, &due, worker.config.route_stale_after).await?;
    let due: Vec<_> = due.into_iter().zip(heard).filter_map(|(label, heard)| heard.then_some(label)).collect();
    let labels: Vec<_> = due.iter().map(|due| due.label).collect();
    let claimed = worker.registry.claim_repairs(&labels, worker.config.repair_after).await?;
    Ok(due.into_iter().zip(claimed).filter_map(|(label, claimed)| claimed.then_some(label)).collect())
}

async fn heard(registry: &Registry, due: &[OutOfDate], stale_after: Duration) -> Result<Vec<bool>> {
    let labels: Vec<LabelMac> = due.iter().map(|due| due.label).collect();
    let (routes, at) = (registry.routes_of(&labels).await?, now());
    let fresh = |route: &RouteEntry| age(route.at, at) <= stale_after;
    Ok(routes.iter().map(|routes| routes.iter().any(fresh)).collect())
}

fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.unix_millis() - then.unix_millis()).unwrap_or(0))
}

/// Whether a label has no task under way. What was refused for good is not sent again.
fn is_due(label: &OutOfDate, now: Timestamp, after: Duration) -> bool {
    match &label.outcome {
        Some(result) => result.outcome == Outcome::Unreachable && age(result.at, now) >= after,
        None => age(label.desired.at, now) >= FORGOTTEN_AFTER.max(after),
    }
}

/// What is desired of the label, once more.
fn task(store: &Store, label: OutOfDate) -> Task {
    let fields = Arc::unwrap_or_clone(label.desired.fields);
    Task {
        action: Action::PriceUpdate,
        store: store.clone(),
        sku: label.sku,
        labels: Some(vec![label.label]),
        version: Some(label.desired.version),
        fields,
        ..Task::repair(TaskId::repair(Uuid::now_v7()), label.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::ledger::Desired;
    use protocol::{Fields, ResultMessage, Version};

    const MINUTE: Duration = Duration::from_secs(60);

    fn label(outcome: Option<(Outcome, i64)>) -> OutOfDate {
        let version = Version::try_from(7).unwrap();
        let label = LabelMac::from_octets([0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e]);
        let store: Store = "sp-014".parse().unwrap();
        let task_id: TaskId = "t-1".parse().unwrap();
        let fields: Fields = serde_json::from_str(r#"{"price":"12.90"}"#).unwrap();
        let start = Timestamp::from_unix_millis(0);
        let result = |(outcome, at)| ResultMessage {
            task_id: task_id.clone(),
            store: store.clone(),
            sku: None,
            label,
            version: Some(version),
            outcome,
            reason: None,
            gateway: None,
            attempts: 1,
            latency_ms: 0,
            at: Timestamp::from_unix_millis(at),
            batch: None,
        };
        let outcome = outcome.map(result);
        let desired = Desired { version, fields: Arc::new(fields), at: start, task_id, batch: None };
        OutOfDate { label, sku: None, desired, shown: None, since: start, outcome }
    }

    #[test]
    fn only_labels_without_a_task_are_due() {
        let at = Timestamp::from_unix_millis(120_000);
        let due = |outcome| is_due(&label(outcome), at, MINUTE);
        assert!(due(Some((Outcome::Unreachable, 50_000))));
        assert!(!due(Some((Outcome::Unreachable, 70_000))), "just now");
        assert!(!due(Some((Outcome::Rejected, 50_000))), "refused for good");
        assert!(!due(None), "its task is under way");
        let hours = |hours: i64| Timestamp::from_unix_millis(hours * 3_600_000);
        assert!(!is_due(&label(None), hours(24), MINUTE), "it may wait");
        assert!(is_due(&label(None), hours(25), MINUTE), "for so long?");
    }

    #[test]
    fn it_is_a_task_that_any_worker_understands() {
        let store: Store = "sp-014".parse().unwrap();
        let task = task(&store, label(None));
        let parsed = Task::parse(&serde_json::to_vec(&task).unwrap()).unwrap();
        assert_eq!(parsed, task);
        assert_eq!((parsed.action, parsed.version.map(Version::get)), (Action::PriceUpdate, Some(7)));
    }
}

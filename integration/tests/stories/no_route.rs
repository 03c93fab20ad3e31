//! Labels that nobody hears, and gateways that leave.

use anyhow::{Context, Result, ensure};
use backbone::{registry::Registry, service::now};
use integration::{Asker, EmulatedLabel, Story, gateway_mac, labels, price_update, quick};
use protocol::{GatewayMac, LabelMac, Outcome, ReplyOutcome, Task};
use serde_json::json;
use std::{collections::HashSet, time::Duration};
use testbed::{BCK_ROUTER, FWD_ROUTER, StackConfig, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(60);
const STALE_AFTER: Duration = Duration::from_secs(3);

/// Routes go stale soon.
fn config(gateways: usize, labels: usize) -> StackConfig {
    let roles = [FWD_ROUTER, BCK_ROUTER];
    let forgetful = |config: StackConfig, role| config.with_env(role, "ROUTE_STALE_AFTER", format!("{STALE_AFTER:?}"));
    roles.into_iter().fold(quick(gateways, labels), forgetful)
}

fn registry(story: &Story) -> Result<Registry> {
    Ok(Registry::connect(&story.stack.servers.redis_url.parse()?)?)
}

/// Waits until the backbone must have noticed that nobody hears this label.
async fn until_unheard(story: &Story, registry: &Registry, label: LabelMac) -> Result<()> {
    let oldest = |routes: &[backbone::registry::RouteEntry]| {
        let age = |at: protocol::Timestamp| now().unix_millis() - at.unix_millis();
        routes.iter().all(|route| u128::try_from(age(route.at)).is_ok_and(|age| age > STALE_AFTER.as_millis()))
    };
    let unheard = async |_: &Story| Ok(oldest(&registry.routes(label).await?));
    story.until(&format!("the routes to {label} are stale"), LIMIT, unheard).await
}

#[tokio::test]
async fn a_label_that_nobody_hears_waits_until_somebody_does() -> Result<()> {
    let story = Story::start(config(2, 20)).await?;
    let (lost, gone) = (labels(20)[0], labels(20)[1]);
    let registry = registry(&story)?;
    // There are routes to go stale.
    story.backend.enqueue(&price_update(&[lost, gone], 1)).await?;
    story.all_settled(LIMIT).await?;
    for label in [lost, gone] {
        story.emulator.place(label, json!({"nowhere": true})).await?;
    }
    for label in [lost, gone] {
        until_unheard(&story, &registry, label).await?;
    }
    let patient = price_update(&[lost], 2);
    let hasty = Task { timeout_ms: Some(3000), ..price_update(&[gone], 2) };
    story.backend.enqueue_all(&[patient.clone(), hasty.clone()]).await?;

    ensure!(story.results.wait_for(&[(hasty.task_id.clone(), gone)], LIMIT).await, "the deadline has no effect");
    let results = story.results.seen();
    let result = &results[&(hasty.task_id, gone)][0];
    assert_eq!((result.outcome, result.gateway), (Outcome::Unreachable, None));
    assert_eq!(result.reason.as_deref(), Some("no gateway hears the label"));
    assert!(result.attempts > 1 && result.latency_ms >= 2_800, "{result:?}");
    assert!(!results.contains_key(&(patient.task_id, lost)), "it still has time");
    assert!(story.metric("task_worker_rpcs_total{end=\"no_route\"}").await? >= f64::from(result.attempts) + 1.0);
    let timeouts = async |story: &Story| story.metric("task_worker_rpcs_total{end=\"timeout\"}").await;
    assert_eq!(timeouts(&story).await?, 0.0, "that there is no route is said at once");

    story.emulator.place(lost, json!({"near": gateway_mac(2)})).await?;
    story.all_settled(LIMIT).await?;
    assert_eq!(story.emulator.label(lost).await?.history[1].gateway, gateway_mac(2));
    // The other comes back too, and its next price finds it.
    story.emulator.place(gone, json!({"home": true})).await?;
    story.backend.enqueue(&price_update(&[gone], 3)).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    story.end().await
}

/// Labels that this gateway hears best, and another one as well.
async fn labels_with_an_alternative(story: &Story, gateway: GatewayMac, of: u32) -> Result<Vec<LabelMac>> {
    let mut found = Vec::new();
    for label in labels(of) {
        let EmulatedLabel { heard_by, .. } = story.emulator.label(label).await?;
        if heard_by.len() > 1 && heard_by[0].gateway == gateway {
            found.push(label);
        }
    }
    Ok(found)
}

/// Waits until both forward routers know, by asking labels that are not asked again: each asks another gateway.
async fn until_passed_over(story: &Story, gateway: GatewayMac, probes: &mut Vec<LabelMac>) -> Result<()> {
    let asker = Asker::connect(story).await?;
    let mut in_a_row = 0;
    while in_a_row < 4 {
        let probe = probes.pop().context("no labels are left to ask")?;
        let reply = asker.ping(probe, Duration::from_millis(500)).await;
        let elsewhere = |gateway: GatewayMac| move |other: GatewayMac| other != gateway;
        let answered = reply.as_ref().is_ok_and(|reply| reply.outcome == ReplyOutcome::Ack);
        let by_another = reply.is_ok_and(|reply| reply.gateway.is_some_and(elsewhere(gateway)));
        in_a_row = if answered && by_another { in_a_row + 1 } else { 0 };
    }
    Ok(())
}

#[tokio::test]
async fn the_labels_of_a_gateway_that_leaves_are_served_by_another() -> Result<()> {
    // So long that a label that had to wait for it would be noticed.
    let story = Story::start(quick(4, 400).with_env(TASK_WORKER, "RPC_TIMEOUT", "10s")).await?;
    let leaving = gateway_mac(1);
    let mut labels = labels_with_an_alternative(&story, leaving, 400).await?;
    ensure!(labels.len() >= 50, "only {} labels have an alternative", labels.len());
    let mut probes = labels.split_off(labels.len() - 25);
    story.backend.enqueue(&price_update(&labels, 1)).await?;
    story.all_settled(LIMIT).await?;
    let by_it = |label: &EmulatedLabel| label.history.iter().any(|write| write.gateway == leaving);
    let mut served = HashSet::new();
    for label in &labels {
        served.extend(Some(story.emulator.label(*label).await?).filter(by_it).map(|label| label.mac));
    }
    assert!(!served.is_empty(), "{leaving} serves none of its labels");

    story.emulator.gateway_state(leaving, "offline?abrupt=true").await?;
    until_passed_over(&story, leaving, &mut probes).await?;
    let timeouts = async || story.metric("task_worker_rpcs_total{end=\"timeout\"}").await;
    let before = timeouts().await?;
    let update = price_update(&labels, 2);
    story.backend.enqueue(&update).await?;
    story.all_settled(LIMIT).await?;
    assert_eq!(timeouts().await?, before, "its last will was not heeded");
    let results = story.results.seen();
    for label in labels {
        let result = &results[&(update.task_id.clone(), label)][0];
        assert!(result.outcome == Outcome::Shown && result.gateway != Some(leaving), "{result:?}");
    }
    story.check_books().await?;
    story.emulator.gateway_state(leaving, "online").await?;
    story.end().await
}

/// Labels that a store could not reach are brought up to date when they are heard again, without a new task of the
/// store backend, and only once by all workers together.
#[tokio::test]
async fn labels_that_were_left_behind_are_sent_their_version_again() -> Result<()> {
    let again = [("REPAIR_EVERY", "500ms"), ("REPAIR_AFTER", "2s")];
    let often =
        |config: StackConfig, (name, value): (&'static str, &'static str)| config.with_env(TASK_WORKER, name, value);
    let story = Story::start(again.into_iter().fold(config(2, 20), often)).await?;
    let registry = registry(&story)?;
    let left = labels(20);
    story.backend.enqueue(&price_update(&left, 1)).await?;
    story.all_settled(LIMIT).await?;
    for &label in &left {
        story.emulator.place(label, json!({"nowhere": true})).await?;
    }
    for &label in &left {
        until_unheard(&story, &registry, label).await?;
    }
    story.backend.enqueue(&Task { timeout_ms: Some(1000), ..price_update(&left, 2) }).await?;
    story.all_settled(LIMIT).await?;
    assert_eq!(story.metric("task_worker_labels_sent_again_total").await?, 0.0, "nobody hears them");

    for &label in &left {
        story.emulator.place(label, json!({"home": true})).await?;
    }
    let all_up_to_date = async |story: &Story| {
        for &label in &left {
            let shown = story.emulator.label(label).await?.history.last().and_then(|write| write.version);
            if shown.map(protocol::Version::get) != Some(2) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    story.until("all labels show what they should", LIMIT, all_up_to_date).await?;
    assert_eq!(story.metric("task_worker_labels_sent_again_total").await?, 20.0);
    story.check_books().await?;
    story.end().await
}

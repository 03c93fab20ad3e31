//! Gateways and labels refuse: for now, or for good.

use anyhow::{Context, Result};
use integration::{Books, Story, gateway_mac, labels, price_update, quick};
use protocol::Outcome;
use serde_json::json;
use std::time::Duration;

const SETTLE_LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn what_is_refused_for_now_is_tried_again() -> Result<()> {
    let story = Story::start(quick(3, 120)).await?;
    for (number, error) in (1..).zip(["queue_full", "retry", "insufficient_resources"]) {
        let faults = json!({"nack_rate": 0.5, "nack_error": error});
        story.emulator.gateway_faults(gateway_mac(number), faults).await?;
    }
    let tasks: Vec<_> = labels(120).chunks(2).map(|pair| price_update(pair, 1)).collect();
    story.backend.enqueue_all(&tasks).await?;
    story.all_settled(SETTLE_LIMIT).await?;

    story.check_books().await?;
    let results: Vec<_> = story.results.seen().into_values().map(|mut results| results.remove(0)).collect();
    assert!(results.iter().all(|result| result.outcome == Outcome::Shown));
    assert!(results.iter().all(|result| result.reason.is_none()), "a passing refusal is no reason of a label shown");
    let refused = story.metric("task_worker_rpcs_total{end=\"nack\"}").await?;
    let attempts: u32 = results.iter().map(|result| result.attempts).sum();
    assert!(refused > 30.0 && f64::from(attempts) >= 120.0 + refused, "{refused} refused, {attempts} attempts");
    story.end().await
}

#[tokio::test]
async fn what_is_refused_for_good_is_rejected_with_the_reason() -> Result<()> {
    let story = Story::start(quick(2, 20)).await?;
    let (weak, mute) = (labels(20)[3], labels(20)[7]);
    story.emulator.label_faults(weak, json!({"nack": "insufficient_battery"})).await?;
    story.emulator.label_faults(mute, json!({"nack": ""})).await?;
    let task = price_update(&labels(20), 1);
    story.backend.enqueue(&task).await?;
    story.all_settled(SETTLE_LIMIT).await?;

    Books { troubled: vec![weak, mute], ..Books::default() }.check(&story).await?;
    let results = story.results.seen();
    for label in labels(20) {
        let result = results[&(task.task_id.clone(), label)].first().context("no result")?;
        let expected = match label {
            _ if label == weak => (Outcome::Rejected, Some("insufficient_battery")),
            _ if label == mute => (Outcome::Rejected, Some("unspecified_error")),
            _ => (Outcome::Shown, None),
        };
        assert_eq!((result.outcome, result.reason.as_deref()), expected, "{label}");
        assert!(result.gateway.is_some());
    }
    assert_eq!(story.metric("task_worker_rpcs_total{end=\"nack\"}").await?, 2.0, "neither was asked again");
    let record = story.ledger.label(weak).await?.context("the label is unknown")?;
    assert!(record.shown.is_none() && record.desired.is_some(), "an operator must see what it should show");

    // With a new battery, the next version is shown.
    for label in [weak, mute] {
        story.emulator.label_faults(label, json!({})).await?;
    }
    story.backend.enqueue(&price_update(&labels(20), 2)).await?;
    story.all_settled(SETTLE_LIMIT).await?;
    story.check_books().await?;
    story.end().await
}

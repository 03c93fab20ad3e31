//! One process and labels that nobody hears: those that still have time wait, the others are brought up to date when they
//! are heard again, without a new task.

use anyhow::Result;
use integration::{Books, StandaloneStory, labels, price_update, quick};
use protocol::{LabelMac, Task};
use serde_json::json;
use std::time::Duration;
use testbed::STANDALONE;

const LIMIT: Duration = Duration::from_secs(60);
const STALE_AFTER: Duration = Duration::from_secs(2);
const LABELS: u32 = 20;

async fn all_unheard(story: &StandaloneStory, labels: &[LabelMac]) -> Result<bool> {
    for label in labels {
        let view = story.get(&format!("/v1/labels/{label}")).await?;
        let is_fresh = |age: Option<u64>| age.is_some_and(|age| u128::from(age) <= STALE_AFTER.as_millis());
        if view["routes"].as_array().is_some_and(|all| all.iter().any(|route| is_fresh(route["age_ms"].as_u64()))) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn timeouts(story: &StandaloneStory) -> Result<f64> {
    story.metric("task_worker_rpcs_total{end=\"timeout\"}").await
}

#[tokio::test]
async fn labels_that_were_out_of_reach_come_right_when_they_are_heard() -> Result<()> {
    let stale = format!("{STALE_AFTER:?}");
    let waits = [("ROUTE_STALE_AFTER", stale.as_str()), ("REPAIR_EVERY", "500ms"), ("REPAIR_AFTER", "1s")];
    let config = waits
        .into_iter()
        .fold(quick(2, LABELS as usize), |config, (name, value)| config.with_env(STANDALONE, name, value));
    let mut story = StandaloneStory::begin(config).await?;
    story.process.start().await?;
    let all = labels(LABELS);
    story.post(&[price_update(&all, 1)]).await?;
    story.all_shown(LIMIT).await?;
    let before = (story.writes().await?, timeouts(&story).await?);
    for &label in &all {
        story.emulator.place(label, json!({"nowhere": true})).await?;
    }
    story.until("nobody hears the labels", LIMIT, async || all_unheard(&story, &all).await).await?;

    let (patient, hasty) = all.split_at(5);
    story.post(&[price_update(patient, 2), Task { timeout_ms: Some(1_000), ..price_update(hasty, 2) }]).await?;
    let unreachable = "task_worker_outcomes_total{outcome=\"unreachable\"}";
    let given_up = async || Ok(story.metric(unreachable).await? == hasty.len() as f64);
    story.until("those with little time are given up", LIMIT, given_up).await?;
    assert_eq!(story.metric("task_worker_labels_sent_again_total").await?, 0.0, "nobody hears them");
    let now = (story.writes().await?, timeouts(&story).await?);
    assert_eq!(now, before, "nobody is asked, and that is said at once");

    for &label in &all {
        story.emulator.place(label, json!({"home": true})).await?;
    }
    story.all_shown(LIMIT).await?;
    assert!(story.metric("task_worker_labels_sent_again_total").await? >= hasty.len() as f64);
    assert_eq!(story.metric(unreachable).await?, hasty.len() as f64, "the patient are not given up");
    story.process.stop().await?;
    story.check_books(&Books::default()).await
}

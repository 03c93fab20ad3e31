//! Gateways that can't say which RPC they answer, only of which label they speak: the thesis' format.

use anyhow::Result;
use integration::{Story, labels, price_update, quick};
use serde_json::json;
use std::time::Duration;
use testbed::StackConfig;

const LIMIT: Duration = Duration::from_secs(90);
const LATE: &str = "bck_router_dropped_answers_total{reason=\"late\"}";

fn config(gateways: usize, labels: usize, protocol: &str, echo: &str) -> StackConfig {
    let mut config = quick(gateways, labels);
    config.emulator_args.extend(["--protocol", protocol, "--echo", echo].map(str::to_owned));
    config
}

/// Updates many labels several times, without a pause between the versions.
async fn update(protocol: &str, echo: &str) -> Result<()> {
    let story = Story::start(config(6, 300, protocol, echo)).await?;
    for version in 1..=4 {
        let tasks: Vec<_> = labels(300).chunks(3).map(|some| price_update(some, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
    }
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    // On a machine so busy that an RPC times out, its answer may come after the next one's.
    if story.metric("task_worker_rpcs_total{end=\"timeout\"}").await? == 0.0 {
        for reason in ["unknown", "wrong_gateway", "duplicate"] {
            let dropped = story.metric(&format!("bck_router_dropped_answers_total{{reason=\"{reason}\"}}")).await?;
            assert_eq!(dropped, 0.0, "{reason}: an answer did not find its RPC");
        }
    }
    story.end().await
}

#[tokio::test]
async fn gateways_of_mqtt_3_that_name_only_the_label() -> Result<()> {
    update("v311", "none").await
}

#[tokio::test]
async fn gateways_of_every_kind_in_one_store() -> Result<()> {
    update("mixed", "mixed").await
}

#[tokio::test]
async fn gateways_that_echo_in_a_property() -> Result<()> {
    update("mixed", "property").await
}

/// The answer to version 1 comes after its RPC was given up, when version 2 is to be sent: it must not pass for the
/// answer to that.
#[tokio::test]
async fn a_late_answer_is_not_credited_to_the_next_rpc() -> Result<()> {
    let story = Story::start(config(1, 10, "v311", "none")).await?;
    let label = labels(1)[0];
    story.emulator.store_faults(json!({"late_answer_rate": 1, "late_answer_by": "3s"})).await?;
    story.backend.enqueue(&price_update(&[label], 1)).await?;
    let written = async |story: &Story| Ok(story.emulator.label(label).await?.writes == 1);
    story.until("version 1 is written, and its answer under way", LIMIT, written).await?;

    // From now on, nobody answers for the label but the late one.
    story.emulator.store_faults(json!({})).await?;
    story.emulator.label_faults(label, json!({"silent": true})).await?;
    story.backend.enqueue(&price_update(&[label], 2)).await?;
    let late = async |story: &Story| Ok(story.metric(LATE).await? == 1.0);
    story.until("the late answer is dropped as late", LIMIT, late).await?;
    assert_eq!(story.metric("bck_router_replies_total").await?, 0.0, "the late answer passed for another's");

    story.emulator.label_faults(label, json!({})).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    story.end().await
}

//! One process whose gateways and labels do everything that they should not, at the same time: it comes right, and the
//! books balance.

use anyhow::{Result, ensure};
use integration::{Books, StandaloneStory, gateway_mac, labels, price_update, quick};
use protocol::Task;
use serde_json::json;
use std::time::Duration;
use testbed::STANDALONE;

const LABELS: u32 = 120;
const LIMIT: Duration = Duration::from_secs(90);

fn update(version: u64) -> Vec<Task> {
    labels(LABELS).chunks(3).map(|some| price_update(some, version)).collect()
}

/// Gateways that push back, answer twice, make answers up and leave without a word, and answer in every way there is; a
/// label that refuses for good, and one that nobody hears.
#[tokio::test]
async fn a_store_in_trouble_comes_right() -> Result<()> {
    let mut config = quick(4, LABELS as usize).with_env(STANDALONE, "ROUTE_STALE_AFTER", "3s");
    config.emulator_args.extend(["--protocol", "mixed", "--echo", "mixed"].map(str::to_owned));
    let mut story = StandaloneStory::begin(config).await?;
    story.process.start().await?;
    let (weak, lost) = (labels(LABELS)[3], labels(LABELS)[7]);
    let emulator = story.emulator.clone();
    emulator.gateway_faults(gateway_mac(1), json!({"nack_rate": 0.3, "nack_error": "queue_full"})).await?;
    emulator.gateway_faults(gateway_mac(2), json!({"duplicate_answer_rate": 1})).await?;
    emulator.gateway_faults(gateway_mac(3), json!({"forged_answers": 5, "rogue_rssi": true})).await?;
    emulator.label_faults(weak, json!({"nack": "insufficient_battery"})).await?;
    emulator.place(lost, json!({"nowhere": true})).await?;
    story.post(&update(1)).await?;
    story.reach(LABELS as usize / 4, LIMIT).await?;
    emulator.gateway_state(gateway_mac(4), "offline?abrupt=true").await?;
    let backbone = story.process.backbone()?;
    let counted = async |name: &str| backbone.metric(name).await;
    let refused = async || Ok(counted("task_worker_outcomes_total{outcome=\"rejected\"}").await? >= 1.0);
    let twice = async || Ok(counted("bck_router_dropped_answers_total{reason=\"duplicate\"}").await? >= 1.0);
    let pushed_back = async || Ok(counted("task_worker_rpcs_total{end=\"nack\"}").await? >= 2.0);
    wait("a label has refused for good", refused).await?;
    wait("answers that came twice are dropped", twice).await?;
    wait("a gateway has pushed back", pushed_back).await?;

    // What was wrong is mended, but for the gateways that still answer twice and make answers up.
    emulator.gateway_state(gateway_mac(4), "online").await?;
    emulator.label_faults(weak, json!({})).await?;
    emulator.place(lost, json!({"home": true})).await?;
    story.post(&update(2)).await?;
    story.all_shown(LIMIT).await?;
    story.process.stop().await?;
    // A command that was on its way when the gateway left may come after a newer one.
    story.check_books(&Books { may_go_back: true, ..Books::default() }).await
}

async fn wait(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = std::time::Instant::now() + LIMIT;
    while !condition().await? {
        ensure!(std::time::Instant::now() < end, "still not after {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

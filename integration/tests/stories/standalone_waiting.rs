//! One process with much to do for a gateway that is slow: what is urgent overtakes.

use anyhow::{Result, ensure};
use integration::{StandaloneStory, label_mac, labels, price_update, quick};
use protocol::{Priority, Task};
use std::time::Duration;
use testbed::{STANDALONE, StackConfig};

const LIMIT: Duration = Duration::from_secs(90);

/// So few permits that one gateway's labels would hold all of them, if they held any.
fn few_permits(config: StackConfig) -> StackConfig {
    config.with_env(STANDALONE, "TASK_CONCURRENCY", "4").with_env(STANDALONE, "RPC_CONCURRENCY", "8")
}

#[tokio::test]
async fn what_is_urgent_overtakes_what_is_not() -> Result<()> {
    const BULK: u32 = 1_000;
    // One label at a time: the others take more than a minute and a half, which nobody waits for.
    let slow = ["--write-time", "100ms", "--connections", "1", "--report-interval", "500ms"];
    let config = StackConfig { emulator_args: slow.map(str::to_owned).to_vec(), ..quick(1, BULK as usize + 1) };
    let mut story = StandaloneStory::begin(few_permits(config)).await?;
    story.process.start().await?;
    let bulk: Vec<_> = labels(BULK).chunks(1).map(|label| price_update(label, 1)).collect();
    story.post(&bulk).await?;
    story.reach(2, LIMIT).await?;
    let urgent = label_mac(BULK + 1);
    story.post(&[Task { priority: Priority::Urgent, ..price_update(&[urgent], 1) }]).await?;
    let shown = async || Ok(story.emulator.label(urgent).await?.shown.is_some());
    story.until("the urgent label shows its price", LIMIT, shown).await?;
    let before = story.writes().await?;
    ensure!(before < BULK as usize / 2, "{before} were before it");
    story.process.stop().await
}

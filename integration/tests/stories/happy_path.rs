//! 2,000 labels get their new price, then the next.

use anyhow::Result;
use integration::{Books, StandaloneStory, Story, labels, price_update, quick};
use protocol::Task;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

fn tasks(version: u64) -> Vec<Task> {
    labels(2000).chunks(2).map(|pair| price_update(pair, version)).collect()
}

#[tokio::test]
async fn two_thousand_labels_show_their_prices() -> Result<()> {
    let story = Story::start(quick(8, 2000)).await?;
    for version in [1, 2] {
        story.backend.enqueue_all(&tasks(version)).await?;
        story.all_settled(LIMIT).await?;
    }
    story.check_books().await?;
    let shown = story.metric("task_worker_outcomes_total{outcome=\"shown\"}").await?;
    assert_eq!(shown, 4000.0);
    // Such as a command that Redis does not let a role give.
    for refused in ["fwd_router_registry_errors_total", "bck_router_registry_errors_total"] {
        assert_eq!(story.metric(refused).await?, 0.0, "{refused}");
    }
    story.end().await
}

#[tokio::test]
async fn on_standalone() -> Result<()> {
    let mut story = StandaloneStory::begin(quick(8, 2000)).await?;
    for version in [1, 2] {
        story.enqueue_all(&tasks(version)).await?;
        story.process.start().await?;
        story.all_shown(LIMIT).await?;
        let shown = story.process.backbone()?.metric("task_worker_outcomes_total{outcome=\"shown\"}").await?;
        assert_eq!(shown, 2000.0);
        story.process.stop().await?;
    }
    story.check_books(&Books::default()).await
}

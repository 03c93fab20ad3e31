//! 2,000 labels get their new price, then the next.

use anyhow::Result;
use integration::{Story, labels, price_update, quick};
use std::time::Duration;

#[tokio::test]
async fn two_thousand_labels_show_their_prices() -> Result<()> {
    let story = Story::start(quick(8, 2000)).await?;
    for version in [1, 2] {
        let tasks: Vec<_> = labels(2000).chunks(2).map(|pair| price_update(pair, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
        story.all_settled(Duration::from_secs(90)).await?;
    }
    story.check_books().await?;
    let shown = story.metric("task_worker_outcomes_total{outcome=\"shown\"}").await?;
    assert_eq!(shown, 4000.0);
    story.end().await
}

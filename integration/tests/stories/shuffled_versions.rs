//! A few labels are hit by hundreds of tasks whose versions come in any order.

use anyhow::Result;
use integration::{Books, StandaloneStory, Story, labels, price_update, quick};
use protocol::{Outcome, Task};
use std::time::Duration;
use testbed::StackConfig;

const LABELS: u32 = 6;
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// Each version of each label twice: in tasks of two labels that overlap.
fn tasks(versions: std::ops::RangeInclusive<u64>) -> Vec<Task> {
    let labels = labels(LABELS);
    let pairs: Vec<_> = (0..labels.len()).map(|at| [labels[at], labels[(at + 1) % labels.len()]]).collect();
    versions.flat_map(|version| pairs.iter().map(move |pair| price_update(pair, version))).collect()
}

#[tokio::test]
async fn the_newest_of_shuffled_versions_wins() -> Result<()> {
    let story = Story::start(StackConfig { workers: 3, ..quick(4, 40) }).await?;
    let mut random = fastrand::Rng::with_seed(7);

    // In any order: most are no news when their turn comes.
    let mut shuffled = tasks(1..=40);
    random.shuffle(&mut shuffled);
    story.backend.enqueue_all(&shuffled).await?;
    story.all_settled(SETTLE_LIMIT).await?;

    // Nearly in order: most are news, and the next version is at their heels.
    let mut nearly_in_order = tasks(41..=80);
    nearly_in_order.chunks_mut(24).for_each(|chunk| random.shuffle(chunk));
    story.backend.enqueue_all(&nearly_in_order).await?;
    story.all_settled(SETTLE_LIMIT).await?;

    story.check_books().await?;
    let results = story.results.seen();
    let outcomes: Vec<_> = story.expected().iter().map(|pair| results[pair][0].outcome).collect();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Shown | Outcome::Superseded)));
    assert!(outcomes.contains(&Outcome::Superseded), "they did not overtake each other");
    for label in labels(LABELS) {
        let label = story.emulator.label(label).await?;
        assert_eq!(label.shown.map(|shown| shown.version.get()), Some(80));
        assert!(label.writes > 2, "{} writes: too few to be in any order", label.writes);
    }
    story.end().await
}

#[tokio::test]
async fn on_standalone() -> Result<()> {
    let mut story = StandaloneStory::begin(quick(4, 40)).await?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut shuffled = tasks(1..=40);
    random.shuffle(&mut shuffled);
    story.enqueue_all(&shuffled).await?;
    let mut nearly_in_order = tasks(41..=80);
    nearly_in_order.chunks_mut(24).for_each(|chunk| random.shuffle(chunk));
    story.enqueue_all(&nearly_in_order).await?;
    story.process.start().await?;
    story.all_shown(SETTLE_LIMIT).await?;
    story.process.stop().await?;
    story.check_books(&Books::default()).await
}

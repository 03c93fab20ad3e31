//! What stories with faults under load begin and end with.

use anyhow::Result;
use integration::{Books, Load, Story, quick};
use protocol::LabelMac;
use std::time::Duration;
use testbed::StackConfig;

const LABELS: u32 = 300;
const VERSIONS: usize = 8;
/// Labels per second: half of what the gateways can write.
const RATE: u32 = 300;

/// All results must be there within this time after the load; redelivery, retries and backoffs are part of it.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// When one of two replicas does nothing, so many updates are soon stuck in it, besides those that are on their way.
pub(crate) const STUCK_IN_ONE_OF_TWO: usize = 80;

/// Gateways that take their time, so that updates are under way at any moment.
pub(crate) fn config() -> StackConfig {
    let args = ["--write-time", "40ms", "--report-interval", "500ms"];
    StackConfig { emulator_args: args.map(str::to_owned).to_vec(), ..quick(8, LABELS as usize) }
}

/// All labels that there are.
pub(crate) fn labels() -> Vec<LabelMac> {
    integration::labels(LABELS)
}

/// The load that faults are injected into: 8 s long at least.
pub(crate) fn load(story: &Story) -> Load {
    Load::start(story, &labels(), VERSIONS, RATE)
}

/// A running backbone under load.
pub(crate) async fn begin() -> Result<(Story, Load)> {
    let story = Story::start(config()).await?;
    let load = load(&story);
    Ok((story, load))
}

/// Waits until everything is settled, checks the books, and ends all roles in order.
pub(crate) async fn end(mut story: Story, load: Load, books: Books) -> Result<()> {
    settle(&mut story, load).await?;
    books.check(&story).await?;
    story.end().await
}

/// Waits until everything is enqueued and settled, and all roles are ready, those that were started again too.
pub(crate) async fn settle(story: &mut Story, load: Load) -> Result<()> {
    load.end().await?;
    story.all_settled(SETTLE_LIMIT).await?;
    story.stack.wait_ready().await
}

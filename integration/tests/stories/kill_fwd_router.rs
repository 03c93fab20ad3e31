//! A forward router is killed under load; its requests are delivered to the other.

use crate::under_load::{STUCK_IN_ONE_OF_TWO, begin, end};
use anyhow::{Result, ensure};
use integration::Books;

#[tokio::test]
async fn a_killed_fwd_router_loses_nothing() -> Result<()> {
    let (mut story, load) = begin().await?;
    load.reach(&story, 0.15).await?;
    story.stack.fwd_routers[0].kill()?;
    load.reach(&story, 0.35).await?;
    story.stack.fwd_routers[0].start_again()?;
    load.reach(&story, 0.5).await?;

    // Frozen first, so that it has requests in hand for certain.
    story.stack.fwd_routers[1].pause()?;
    load.pile_up(&story, STUCK_IN_ONE_OF_TWO).await?;
    story.stack.fwd_routers[1].kill()?;
    load.reach(&story, 0.7).await?;
    let redelivered = story.stack.fwd_routers[0].metric("fwd_router_redelivered_requests_total").await?;
    ensure!(redelivered > 0.0, "nothing was redelivered to the other router");
    story.stack.fwd_routers[1].start_again()?;
    end(story, load, Books::default()).await
}

//! A back router is killed under load. The answers that it had in hand are lost with it: the RPC's retry makes up for
//! them.

use crate::under_load::{STUCK_IN_ONE_OF_TWO, begin, end};
use anyhow::{Result, ensure};
use integration::Books;

#[tokio::test]
async fn a_killed_bck_router_costs_a_retry() -> Result<()> {
    let (mut story, load) = begin().await?;
    load.reach(&story, 0.15).await?;
    story.stack.bck_routers[0].kill()?;
    load.reach(&story, 0.35).await?;
    story.stack.bck_routers[0].start_again()?;
    load.reach(&story, 0.5).await?;

    // Frozen first, so that it has answers in hand for certain.
    story.stack.bck_routers[1].pause()?;
    load.pile_up(&story, STUCK_IN_ONE_OF_TWO).await?;
    story.stack.bck_routers[1].kill()?;
    load.reach(&story, 0.7).await?;
    story.stack.bck_routers[1].start_again()?;
    let timeouts = story.metric("task_worker_rpcs_total{end=\"timeout\"}").await?;
    ensure!(timeouts > 0.0, "no RPC was tried again, though answers were lost");
    end(story, load, Books::default()).await
}

//! A worker is killed under load, and the other does its work.

use crate::under_load::{STUCK_IN_ONE_OF_TWO, begin, end};
use anyhow::Result;
use integration::Books;

#[tokio::test]
async fn a_killed_worker_loses_nothing() -> Result<()> {
    let (mut story, load) = begin().await?;
    load.reach(&story, 0.15).await?;
    story.stack.workers[0].kill()?;
    load.reach(&story, 0.35).await?;
    story.stack.workers[0].start_again()?;
    load.reach(&story, 0.5).await?;

    // Frozen first, so that it has tasks in hand for certain.
    story.stack.workers[1].pause()?;
    load.pile_up(&story, STUCK_IN_ONE_OF_TWO).await?;
    story.stack.workers[1].kill()?;
    load.reach(&story, 0.7).await?;
    story.stack.workers[1].start_again()?;
    end(story, load, Books::default()).await
}

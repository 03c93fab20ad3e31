//! The ledger goes away under load: tasks wait in RabbitMQ, and what was recorded survives.

use crate::under_load::{config, end, load};
use anyhow::{Result, ensure};
use integration::{Books, Load, Story};
use protocol::names::amqp;
use std::time::{Duration, Instant};
use testbed::{MongoDb, ServersConfig, StackConfig};

/// Workers notice within this time that the ledger is away: by the next task under load.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);
/// Far more than it takes to publish a result and to hear of it, also on a busy machine.
const STILL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn tasks_wait_while_the_ledger_is_away() -> Result<()> {
    let servers = ServersConfig { own_mongodb: true, ..ServersConfig::default() };
    let mut story = Story::start(StackConfig { servers, ..config() }).await?;
    let load = load(&story);

    load.reach(&story, 0.15).await?;
    mongodb(&mut story).stop().await?;
    everything_waits(&mut story, &load).await?;
    mongodb(&mut story).start_again().await?;
    ready_again(&mut story).await?;

    load.reach(&story, 0.5).await?;
    mongodb(&mut story).kill()?;
    everything_waits(&mut story, &load).await?;
    mongodb(&mut story).start_again().await?;
    ready_again(&mut story).await?;
    end(story, load, Books::default()).await
}

/// Waits until the workers know that the ledger is away and have all that they can hold; then nothing may have ended
/// otherwise than before.
async fn everything_waits(story: &mut Story, load: &Load) -> Result<()> {
    let noticed = async |story: &Story| {
        let up = story.metric("task_worker_ledger_up").await?;
        let ready = story.stack.workers[0].is_ready().await || story.stack.workers[1].is_ready().await;
        Ok(up == 0.0 && !ready)
    };
    story.until("workers say that the ledger is away", NOTICE_LIMIT, noticed).await?;
    what_was_recorded_is_published(story).await?;
    load.pile_up(story, 600).await?;
    ensure!(story.stack.ended_role().is_none(), "a role has ended");
    let settled = story.results.count();
    let waits = async |story: &Story| {
        let in_hand = story.metric("task_worker_tasks_in_hand").await?;
        let queued = story.backlog(amqp::TASKS).await?;
        // Two labels in each task; some of a task's labels may be settled.
        Ok((in_hand + f64::from(queued)) * 2.0 >= story.under_way() as f64)
    };
    story.until("each task waits in a worker or in the queue", NOTICE_LIMIT, waits).await?;
    ensure!(story.results.count() == settled, "results were published that nobody can have recorded");
    ensure!(story.backlog(amqp::DEAD_TASKS).await? == 0, "tasks became dead letters while the ledger was away");
    Ok(())
}

/// What was recorded before the ledger went away may still be on its way to us.
async fn what_was_recorded_is_published(story: &Story) -> Result<()> {
    let (mut known, mut since) = (story.results.count(), Instant::now());
    let still = async |story: &Story| {
        let count = story.results.count();
        if count != known {
            (known, since) = (count, Instant::now());
        }
        Ok(since.elapsed() > STILL)
    };
    story.until("no more results come", NOTICE_LIMIT, still).await
}

async fn ready_again(story: &mut Story) -> Result<()> {
    let before = story.results.count();
    story.stack.wait_ready().await?;
    let go_on = async |story: &Story| Ok(story.results.count() > before);
    story.until("results come again", NOTICE_LIMIT, go_on).await
}

fn mongodb(story: &mut Story) -> &mut MongoDb {
    story.stack.servers.mongodb.as_mut().expect("a MongoDB of our own")
}

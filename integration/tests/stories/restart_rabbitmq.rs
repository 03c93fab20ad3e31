//! RabbitMQ goes away under load and comes back: what it has confirmed is there.

use crate::under_load::{config, end, load};
use anyhow::Result;
use integration::{Books, Load, Story};
use testbed::{RabbitMq, ServersConfig, StackConfig};

#[tokio::test]
async fn confirmed_tasks_survive_a_stop_and_then_a_kill() -> Result<()> {
    let (mut story, load) = begin().await?;
    stop(&mut story, &load, 0.15).await?;
    kill(&mut story, &load, 0.5).await?;
    end(story, load, Books::default()).await
}

#[tokio::test]
async fn confirmed_tasks_survive_a_kill_and_then_a_stop() -> Result<()> {
    let (mut story, load) = begin().await?;
    kill(&mut story, &load, 0.3).await?;
    stop(&mut story, &load, 0.5).await?;
    end(story, load, Books::default()).await
}

async fn begin() -> Result<(Story, Load)> {
    let servers = ServersConfig { own_rabbitmq: true, ..ServersConfig::default() };
    let story = Story::start(StackConfig { servers, ..config() }).await?;
    let load = load(&story);
    Ok((story, load))
}

async fn stop(story: &mut Story, load: &Load, part: f64) -> Result<()> {
    load.reach(story, part).await?;
    rabbitmq(story).stop().await?;
    rabbitmq(story).start_again().await
}

async fn kill(story: &mut Story, load: &Load, part: f64) -> Result<()> {
    load.reach(story, part).await?;
    rabbitmq(story).kill()?;
    rabbitmq(story).start_again().await
}

fn rabbitmq(story: &mut Story) -> &mut RabbitMq {
    story.stack.servers.rabbitmq.as_mut().expect("a RabbitMQ of our own")
}

//! Roles come before their servers, and the servers in an order that helps nobody.

use crate::under_load::{config, labels};
use anyhow::{Context, Result, ensure};
use integration::{Story, price_update};
use std::time::Duration;
use testbed::{Role, Servers, ServersConfig, Stack};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn roles_wait_for_their_servers() -> Result<()> {
    let mut stack = Stack::launch(stopped_servers().await?, config())?;
    for role in stack.roles_mut() {
        waits(role).await?;
    }
    stack.servers.mosquittos[0].start_again().await?;
    stack.servers.mongodb.as_mut().context("a MongoDB of our own")?.start_again().await?;
    stack.emulator.wait_ready(LIMIT).await?;
    for role in stack.workers.iter_mut().chain(&mut stack.fwd_routers).chain(&mut stack.bck_routers) {
        waits(role).await?;
    }
    stack.servers.rabbitmq.as_mut().context("a RabbitMQ of our own")?.start_again().await?;
    let mut story = Story::on(stack).await?;
    let tasks: Vec<_> = labels().chunks(2).map(|pair| price_update(pair, 1)).collect();
    story.backend.enqueue_all(&tasks).await?;
    for worker in &mut story.stack.workers {
        worker.wait_ready(LIMIT).await?;
    }
    for router in &mut story.stack.fwd_routers {
        waits(router).await?;
    }
    ensure!(story.results.count() == 0, "there are results, though no route can be known");
    story.stack.servers.redis.start_again().await?;
    story.stack.wait_ready().await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    story.end().await
}

async fn stopped_servers() -> Result<Servers> {
    let needed = ServersConfig { own_rabbitmq: true, own_mongodb: true, ..ServersConfig::default() };
    let mut servers = Servers::start(&needed).await?;
    servers.redis.stop().await?;
    servers.mosquittos[0].stop().await?;
    servers.mongodb.as_mut().context("a MongoDB of our own")?.stop().await?;
    servers.rabbitmq.as_mut().context("a RabbitMQ of our own")?.stop().await?;
    Ok(servers)
}

/// The role is alive, and says that it can't work yet.
async fn waits(role: &mut Role) -> Result<()> {
    role.wait_live(LIMIT).await?;
    ensure!(!role.is_ready().await, "{} says that it is ready, and has not all its servers", role.name());
    Ok(())
}

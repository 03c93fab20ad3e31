//! P4: Redis loses everything under load, and no update is lost.

use crate::under_load::{begin, end, labels};
use anyhow::{Result, ensure};
use backbone::registry::Registry;
use integration::{Books, Story};
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Routes come back with the gateways' next reports.
const ROUTES_LIMIT: Duration = Duration::from_secs(10);

/// An RPC that is forgotten with its fence may be overtaken; what goes back is put right.
const BOOKS: Books = Books { may_go_back: true, dead_letters: 0, troubled: Vec::new() };

#[tokio::test]
async fn all_keys_are_lost_twice() -> Result<()> {
    let (story, load) = begin().await?;
    for part in [0.2, 0.5] {
        load.reach(&story, part).await?;
        let before = story.results.count();
        flush_all(story.stack.servers.redis.port()).await?;
        routes_come_back(&story).await?;
        ensure!(story.results.count() > before, "updates stood still until the routes were back");
    }
    end(story, load, BOOKS).await
}

#[tokio::test]
async fn redis_is_killed_and_starts_again_empty() -> Result<()> {
    let (mut story, load) = begin().await?;
    load.reach(&story, 0.2).await?;
    story.stack.servers.redis.kill()?;
    load.pile_up(&story, 200).await?;
    story.stack.servers.redis.start_again().await?;
    routes_come_back(&story).await?;
    load.reach(&story, 0.6).await?;
    story.stack.servers.redis.stop().await?;
    story.stack.servers.redis.start_again().await?;
    routes_come_back(&story).await?;
    end(story, load, BOOKS).await
}

/// Waits until a gateway is known for each label again.
async fn routes_come_back(story: &Story) -> Result<()> {
    let registry = Registry::connect(&story.stack.servers.redis_url.parse()?)?;
    let all_there = async |_: &Story| {
        for label in labels() {
            if registry.routes(label).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    story.until("each label has a route again", ROUTES_LIMIT, all_there).await
}

async fn flush_all(port: u16) -> Result<()> {
    let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    redis.write_all(b"FLUSHALL\r\n").await?;
    let mut answer = [0; 5];
    redis.read_exact(&mut answer).await?;
    ensure!(&answer == b"+OK\r\n", "Redis answered {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

//! The only MQTT broker goes away under load and comes back: gateways and routers return by themselves.

use crate::under_load::{begin, end};
use anyhow::{Result, ensure};
use integration::{Books, Load, Story};
use std::time::Duration;
use testbed::Role;

const NOTICE_LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn gateways_and_routers_return_after_a_stop_and_a_kill() -> Result<()> {
    let (mut story, load) = begin().await?;
    load.reach(&story, 0.15).await?;
    story.stack.servers.mosquittos[0].stop().await?;
    return_to_an_empty_broker(&mut story, &load, 2).await?;
    load.reach(&story, 0.5).await?;
    story.stack.servers.mosquittos[0].kill()?;
    return_to_an_empty_broker(&mut story, &load, 3).await?;
    end(story, load, Books::default()).await
}

/// Starts the broker again once updates have piled up, and waits until all are connected again.
async fn return_to_an_empty_broker(story: &mut Story, load: &Load, connections: u64) -> Result<()> {
    load.pile_up(story, 200).await?;
    let noticed = async |story: &Story| {
        let routers = story.stack.bck_routers.iter().chain(&story.stack.fwd_routers);
        Ok(futures::future::join_all(routers.map(Role::is_ready)).await.iter().all(|ready| !ready))
    };
    story.until("routers say that they have no broker", NOTICE_LIMIT, noticed).await?;
    story.stack.servers.mosquittos[0].start_again().await?;
    story.stack.wait_ready().await?;
    let gateways = story.stack.emulator.json("/gateways").await?;
    for gateway in gateways.as_array().expect("a list of gateways") {
        ensure!(gateway["connections"].as_u64() >= Some(connections), "not connected again: {gateway}");
    }
    Ok(())
}

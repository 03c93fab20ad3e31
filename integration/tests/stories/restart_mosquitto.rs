//! The only MQTT broker goes away under load and comes back: gateways and routers return by themselves.

use crate::under_load::{begin, end};
use anyhow::{Result, ensure};
use integration::{Books, Load, Story};

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
    for router in &story.stack.bck_routers {
        ensure!(!router.is_ready().await, "a back router says that it is ready, and has no broker");
    }
    story.stack.servers.mosquittos[0].start_again().await?;
    story.stack.wait_ready().await?;
    let gateways = story.stack.emulator.json("/gateways").await?;
    for gateway in gateways.as_array().expect("a list of gateways") {
        ensure!(gateway["connections"].as_u64() >= Some(connections), "not connected again: {gateway}");
    }
    Ok(())
}

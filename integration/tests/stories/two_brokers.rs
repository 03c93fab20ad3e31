//! Two MQTT brokers that know nothing of each other. When one dies, the gateways of the other go on, and its own move.

use crate::under_load::{config, end, labels, load};
use anyhow::{Context, Result, ensure};
use integration::{Books, Load, Story, gateway_mac};
use protocol::{GatewayMac, LabelMac};
use std::{collections::HashSet, time::Duration};
use testbed::{ServersConfig, StackConfig};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_dead_brokers_gateways_move_and_the_others_go_on() -> Result<()> {
    let servers = ServersConfig { mosquittos: 2, ..ServersConfig::default() };
    let mut story = Story::start(StackConfig { servers, ..config() }).await?;
    let survivors = gateways_of_broker(&story, 1).await?;
    ensure!(survivors.len() == 4, "gateways are not spread over both brokers: {survivors:?}");
    let undisturbed = heard_only_by(&story, &survivors).await?;
    ensure!(undisturbed.len() >= 20, "only {} labels are heard by the survivor's gateways alone", undisturbed.len());

    let load = load(&story);
    load.reach(&story, 0.15).await?;
    let before = results_of(&story, &undisturbed);
    story.stack.servers.mosquittos[0].kill()?;
    let go_on = async |story: &Story| Ok(results_of(story, &undisturbed) >= before + 2 * undisturbed.len());
    story.until("labels of the surviving broker are updated", LIMIT, go_on).await?;
    all_gateways_on_broker(&story, &load, 1).await?;

    story.stack.servers.mosquittos[0].start_again().await?;
    story.stack.wait_ready().await?;
    load.reach(&story, 0.6).await?;
    story.stack.servers.mosquittos[1].kill()?;
    all_gateways_on_broker(&story, &load, 0).await?;
    story.stack.servers.mosquittos[1].start_again().await?;
    end(story, load, Books::default()).await
}

/// Waits until all gateways have moved to this broker, and updates of all labels go on through them.
async fn all_gateways_on_broker(story: &Story, load: &Load, broker: u64) -> Result<()> {
    let moved = async |story: &Story| Ok(gateways_of_broker(story, broker).await?.len() == 8);
    story.until("all gateways are on the broker that is left", LIMIT, moved).await?;
    let before = story.results.count();
    let found = async |story: &Story| Ok(story.results.count() >= before + labels().len());
    story.until("labels are found there", LIMIT, found).await?;
    load.pile_up(story, 1).await
}

async fn gateways_of_broker(story: &Story, broker: u64) -> Result<HashSet<GatewayMac>> {
    let gateways = story.stack.emulator.json("/gateways").await?;
    let gateways = gateways.as_array().context("reading the gateways")?;
    let there = |number: &u32| {
        let gateway = &gateways[*number as usize - 1];
        gateway["broker"] == broker && gateway["online"] == true
    };
    Ok((1..=8).filter(there).map(gateway_mac).collect())
}

/// Labels that no other gateway hears.
async fn heard_only_by(story: &Story, gateways: &HashSet<GatewayMac>) -> Result<HashSet<LabelMac>> {
    let mut found = HashSet::new();
    for label in labels() {
        let hearers = story.stack.emulator.json(&format!("/labels/{label}")).await?;
        let hearers = hearers["heard_by"].as_array().context("reading who hears a label")?;
        let among = |hearer: &serde_json::Value| {
            hearer["gateway"].as_str().and_then(|mac| mac.parse().ok()).is_some_and(|mac| gateways.contains(&mac))
        };
        if hearers.iter().all(among) {
            found.insert(label);
        }
    }
    Ok(found)
}

/// How many updates of these labels have ended.
fn results_of(story: &Story, labels: &HashSet<LabelMac>) -> usize {
    story.results.seen().keys().filter(|(_, label)| labels.contains(label)).count()
}

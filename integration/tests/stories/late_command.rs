//! A gateway carries out a command long after it was given up, when a newer version is shown: it is noticed, and the
//! label put right.

use anyhow::{Context, Result};
use integration::{Books, Emulator, StandaloneStory, Story, labels, price_update, quick};
use protocol::{GatewayMac, LabelMac};
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A label that two gateways hear, one much better, and one that only that gateway hears.
async fn choose(emulator: &Emulator) -> Result<(LabelMac, LabelMac, GatewayMac)> {
    let mut emulated = Vec::new();
    for label in labels(200) {
        emulated.push(emulator.label(label).await?);
    }
    let alone = |gateway| emulated.iter().find(|label| matches!(&*label.heard_by, [only] if only.gateway == gateway));
    let both = emulated.iter().find_map(|label| match &*label.heard_by {
        [best, next, ..] if best.rssi >= next.rssi + 8.0 => Some((label.mac, alone(best.gateway)?.mac, best.gateway)),
        _ => None,
    });
    both.context("the floor plan has no such labels")
}

async fn versions(emulator: &Emulator, label: LabelMac) -> Result<Vec<u64>> {
    let history = emulator.label(label).await?.history;
    Ok(history.iter().filter_map(|write| write.version).map(|version| version.get()).collect())
}

/// `late_by` must be longer than it takes to give up on a command and show the next two versions.
async fn tell(echo: &str, late_by: &str) -> Result<()> {
    let mut config = quick(4, 200);
    config.emulator_args.extend(["--echo", echo].map(str::to_owned));
    let story = Story::start(config).await?;
    let (with_another, alone, gateway) = choose(&story.emulator).await?;
    let both = [with_another, alone];
    story.backend.enqueue(&price_update(&both, 1)).await?;
    story.all_settled(LIMIT).await?;

    let before = story.emulator.gateway(gateway).await?.commands;
    story.emulator.gateway_faults(gateway, json!({"late_rate": 1, "late_by": late_by})).await?;
    story.backend.enqueue_all(&both.map(|label| price_update(&[label], 2))).await?;
    let taken = async |story: &Story| Ok(story.emulator.gateway(gateway).await?.commands == before + 2);
    story.until("both commands are with the gateway", LIMIT, taken).await?;
    story.emulator.gateway_faults(gateway, json!({})).await?;

    // One is tried again through the other gateway, one through the same.
    story.all_settled(LIMIT).await?;
    story.backend.enqueue(&price_update(&both, 3)).await?;
    story.all_settled(LIMIT).await?;
    for label in both {
        assert_eq!(
            versions(&story.emulator, label).await?,
            [1, 2, 3],
            "the late command came too early for this story"
        );
    }
    let repaired = async |story: &Story| {
        Ok(versions(&story.emulator, with_another).await?.len() == 5
            && versions(&story.emulator, alone).await?.len() == 5)
    };
    story.until("both labels went back and were put right", LIMIT, repaired).await?;
    for label in both {
        assert_eq!(versions(&story.emulator, label).await?, [1, 2, 3, 2, 3]);
    }
    let history = story.emulator.label(with_another).await?.history;
    assert_ne!(history[2].gateway, gateway, "version 3 went through the gateway that had failed");
    assert_eq!(history[3].gateway, gateway);
    assert_eq!(story.metric("bck_router_repairs_total").await?, 2.0);
    Books { may_go_back: true, ..Books::default() }.check(&story).await?;
    story.end().await
}

#[tokio::test]
async fn a_label_that_went_back_is_put_right() -> Result<()> {
    tell("body", "6s").await
}

/// After the timeout the label is in quarantine for as long again.
#[tokio::test]
async fn a_label_that_went_back_at_a_gateway_without_ids_is_put_right() -> Result<()> {
    tell("none", "9s").await
}

/// The same in one process: `tell`, with the gateways' memory of IDs in the process's own.
async fn tell_on_standalone(echo: &str, late_by: &str) -> Result<()> {
    let mut config = quick(4, 200);
    config.emulator_args.extend(["--echo", echo].map(str::to_owned));
    let mut story = StandaloneStory::begin(config).await?;
    story.process.start().await?;
    let (with_another, alone, gateway) = choose(&story.emulator).await?;
    let both = [with_another, alone];
    story.post(&[price_update(&both, 1)]).await?;
    story.all_shown(LIMIT).await?;

    let before = story.emulator.gateway(gateway).await?.commands;
    story.emulator.gateway_faults(gateway, json!({"late_rate": 1, "late_by": late_by})).await?;
    story.post(&both.map(|label| price_update(&[label], 2))).await?;
    let taken = async || Ok(story.emulator.gateway(gateway).await?.commands == before + 2);
    story.until("both commands are with the gateway", LIMIT, taken).await?;
    story.emulator.gateway_faults(gateway, json!({})).await?;
    story.all_shown(LIMIT).await?;
    story.post(&[price_update(&both, 3)]).await?;
    story.all_shown(LIMIT).await?;
    for label in both {
        assert_eq!(
            versions(&story.emulator, label).await?,
            [1, 2, 3],
            "the late command came too early for this story"
        );
    }
    let repaired = async || {
        let writes = (versions(&story.emulator, with_another).await?, versions(&story.emulator, alone).await?);
        Ok(writes.0.len() == 5 && writes.1.len() == 5)
    };
    story.until("both labels went back and were put right", LIMIT, repaired).await?;
    for label in both {
        assert_eq!(versions(&story.emulator, label).await?, [1, 2, 3, 2, 3]);
    }
    story.all_shown(LIMIT).await?;
    assert_eq!(story.process.backbone()?.metric("bck_router_repairs_total").await?, 2.0);
    story.process.stop().await?;
    story.check_books(&Books { may_go_back: true, ..Books::default() }).await
}

/// Both kinds of gateways at the same time: each story is mostly waiting.
#[tokio::test]
async fn on_standalone() -> Result<()> {
    let (with_ids, without) = tokio::join!(tell_on_standalone("body", "6s"), tell_on_standalone("none", "9s"));
    with_ids.context("gateways that echo the ID")?;
    without.context("gateways that name only the label")
}

//! One process with much to do for a gateway that is slow, or dead: what is urgent overtakes, and others are not held up.

use anyhow::{Context, Result, ensure};
use integration::{Books, Emulator, StandaloneStory, gateway_mac, label_mac, labels, price_update, quick};
use protocol::{LabelMac, Priority, Task};
use serde_json::Value;
use std::time::Duration;
use testbed::{GATEWAY_EMULATOR, Role, STANDALONE, StackConfig};

const LIMIT: Duration = Duration::from_secs(90);

/// So few permits that one gateway's labels would hold all of them, if they held any.
fn few_permits(config: StackConfig) -> StackConfig {
    config.with_env(STANDALONE, "TASK_CONCURRENCY", "4").with_env(STANDALONE, "RPC_CONCURRENCY", "8")
}

#[tokio::test]
async fn what_is_urgent_overtakes_what_is_not() -> Result<()> {
    const BULK: u32 = 1_000;
    // One label at a time: the others take more than a minute and a half, which nobody waits for.
    let slow = ["--write-time", "100ms", "--connections", "1", "--report-interval", "500ms"];
    let config = StackConfig { emulator_args: slow.map(str::to_owned).to_vec(), ..quick(1, BULK as usize + 1) };
    let mut story = StandaloneStory::begin(few_permits(config)).await?;
    story.process.start().await?;
    let bulk: Vec<_> = labels(BULK).chunks(1).map(|label| price_update(label, 1)).collect();
    story.post(&bulk).await?;
    story.reach(2, LIMIT).await?;
    let urgent = label_mac(BULK + 1);
    story.post(&[Task { priority: Priority::Urgent, ..price_update(&[urgent], 1) }]).await?;
    let shown = async || Ok(story.emulator.label(urgent).await?.shown.is_some());
    story.until("the urgent label shows its price", LIMIT, shown).await?;
    let before = story.writes().await?;
    ensure!(before < BULK as usize / 2, "{before} were before it");
    story.process.stop().await
}

const FIRST_LABEL: u32 = 5_001;
const FIRST_GATEWAY: u32 = 101;
const DEAD: u32 = 40;

/// A building of its own in the same store, with one gateway.
async fn building(story: &StandaloneStory) -> Result<Role> {
    let numbers =
        [("--gateways", 1), ("--labels", DEAD), ("--first-gateway", FIRST_GATEWAY), ("--first-label", FIRST_LABEL)];
    let args = numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
    let pace = ["--write-time", "5ms", "--report-interval", "500ms"].map(str::to_owned);
    let env = [("MQTT_URL", story.process.mqtt_url())];
    let args: Vec<_> = args.chain(pace).collect();
    let mut building = Role::start(GATEWAY_EMULATOR, &args, &env, story.process.log_dir())?;
    building.wait_ready(LIMIT).await?;
    Ok(building)
}

async fn shown_in(building: &Role) -> Result<usize> {
    let labels = building.json("/labels").await?;
    let labels = labels.as_array().context("no labels")?.iter();
    Ok(labels.filter(|label| label["shown"] != Value::Null).count())
}

#[tokio::test]
async fn a_dead_gateway_holds_nobody_up() -> Result<()> {
    let mut story = StandaloneStory::begin(few_permits(quick(2, 60))).await?;
    story.process.start().await?;
    let mut building = building(&story).await?;
    let dead: Vec<LabelMac> = (FIRST_LABEL..FIRST_LABEL + DEAD).map(label_mac).collect();
    let routed = async || {
        let view = story.get(&format!("/v1/labels/{}", dead[DEAD as usize - 1])).await;
        Ok(view.is_ok_and(|view| view["routes"].as_array().is_some_and(|routes| !routes.is_empty())))
    };
    story.until("the building's labels are heard", LIMIT, routed).await?;
    let emulator = Emulator::new(building.admin_url());
    emulator.gateway_state(gateway_mac(FIRST_GATEWAY), "hang").await?;
    let tasks: Vec<_> = dead.chunks(2).map(|some| price_update(some, 1)).collect();
    story.ask(reqwest::Method::POST, "/v1/stores/sp-014/tasks", &serde_json::json!(tasks)).await?;
    let parked = "task_worker_tasks_parked_total{reason=\"gateway_failing\"}";
    let left_alone = async || Ok(story.metric(parked).await? > 0.0);
    story.until("the gateway is left alone", LIMIT, left_alone).await?;

    let others: Vec<_> = labels(60).chunks(3).map(|some| price_update(some, 1)).collect();
    story.post(&others).await?;
    story.until("the others show their price", LIMIT, async || Ok(story.writes().await? >= 60)).await?;
    assert_eq!(shown_in(&building).await?, 0, "a dead gateway has shown something");
    emulator.gateway_state(gateway_mac(FIRST_GATEWAY), "resume").await?;
    let all = async || Ok(shown_in(&building).await? == dead.len());
    story.until("its labels show their price in the end", LIMIT, all).await?;
    story.all_shown(LIMIT).await?;
    story.process.stop().await?;
    ensure!(building.stop().await?.success(), "the emulator failed");
    story.check_books(&Books::default()).await
}

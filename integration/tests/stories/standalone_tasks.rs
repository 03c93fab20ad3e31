//! One process is asked for what is not a price for named labels: products, other actions, and what can't be used.

use crate::{
    dead_letters::unusable,
    other_actions::{self, ACTIONS, shows},
    sku,
};
use anyhow::{Context, Result, ensure};
use integration::{Books, StandaloneStory, label_mac, labels, price_update, quick};
use protocol::{LabelMac, Sku, Task, names::amqp};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

async fn running(labels: usize) -> Result<StandaloneStory> {
    let mut story = StandaloneStory::begin(quick(2, labels)).await?;
    story.process.start().await?;
    Ok(story)
}

async fn ended_with_books(mut story: StandaloneStory, books: Books) -> Result<()> {
    story.all_shown(LIMIT).await?;
    story.process.stop().await?;
    story.check_books(&books).await
}

#[tokio::test]
async fn products_and_other_actions_reach_their_labels() -> Result<()> {
    let mut story = running(30).await?;
    let (all, drill): (_, Sku) = (labels(30), "7891000100103".parse()?);
    let bind = |label: &LabelMac| json!({"label": label, "sku": drill});
    let bindings = json!(all[..20].iter().map(bind).collect::<Vec<_>>());
    let bound = story.ask(Method::PUT, "/v1/stores/sp-014/bindings", &bindings).await?;
    assert_eq!(bound["new"], 20);
    let update = sku::update(&drill, 1);
    story.post(std::slice::from_ref(&update)).await?;
    story.expect(&update, &all[..20]);
    story.all_shown(LIMIT).await?;
    let shown = story.shown().await?;
    ensure!(all[20..].iter().all(|label| shown[label].is_none()), "others than the product's labels were written to");

    let before = story.emulator.label(label_mac(1)).await?;
    let actions = ACTIONS.map(other_actions::task);
    story.post(&actions).await?;
    let done = async || {
        let mut done = true;
        for label in labels(4) {
            done &= story.emulator.label(label).await?.others == ACTIONS.len() as u64;
        }
        Ok(done)
    };
    story.until("each label has done all of it", LIMIT, done).await?;
    let after = story.emulator.label(label_mac(1)).await?;
    assert_eq!((after.writes, shows(&after)), (before.writes, shows(&before)));
    ended_with_books(story, Books::default()).await
}

#[tokio::test]
async fn what_can_not_be_used_is_kept_and_sent_again_when_it_is_told_to() -> Result<()> {
    let unusable = unusable()?;
    let mut story = StandaloneStory::begin(quick(2, 10)).await?;
    for body in unusable.keys() {
        story.put(amqp::TASKS, body, None).await?;
    }
    // As it would be if it had been given up after too many deliveries.
    let given_up = price_update(&labels(10), 1);
    story.put(amqp::DEAD_TASKS, &serde_json::to_vec(&given_up)?, Some("delivery_limit")).await?;
    story.process.start().await?;
    let all = unusable.len() as u64 + 1;
    let there = async || Ok(story.get("/v1/dead-letters").await?["total"] == all);
    story.until("all are dead letters", LIMIT, there).await?;
    check_reasons(&story.get("/v1/dead-letters").await?, &given_up, &unusable)?;

    let replay = "/v1/dead-letters/replay";
    let replayed = story.ask(Method::POST, replay, &json!({"task_ids": [given_up.task_id]})).await?;
    assert_eq!((&replayed["replayed"], &replayed["left"]), (&json!(1), &json!(all - 1)), "{replayed}");
    story.expect(&given_up, &labels(10));
    story.all_shown(LIMIT).await?;
    // Those that are of no use come back.
    let replayed = story.ask(Method::POST, replay, &json!({"all": true})).await?;
    assert_eq!(replayed["replayed"], all - 1, "{replayed}");
    let back = async || Ok(story.get("/v1/dead-letters").await?["total"] == all - 1);
    story.until("they are dead letters again", LIMIT, back).await?;
    check_reasons(&story.get("/v1/dead-letters").await?, &given_up, &unusable)?;
    let dead_letters = u32::try_from(unusable.len())?;
    ended_with_books(story, Books { dead_letters, ..Books::default() }).await
}

fn check_reasons(listed: &Value, given_up: &Task, unusable: &BTreeMap<Vec<u8>, &str>) -> Result<()> {
    for letter in listed["letters"].as_array().context("no letters")? {
        let (body, reason) =
            (letter["body"].as_str().unwrap_or_default(), letter["reason"].as_str().unwrap_or_default());
        // A long one is cut where it is shown.
        let sent = unusable.iter().find(|(sent, _)| sent.starts_with(body.as_bytes()) && letter["bytes"] == sent.len());
        let expected = match sent {
            Some((_, expected)) => *expected,
            None if letter["task_id"] == given_up.task_id.as_str() => "delivery_limit",
            None => anyhow::bail!("nobody sent {letter}"),
        };
        ensure!(reason.contains(expected), "{reason:?} does not name {expected:?}");
    }
    Ok(())
}

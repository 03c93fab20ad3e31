//! Tasks that can't be used, and tasks that nobody survives: to the dead letters with their reason, and the rest goes on.

use anyhow::{Context, Result, ensure};
use backbone::queue::{Broker, Prefetch};
use integration::{Books, Story, label_mac, labels, price_update, quick};
use protocol::names::amqp;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use testbed::{Servers, Stack};

const LIMIT: Duration = Duration::from_secs(60);

/// Body and reason of each dead letter. They stay where they are.
async fn dead_letters(story: &Story, count: usize) -> Result<Vec<(Vec<u8>, String)>> {
    let there = async |story: &Story| Ok(story.backlog(amqp::DEAD_TASKS).await? as usize == count);
    story.until(&format!("there are {count} dead letters"), LIMIT, there).await?;
    let broker = Broker::connect(&story.stack.servers.amqp_url.parse()?, "gravedigger").await?;
    let mut letters = broker.consume(amqp::DEAD_TASKS, Prefetch::Each(1000)).await?;
    let mut found = Vec::new();
    while found.len() < count {
        let letter = tokio::time::timeout(LIMIT, letters.next()).await??;
        found.push((letter.body, letter.reason.context("a dead letter without a reason")?));
    }
    broker.close().await;
    story.until("they are back in their queue", LIMIT, there).await?;
    Ok(found)
}

/// Unusable tasks, and what the reason must name.
pub(crate) fn unusable() -> Result<BTreeMap<Vec<u8>, &'static str>> {
    let with = |change: fn(&mut Value)| -> Result<Vec<u8>> {
        let mut task = serde_json::to_value(price_update(&labels(3), 1))?;
        change(&mut task);
        Ok(task.to_string().into_bytes())
    };
    Ok(BTreeMap::from([
        (b"no JSON".to_vec(), "at line 1"),
        (b"".to_vec(), "EOF"),
        (with(|task| task["fields"]["price"] = json!("-1.00"))?, "fields.price: price \"-1.00\""),
        (with(|task| task["fields"]["price"] = json!(12.9))?, "fields.price: "),
        (with(|task| task["fields"] = json!({}))?, "fields.price: absent"),
        (with(|task| task["labels"] = Value::Null)?, "labels: absent"),
        (with(|task| task["labels"] = json!(["001a2b00000g"]))?, "label MAC \"001a2b00000g\""),
        (with(|task| task["action"] = json!("explode"))?, "action \"explode\""),
        (with(|task| task["version"] = json!(-1))?, "version"),
        (with(|task| task["store"] = json!("sp.014"))?, "store \"sp.014\""),
        (with(|task| task["timeout_ms"] = json!(0))?, "timeout_ms: 0"),
        (with(|task| task["fields"]["name"] = json!("x".repeat(1 << 20)))?, "bytes, expected at most 1048576"),
    ]))
}

#[tokio::test]
async fn tasks_that_can_not_be_used_are_kept_with_their_reason() -> Result<()> {
    let story = Story::start(quick(2, 60)).await?;
    let unusable = unusable()?;
    let mut good = labels(60).into_iter();
    for body in unusable.keys() {
        story.backend.publish(body).await?;
        story.backend.enqueue(&price_update(&good.by_ref().take(5).collect::<Vec<_>>(), 1)).await?;
    }
    story.all_settled(LIMIT).await?;

    for (body, reason) in dead_letters(&story, unusable.len()).await? {
        let expected = unusable.get(&body).context("a dead letter that nobody sent, or a changed one")?;
        assert!(reason.contains(expected), "{reason:?} does not name {expected:?}");
    }
    Books { dead_letters: u32::try_from(unusable.len())?, ..Books::default() }.check(&story).await?;
    assert_eq!(story.results.count(), 60, "the good ones were shown, and nobody else was heard of");
    story.end().await
}

/// How often a worker may die with a task in hand in the next story.
const DELIVERIES: u32 = 2;

/// A backbone whose operator has lowered the limit of deliveries.
async fn impatient() -> Result<Story> {
    let config = quick(2, 60);
    let servers = Servers::start(&config.servers).await?;
    let limit = json!({"delivery-limit": DELIVERIES});
    servers.management().set_policy(servers.name(), "tasks", "^esl\\.tasks$", limit).await?;
    Story::on(Stack::on(servers, config).await?).await
}

#[tokio::test]
async fn a_task_that_kills_its_workers_becomes_a_dead_letter() -> Result<()> {
    let mut story = impatient().await?;
    // A label that holds its task up for as long as it takes to kill the worker.
    let silent = label_mac(60);
    story.emulator.label_faults(silent, json!({"silent": true})).await?;
    let deadly = serde_json::to_vec(&price_update(&[silent], 1))?;
    story.backend.publish(&deadly).await?;

    let mut killed = 0;
    while story.backlog(amqp::DEAD_TASKS).await? == 0 {
        ensure!(killed <= DELIVERIES, "{killed} workers died of it, and it is delivered again");
        let in_hand = async |story: &Story| Ok(busy_worker(story).await?.is_some() || is_dead(story).await?);
        story.until("somebody has it in hand, or it is dead", LIMIT, in_hand).await?;
        let Some(busy) = busy_worker(&story).await? else { continue };
        story.stack.workers[busy].kill()?;
        killed += 1;
        story.stack.workers[busy].start_again()?;
        story.stack.workers[busy].wait_ready(LIMIT).await?;
    }
    assert_eq!(killed, DELIVERIES + 1, "it was given up too early");
    let letters = dead_letters(&story, 1).await?;
    assert_eq!(letters, [(deadly, "delivery_limit".to_owned())]);

    // Others go on.
    story.backend.enqueue(&price_update(&labels(59), 1)).await?;
    story.all_settled(LIMIT).await?;
    Books { dead_letters: 1, ..Books::default() }.check(&story).await?;
    assert_eq!(story.results.count(), 59);
    story.end().await
}

async fn is_dead(story: &Story) -> Result<bool> {
    Ok(story.backlog(amqp::DEAD_TASKS).await? > 0)
}

async fn busy_worker(story: &Story) -> Result<Option<usize>> {
    for (at, worker) in story.stack.workers.iter().enumerate() {
        if worker.metric("task_worker_tasks_in_hand").await? > 0.0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

//! A batch is paused, resumed and cancelled under load, while processes are killed: nothing more is sent of what is
//! held, nothing runs out of time, and each label comes to exactly one outcome.

use anyhow::{Context, Result, ensure};
use backbone::{
    ledger::{BatchControl, BatchKey},
    service::now,
};
use integration::{Backend, Books, StandaloneStory, Story, label_mac, labels, price_update, quick};
use protocol::{BatchState, CANCELLED, LabelMac, Outcome, Priority, Task};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use testbed::{BCK_ROUTER, FWD_ROUTER, STANDALONE, StackConfig, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(90);
const LABELS: u32 = 400;
/// A batch is paused for longer than its tasks have time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Workers look twice a second whether batches are paused. Until then, tasks that wait for a gateway are still sent, and
/// for a moment all of them may wait.
const ALL_KNOW: Duration = Duration::from_secs(3);

/// Two gateways that write some 80 labels a second. No RPC times out, so that none is written after it has ended.
fn config(labels: u32) -> StackConfig {
    let args = ["--write-time", "100ms", "--report-interval", "500ms"];
    let config = StackConfig { emulator_args: args.map(str::to_owned).to_vec(), ..quick(2, labels as usize) };
    let roles = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER, STANDALONE];
    roles.into_iter().fold(config, |config, role| config.with_env(role, "RPC_TIMEOUT", "10s"))
}

fn of_batch(labels: &[LabelMac], batch: &str, priority: Priority) -> Vec<Task> {
    let timeout_ms = u64::try_from(TIMEOUT.as_millis()).ok();
    let task =
        |labels: &[LabelMac]| Task { batch: batch.parse().ok(), timeout_ms, priority, ..price_update(labels, 1) };
    labels.chunks(2).map(task).collect()
}

async fn decide(story: &Story, batch: &str, state: BatchState) -> Result<()> {
    let key = BatchKey { store: Backend::store(), batch: batch.parse()? };
    let counts = story.ledger.control_batch(&key, &BatchControl { state, by: "story".to_owned(), at: now() }).await?;
    ensure!(counts.state == state, "{counts:?}");
    Ok(())
}

/// Waits until so many labels have ended.
async fn ended(story: &Story, count: usize) -> Result<()> {
    story.until(&format!("{count} labels have ended"), LIMIT, async |story| Ok(story.results.count() >= count)).await
}

/// Waits until nothing is with a worker or a gateway, and all that is not done waits for what was decided then.
async fn at_rest(story: &Story, decided: Instant) -> Result<()> {
    let at_rest = async |story: &Story| {
        if decided.elapsed() < ALL_KNOW {
            return Ok(false);
        }
        let in_hand =
            story.metric("task_worker_tasks_in_hand").await? + story.metric("task_worker_rpcs_in_flight").await?;
        Ok(in_hand == 0.0 && story.backlog("esl.tasks").await? == 0 && story.waiting().await? > 0)
    };
    story.until("all that is not done waits", LIMIT, at_rest).await
}

async fn writes(story: &Story) -> Result<u64> {
    let mut writes = 0;
    for label in labels(LABELS) {
        writes += story.emulator.label(label).await?.writes;
    }
    Ok(writes)
}

/// How the labels of a batch ended.
async fn balance(story: &Story, batch: &str) -> Result<BTreeMap<Outcome, u64>> {
    Ok(story.ledger.progress(&batch.parse()?).await?.outcomes)
}

#[tokio::test]
async fn a_paused_batch_sends_nothing_and_loses_no_time() -> Result<()> {
    let mut story = Story::start(config(LABELS + 2)).await?;
    story.backend.enqueue_all(&of_batch(&labels(LABELS), "night", Priority::Normal)).await?;
    ended(&story, LABELS as usize / 10).await?;
    decide(&story, "night", BatchState::Paused).await?;
    let paused = Instant::now();
    at_rest(&story, paused).await?;
    let (sent, done) = (writes(&story).await?, story.results.count());
    ensure!(done < LABELS as usize, "all was done before it was paused");
    // Nobody else is held up, and a worker that is killed loses nothing of what waits.
    story.stack.workers[0].kill()?;
    let other = price_update(&[label_mac(LABELS + 1)], 1);
    story.backend.enqueue(&other).await?;
    let others = [(other.task_id.clone(), label_mac(LABELS + 1))];
    ensure!(story.results.wait_for(&others, LIMIT).await, "another task was held up");
    story.stack.workers[0].start_again()?;
    story.until("longer than its tasks have time", LIMIT, async |_| Ok(paused.elapsed() > TIMEOUT)).await?;
    assert_eq!((writes(&story).await?, story.results.count()), (sent, done + 1), "something of it was sent");

    decide(&story, "night", BatchState::Running).await?;
    story.all_settled(LIMIT).await?;
    assert_eq!(balance(&story, "night").await?, [(Outcome::Shown, u64::from(LABELS))].into());
    story.check_books().await?;
    story.end().await
}

#[tokio::test]
async fn a_cancelled_batch_ends_each_label_once() -> Result<()> {
    let story = Story::start(config(LABELS)).await?;
    let (normal, urgent) = (labels(LABELS - 40), labels(LABELS).split_off(LABELS as usize - 40));
    story.backend.enqueue_all(&of_batch(&normal, "night", Priority::Normal)).await?;
    ended(&story, LABELS as usize / 10).await?;
    // What is held when it comes, urgent or not, is not even begun.
    decide(&story, "dawn", BatchState::Paused).await?;
    story.backend.enqueue_all(&of_batch(&urgent, "dawn", Priority::Urgent)).await?;
    decide(&story, "night", BatchState::Paused).await?;
    at_rest(&story, Instant::now()).await?;
    decide(&story, "dawn", BatchState::Cancelled).await?;
    decide(&story, "night", BatchState::Cancelled).await?;
    story.all_settled(LIMIT).await?;

    let night = balance(&story, "night").await?;
    assert_eq!(night.values().sum::<u64>(), u64::from(LABELS) - 40, "{night:?}");
    assert!(night.keys().all(|outcome| [Outcome::Shown, Outcome::Rejected].contains(outcome)), "{night:?}");
    assert!(night.contains_key(&Outcome::Rejected), "all was done before it was cancelled");
    assert_eq!(balance(&story, "dawn").await?, [(Outcome::Rejected, 40)].into());
    let mut troubled = Vec::new();
    for ((_, label), results) in story.results.seen() {
        if results[0].outcome == Outcome::Rejected {
            assert_eq!(results[0].reason.as_deref(), Some(CANCELLED), "{results:?}");
            troubled.push(label);
        }
    }
    for label in urgent {
        assert_eq!(story.emulator.label(label).await?.writes, 0, "{label} was written to");
    }
    Books { troubled, ..Books::default() }.check(&story).await?;
    story.end().await
}

/// Asks the API of a process, once it answers.
async fn ask(url: &str, method: reqwest::Method, path: &str, body: &Value) -> Result<Value> {
    let http = testbed::http_builder().build().unwrap_or_default();
    let answer = http.request(method, format!("{url}{path}")).json(body).timeout(LIMIT).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}

async fn set(url: &str, batch: &str, state: &str) -> Result<()> {
    let path = format!("/v1/stores/{}/batches/{batch}/state", Backend::store());
    let said = ask(url, reqwest::Method::PUT, &path, &json!({ "state": state })).await?;
    ensure!(said["state"] == state && said["by"] == "local", "{said}");
    Ok(())
}

/// Waits until this holds of what the process answers.
async fn until(url: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let said = ask(url, reqwest::Method::GET, path, &Value::Null).await;
        match said {
            Ok(said) if holds(&said) => return Ok(said),
            said if Instant::now() > deadline => return said.context("it never came to that"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test]
async fn without_servers_a_held_batch_survives_a_killed_process() -> Result<()> {
    let mut story = StandaloneStory::begin(config(LABELS)).await?;
    let all = labels(LABELS);
    let (promo, night) = all.split_at(LABELS as usize / 2);
    let tasks = [of_batch(promo, "promo", Priority::Normal), of_batch(night, "night", Priority::Normal)];
    let tasks: Vec<Task> = (0..tasks[0].len()).flat_map(|at| [tasks[0][at].clone(), tasks[1][at].clone()]).collect();
    story.enqueue_all(&tasks).await?;
    story.process.start().await?;
    story.reach(LABELS as usize / 10, LIMIT).await?;
    let url = story.process.api_url();
    set(&url, "promo", "paused").await?;
    set(&url, "night", "paused").await?;
    let paused = Instant::now();
    let held = |said: &Value| said["tasks"] == 0 && said["waiting"].as_u64() > Some(0) && paused.elapsed() > ALL_KNOW;
    until(&url, "/v1/backlog", held).await?;
    story.idle(LIMIT).await?;
    let sent = story.writes().await?;
    ensure!(sent < LABELS as usize, "all was done before it was paused");
    story.process.kill()?;
    story.process.start().await?;
    until(&url, "/v1/backlog", held).await?;
    story.idle(LIMIT).await?;
    assert_eq!(story.writes().await?, sent, "something was sent of batches that are paused");

    set(&url, "promo", "running").await?;
    set(&url, "night", "cancelled").await?;
    let half = u64::from(LABELS / 2);
    let shown = until(&url, "/v1/batches/promo", |said| said["done"] == half).await?;
    assert_eq!(shown["outcomes"]["shown"], half, "{shown}");
    let cancelled = until(&url, "/v1/batches/night", |said| said["done"] == half).await?;
    let (shown, rejected) = (&cancelled["outcomes"]["shown"], &cancelled["outcomes"]["rejected"]);
    assert_eq!(shown.as_u64().unwrap() + rejected.as_u64().unwrap(), half, "{cancelled}");
    ensure!(rejected != 0, "all was done before it was cancelled");
    story.idle(LIMIT).await?;
    story.process.stop().await?;
    story.check_books(&Books { troubled: night.to_vec(), ..Books::default() }).await
}

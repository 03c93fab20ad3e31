//! Labels of a gateway that takes no more wait in the task queue: nobody else waits with them, and none is lost.

use anyhow::{Result, ensure};
use integration::{Answered, ScriptedRouter, Story, label_mac, labels, price_update, quick};
use protocol::{LabelMac, Outcome, Task, Turn, WaitFor};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testbed::{StackConfig, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::ZERO;
const FULL: u32 = 300;

/// Workers that have few permits, and nobody who routes.
fn config(workers: usize) -> StackConfig {
    let config = StackConfig { workers, fwd_routers: 0, bck_routers: 0, ..quick(1, 1) };
    config.with_env(TASK_WORKER, "TASK_CONCURRENCY", "4").with_env(TASK_WORKER, "RPC_CONCURRENCY", "4")
}

/// A gateway that hears the first labels takes nothing until it is opened; others take everything.
async fn with_a_full_gateway(workers: usize) -> Result<(Story, ScriptedRouter, Arc<AtomicBool>)> {
    let story = Story::start(config(workers)).await?;
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let full = label_mac(FULL);
    let router = ScriptedRouter::start(&story, move |asked| {
        if asked.label > full || is_open.load(Ordering::Relaxed) {
            Answered::Ack(SOON)
        } else {
            Answered::Wait(WaitFor::GatewayFull, Duration::from_millis(2_500))
        }
    });
    let router = router.await?;
    Ok((story, router, open))
}

fn times_asked(router: &ScriptedRouter) -> HashMap<LabelMac, usize> {
    let mut times = HashMap::new();
    for asked in router.asked() {
        *times.entry(asked.label).or_default() += 1;
    }
    times
}

/// Waits until each label of the full gateway was asked so often.
async fn asked(story: &Story, router: &ScriptedRouter, often: usize) -> Result<()> {
    let each = async |_: &Story| {
        let times = times_asked(router);
        Ok(labels(FULL).iter().all(|label| times.get(label).is_some_and(|times| *times >= often)))
    };
    story.until(&format!("each label was asked {often} times"), LIMIT, each).await
}

#[tokio::test]
async fn labels_of_a_full_gateway_hold_nobody_up() -> Result<()> {
    let (story, router, open) = with_a_full_gateway(1).await?;
    // One of two labels is somebody else's: it is done at once, and not again when the other comes back. Less time than
    // they wait: waiting is none of it.
    let task = |(index, label): (usize, LabelMac)| Task {
        timeout_ms: Some(3_000),
        batch: "night".parse().ok(),
        ..price_update(&[label, label_mac(FULL + 1 + index as u32)], 1)
    };
    let tasks: Vec<Task> = labels(FULL).into_iter().enumerate().map(task).collect();
    story.backend.enqueue_all(&tasks).await?;
    let half = async |story: &Story| Ok(story.results.count() == FULL as usize);
    story.until("the labels of the other gateway are done", LIMIT, half).await?;
    asked(&story, &router, 1).await?;
    let other = price_update(&[label_mac(9_999)], 1);
    story.backend.enqueue(&other).await?;
    ensure!(story.results.wait_for(&[(other.task_id.clone(), label_mac(9_999))], LIMIT).await, "it was held up");
    asked(&story, &router, 3).await?;
    assert_eq!(story.results.count(), FULL as usize + 1, "no place came free");
    assert!(story.metric("task_worker_tasks_parked_total{reason=\"gateway_full\"}").await? >= f64::from(2 * FULL));
    let times = times_asked(&router);
    assert!((1..=FULL).all(|number| times[&label_mac(FULL + number)] == 1), "a label that was done was asked again");

    open.store(true, Ordering::Relaxed);
    story.all_settled(LIMIT).await?;
    for (pair, results) in story.results.seen() {
        assert_eq!(results.len(), 1, "{pair:?}: {results:?}");
        assert_eq!((results[0].outcome, results[0].attempts), (Outcome::Shown, 1), "{pair:?}");
    }
    let first_and_others =
        |asked: &[Turn]| asked[0] == Turn::Newcomer && asked[1..].iter().all(|turn| *turn == Turn::Waited);
    let mut turns: HashMap<LabelMac, Vec<Turn>> = HashMap::new();
    for asked in router.asked() {
        turns.entry(asked.label).or_default().push(asked.turn);
    }
    assert!(turns.values().all(|turns| first_and_others(turns)), "{turns:?}");
    let progress = story.ledger.progress(&"night".parse()?).await?;
    assert_eq!(progress.outcomes, [(Outcome::Shown, u64::from(2 * FULL))].into());
    quiet(&story).await?;
    story.end().await
}

/// Nothing is left behind.
async fn quiet(story: &Story) -> Result<()> {
    let quiet = async |story: &Story| {
        Ok(story.waiting().await? == 0 && story.metric("task_worker_tasks_in_hand").await? == 0.0)
    };
    story.until("no task waits or is in hand", LIMIT, quiet).await
}

#[tokio::test]
async fn workers_that_are_killed_while_labels_wait_lose_none() -> Result<()> {
    let (mut story, router, open) = with_a_full_gateway(2).await?;
    let tasks: Vec<Task> =
        labels(FULL).chunks(3).map(|labels| Task { batch: "night".parse().ok(), ..price_update(labels, 1) }).collect();
    story.backend.enqueue_all(&tasks).await?;
    asked(&story, &router, 1).await?;
    for (worker, often) in [(0, 2), (1, 3)] {
        story.stack.workers[worker].kill()?;
        asked(&story, &router, often).await?;
        story.stack.workers[worker].start_again()?;
    }
    for worker in &mut story.stack.workers {
        worker.kill()?;
    }
    // A newer price for some, meanwhile.
    let newer = price_update(&labels(30), 2);
    story.backend.enqueue(&newer).await?;
    for worker in &mut story.stack.workers {
        worker.start_again()?;
        worker.wait_ready(LIMIT).await?;
    }
    let superseded = async |story: &Story| Ok(story.results.count() >= 30);
    story.until("those that are superseded are done, place or not", LIMIT, superseded).await?;
    open.store(true, Ordering::Relaxed);
    story.all_settled(LIMIT).await?;
    for ((task, label), results) in story.results.seen() {
        let expected =
            if label <= label_mac(30) && task != newer.task_id { Outcome::Superseded } else { Outcome::Shown };
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        assert_eq!(results[0].outcome, expected, "{results:?}");
    }
    let progress = story.ledger.progress(&"night".parse()?).await?;
    let expected = [(Outcome::Shown, u64::from(FULL) - 30), (Outcome::Superseded, 30)];
    assert_eq!(progress.outcomes, expected.into());
    quiet(&story).await?;
    story.end().await
}

#[tokio::test]
async fn waiting_for_a_gateway_that_fails_ends_at_the_deadline() -> Result<()> {
    let story = Story::start(config(1)).await?;
    let router = ScriptedRouter::start(&story, |_| Answered::Wait(WaitFor::GatewayFailing, Duration::from_secs(1)));
    let router = router.await?;
    let task = Task { timeout_ms: Some(4_000), ..price_update(&labels(2), 1) };
    story.backend.enqueue(&task).await?;
    story.all_settled(LIMIT).await?;
    for (_, results) in story.results.seen() {
        let result = &results[0];
        assert_eq!((result.outcome, result.attempts), (Outcome::Unreachable, 0));
        assert_eq!(result.reason.as_deref(), Some("the gateway keeps failing, and is left alone for a while"));
        assert!((3_800..30_000).contains(&result.latency_ms), "{result:?}");
    }
    assert!(router.asked().iter().all(|asked| asked.turn == Turn::Newcomer), "it holds no place");
    quiet(&story).await?;
    story.end().await
}

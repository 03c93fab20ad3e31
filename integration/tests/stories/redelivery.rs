//! A task that is delivered more than once has one outcome per label.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use integration::{Story, labels, price_update, quick};
use protocol::Outcome;
use serde_json::json;
use std::time::Duration;
use testbed::StackConfig;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_task_that_is_published_five_times_has_one_outcome() -> Result<()> {
    let story = Story::start(StackConfig { workers: 3, ..quick(3, 60) }).await?;
    for version in 1..=10 {
        let task = price_update(&labels(60), version);
        try_join_all((0..5).map(|_| story.backend.enqueue(&task))).await?;
        // Every delivery publishes the results.
        let all_there = async |story: &Story| {
            let results = story.results.seen();
            let published = |label| results.get(&(task.task_id.clone(), label)).map_or(0, Vec::len);
            Ok(labels(60).into_iter().all(|label| published(label) == 5))
        };
        story.until("each delivery has published its results", LIMIT, all_there).await?;
    }
    story.check_books().await?;
    for ((task, label), results) in story.results.seen() {
        assert_eq!(results[0].outcome, Outcome::Shown, "{task} for {label}");
        assert!(results[0].gateway.is_some(), "{task} for {label}: {:?}", results[0]);
    }
    for label in labels(60) {
        assert_eq!(story.ledger.history(label, 100).await?.len(), 10, "{label}");
    }
    story.end().await
}

#[tokio::test]
async fn a_task_whose_worker_was_killed_is_finished_by_another() -> Result<()> {
    let mut story = Story::start(quick(3, 60)).await?;
    let silent = labels(60)[30];
    story.emulator.label_faults(silent, json!({"silent": true})).await?;
    let task = price_update(&labels(60), 1);
    story.backend.enqueue(&task).await?;
    let all_but_one = async |story: &Story| Ok(story.results.count() == 59);
    story.until("the worker is in the midst of it", LIMIT, all_but_one).await?;
    let before = story.results.seen();

    let mut busy = None;
    for (at, worker) in story.stack.workers.iter().enumerate() {
        if worker.metric("task_worker_tasks_in_hand").await? == 1.0 {
            busy = Some(at);
        }
    }
    let busy = busy.context("no worker has the task in hand")?;
    story.stack.workers[busy].kill()?;
    let again = async |story: &Story| {
        let results = story.results.seen();
        Ok(results.len() == 59 && results.values().all(|results| results.len() == 2))
    };
    story.until("the other has it, and has published what was recorded", LIMIT, again).await?;
    story.emulator.label_faults(silent, json!({})).await?;
    story.all_settled(LIMIT).await?;
    story.stack.workers[busy].start_again()?;
    story.stack.workers[busy].wait_ready(LIMIT).await?;

    story.check_books().await?;
    for label in labels(60) {
        assert_eq!(story.emulator.label(label).await?.writes, 1, "{label}: what was shown was written again");
    }
    let after = story.results.seen();
    assert!(before.iter().all(|(pair, results)| after[pair][0] == results[0]));
    assert_eq!(after[&(task.task_id, silent)][0].outcome, Outcome::Shown);
    story.end().await
}

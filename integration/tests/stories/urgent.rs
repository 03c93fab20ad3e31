//! What is urgent overtakes what is not.

use anyhow::Result;
use integration::{Answered, ScriptedRouter, Story, label_mac, labels, price_update, quick};
use protocol::{Outcome, Priority, Task, Turn, WaitFor};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testbed::{StackConfig, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(90);
const BULK: u32 = 1_000;

fn urgent(label: u32) -> Task {
    Task { priority: Priority::Urgent, ..price_update(&[label_mac(label)], 1) }
}

#[tokio::test]
async fn an_urgent_task_overtakes_a_thousand_others() -> Result<()> {
    let config = StackConfig { workers: 1, fwd_routers: 0, bck_routers: 0, ..quick(1, 1) };
    let config = config
        .with_env(TASK_WORKER, "TASK_CONCURRENCY", "8")
        .with_env(TASK_WORKER, "RPC_CONCURRENCY", "4")
        .with_env(TASK_WORKER, "RPC_TIMEOUT", "30s");
    let story = Story::start(config).await?;
    let hurry = Arc::new(AtomicBool::new(false));
    let hurried = Arc::clone(&hurry);
    // What is not urgent takes its time, and has every permit.
    let router = ScriptedRouter::start(&story, move |asked| match asked.turn {
        Turn::Urgent if asked.label == label_mac(5_003) && !hurried.load(Ordering::Relaxed) => {
            Answered::Wait(WaitFor::GatewayFull, Duration::from_secs(60))
        }
        Turn::Newcomer if !hurried.load(Ordering::Relaxed) => Answered::Ack(Duration::from_secs(1)),
        _ => Answered::Ack(Duration::ZERO),
    });
    let router = router.await?;
    // In the queue of all others, but ahead of them: its RPCs are urgent all the same.
    let astray = urgent(5_001);
    story.backend.publish(&serde_json::to_vec(&astray)?).await?;
    let bulk: Vec<Task> = labels(BULK).chunks(1).map(|label| price_update(label, 1)).collect();
    story.backend.enqueue_all(&bulk).await?;
    let under_way = async |_: &Story| Ok(router.asked().len() >= 4);
    story.until("the bulk is under way", LIMIT, under_way).await?;

    let overtaking = [urgent(5_002), urgent(5_003)];
    story.backend.enqueue_all(&overtaking).await?;
    let ended = story.results.wait_for(&[(overtaking[0].task_id.clone(), label_mac(5_002))], LIMIT).await;
    assert!(ended, "it waits behind the others");
    assert!(story.results.count() < BULK as usize / 10, "{} were before it", story.results.count());
    // However long it is told to wait, it is asked again soon.
    let again =
        async |_: &Story| Ok(router.asked().iter().filter(|asked| asked.label == label_mac(5_003)).count() >= 3);
    story.until("an urgent label is asked again soon", LIMIT, again).await?;
    assert!(story.results.count() < BULK as usize / 2, "{} were before it", story.results.count());

    hurry.store(true, Ordering::Relaxed);
    story.all_settled(LIMIT).await?;
    assert!(story.results.wait_for(&[(astray.task_id, label_mac(5_001))], LIMIT).await);
    assert!(story.results.seen().values().all(|results| results[0].outcome == Outcome::Shown));
    for asked in router.asked() {
        assert_eq!(asked.turn == Turn::Urgent, asked.label > label_mac(5_000), "{asked:?}");
    }
    story.end().await
}

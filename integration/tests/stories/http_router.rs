//! The HTTP-RPC design, which the backbone is compared with: right with one replica, and misrouting with two.

use anyhow::Result;
use integration::{Story, labels, price_update, quick};
use std::time::{Duration, Instant};
use testbed::{HTTP_ROUTER, StackConfig, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(90);
const TIMEOUTS: &str = "task_worker_rpcs_total{end=\"timeout\"}";
const MISROUTES: &str = "http_router_misroutes_total";

fn over_http(replicas: usize, labels: usize) -> StackConfig {
    StackConfig { fwd_routers: 0, bck_routers: 1, http_routers: replicas, ..quick(4, labels) }
}

#[tokio::test]
async fn one_replica_answers_what_it_is_asked() -> Result<()> {
    let story = Story::start(over_http(1, 400)).await?;
    for version in [1, 2] {
        let tasks: Vec<_> = labels(400).chunks(2).map(|pair| price_update(pair, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
        story.all_settled(LIMIT).await?;
    }
    story.check_books().await?;
    assert_eq!(story.metric("task_worker_outcomes_total{outcome=\"shown\"}").await?, 800.0);
    assert!(story.metric("http_router_replies_total").await? >= 800.0);
    assert_eq!(story.metric(MISROUTES).await?, 0.0);
    assert_eq!(story.metric("http_router_registry_errors_total").await?, 0.0);
    assert_eq!(story.metric("http_router_requests_held").await?, 0.0);
    story.end().await
}

/// The MQTT broker deals answers to either replica, whoever asked: what the wrong one gets is lost, so the worker waits
/// until the timeout and tries again. It is still right in the end, at that cost.
#[tokio::test]
async fn two_replicas_take_each_others_answers() -> Result<()> {
    let config = [TASK_WORKER, HTTP_ROUTER]
        .into_iter()
        .fold(over_http(2, 10), |config, role| config.with_env(role, "RPC_TIMEOUT", "500ms"));
    let story = Story::start(config).await?;
    let began = Instant::now();
    let mut version = 0;
    // It may happen that every answer of a round comes to the right one.
    while story.metric(MISROUTES).await? == 0.0 {
        assert!(began.elapsed() < LIMIT, "no answer came to the wrong replica");
        version += 1;
        let tasks: Vec<_> = labels(10).chunks(2).map(|pair| price_update(pair, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
        story.all_settled(LIMIT).await?;
    }
    story.check_books().await?;
    let (misroutes, timeouts) = (story.metric(MISROUTES).await?, story.metric(TIMEOUTS).await?);
    assert!(timeouts >= misroutes, "{misroutes} answers came to the wrong replica, but only {timeouts} RPCs timed out");
    story.end().await
}

//! Every replica of every role is replaced in turn under load: each drains and exits in order, and nothing has to be
//! tried again.

use crate::under_load::{SETTLE_LIMIT, config, load, settle};
use anyhow::{Context, Result, ensure};
use integration::{Load, Story};
use testbed::{BCK_ROUTER, FWD_ROUTER, Role, Stack, TASK_WORKER};

/// Long enough that nothing takes as long which is not lost, however busy the machine.
const RPC_TIMEOUT_SECONDS: u64 = 10;

#[tokio::test]
async fn every_replica_is_replaced_under_load() -> Result<()> {
    let timeout = format!("{RPC_TIMEOUT_SECONDS}s");
    let roles = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER].into_iter();
    let config = roles.fold(config(), |config, role| config.with_env(role, "RPC_TIMEOUT", &timeout));
    let mut story = Story::start(config).await?;
    let load = load(&story);
    replace_both(&mut story, &load, 0.1, |stack| &mut stack.fwd_routers).await?;
    replace_both(&mut story, &load, 0.3, |stack| &mut stack.bck_routers).await?;
    replace_both(&mut story, &load, 0.5, |stack| &mut stack.workers).await?;
    load.pile_up(&story, 1).await?;
    settle(&mut story, load).await?;
    let results = story.results.seen();
    let slowest = results.values().flatten().max_by_key(|result| result.latency_ms).context("finding a result")?;
    ensure!(slowest.latency_ms < RPC_TIMEOUT_SECONDS * 1000, "an RPC was lost in an orderly restart: {slowest:?}");
    story.check_books().await?;
    story.end().await
}

async fn replace_both(
    story: &mut Story,
    load: &Load,
    part: f64,
    replicas: fn(&mut Stack) -> &mut Vec<Role>,
) -> Result<()> {
    for (replica, part) in [(0, part), (1, part + 0.1)] {
        load.reach(story, part).await?;
        let role = &mut replicas(&mut story.stack)[replica];
        let status = role.stop().await.with_context(|| format!("stopping {} {replica}", role.name()))?;
        ensure!(status.success(), "{} {replica} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
        role.start_again()?;
        role.wait_ready(SETTLE_LIMIT).await?;
    }
    Ok(())
}

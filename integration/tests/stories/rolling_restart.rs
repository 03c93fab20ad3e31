//! Every replica of every role is replaced in turn under load: each drains and exits in order.

use crate::under_load::{begin, end};
use anyhow::{Context, Result, ensure};
use integration::{Books, Load, Story};
use testbed::{Role, Stack};

type Replicas = fn(&mut Stack) -> &mut Vec<Role>;

const ROUTERS: [Replicas; 2] = [|stack| &mut stack.fwd_routers, |stack| &mut stack.bck_routers];
const WORKERS: Replicas = |stack| &mut stack.workers;

#[tokio::test]
async fn every_replica_is_replaced_under_load() -> Result<()> {
    let (mut story, load) = begin().await?;
    let mut part = 0.1;
    for replicas in ROUTERS.into_iter().chain([WORKERS]) {
        for replica in 0..2 {
            load.reach(&story, part).await?;
            replace(&mut story, replicas, replica).await?;
            part += 0.1;
        }
    }
    still_under_way(&story, &load).await?;
    end(story, load, Books::default()).await
}

async fn still_under_way(story: &Story, load: &Load) -> Result<()> {
    load.pile_up(story, 1).await
}

async fn replace(story: &mut Story, replicas: Replicas, replica: usize) -> Result<()> {
    let role = &mut replicas(&mut story.stack)[replica];
    let status = role.stop().await.with_context(|| format!("stopping {} {replica}", role.name()))?;
    ensure!(status.success(), "{} {replica} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
    role.start_again()?;
    role.wait_ready(crate::under_load::SETTLE_LIMIT).await
}

//! A gateway that is slow, and then dead, with real routers: its labels wait in the queue, nobody else waits with them,
//! and each has its price in the end.

use anyhow::{Context, Result, ensure};
use integration::{Emulator, Story, gateway_mac, label_mac, labels, price_update, quick};
use protocol::{LabelMac, Outcome, Task};
use std::time::Duration;
use testbed::{GATEWAY_EMULATOR, Role, TASK_WORKER};

const LIMIT: Duration = Duration::from_secs(90);
const OTHERS: u32 = 100;
const FIRST_SLOW_LABEL: u32 = 1_001;
const FIRST_SLOW_GATEWAY: u32 = 101;
const SLOW: u32 = 120;

/// Four gateways, and one in a building of its own, which writes 20 labels per second and has room for 8 more.
struct Rig {
    story: Story,
    building: Role,
    slow: Emulator,
}

impl Rig {
    async fn set() -> Result<Self> {
        // So few that a slow gateway's labels would hold all of them, if they held any.
        let config = quick(4, OTHERS as usize).with_env(TASK_WORKER, "TASK_CONCURRENCY", "4");
        let story = Story::start(config.with_env(TASK_WORKER, "RPC_CONCURRENCY", "8")).await?;
        let numbers = [("--gateways", 1), ("--labels", SLOW), ("--connections", 2), ("--write-queue", 8)];
        let first = [("--first-gateway", FIRST_SLOW_GATEWAY), ("--first-label", FIRST_SLOW_LABEL)];
        let numbers = numbers.into_iter().chain(first);
        let args = numbers.flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
        let pace = ["--write-time", "100ms", "--report-interval", "500ms"].map(str::to_owned);
        let args: Vec<_> = args.chain(pace).collect();
        let mut building = Role::start(GATEWAY_EMULATOR, &args, &story.stack.servers.env(), story.stack.log_dir())?;
        building.wait_ready(LIMIT).await?;
        let slow = Emulator::new(building.admin_url());
        Ok(Self { story, building, slow })
    }

    async fn parked(&self, reason: &str) -> Result<f64> {
        self.story.metric(&format!("task_worker_tasks_parked_total{{reason=\"{reason}\"}}")).await
    }

    /// Updates the labels of the other gateways, and waits until they are shown; how many of the slow one's are by then.
    async fn update_others(&self, version: u64) -> Result<usize> {
        let tasks: Vec<_> = labels(OTHERS).chunks(5).map(|some| price_update(some, version)).collect();
        self.story.backend.enqueue_all(&tasks).await?;
        let expected: Vec<_> = tasks
            .iter()
            .flat_map(|task| task.labels.iter().flatten().map(|label| (task.task_id.clone(), *label)))
            .collect();
        ensure!(self.story.results.wait_for(&expected, LIMIT).await, "the other gateways' labels were held up");
        let slow = |label: &LabelMac| *label >= label_mac(FIRST_SLOW_LABEL);
        Ok(self.story.results.seen().keys().filter(|(_, label)| slow(label)).count())
    }

    /// Each label of the slow gateway shows this, as far as the ledger and it know.
    async fn check(&self, version: u64) -> Result<()> {
        for label in slow_labels() {
            let shown = self.slow.label(label).await?.shown.context("it shows nothing")?.version;
            let recorded = self.story.ledger.label(label).await?.and_then(|record| record.shown);
            let recorded = recorded.context("nothing is recorded")?.version;
            assert_eq!((shown.get(), recorded.get()), (version, version), "{label}");
        }
        let results = self.story.results.seen();
        assert!(results.values().all(|results| results.iter().all(|result| result.outcome == Outcome::Shown)));
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        ensure!(self.building.stop().await?.success(), "the emulator failed");
        self.story.end().await
    }
}

fn slow_labels() -> Vec<LabelMac> {
    (FIRST_SLOW_LABEL..FIRST_SLOW_LABEL + SLOW).map(label_mac).collect()
}

fn slow_tasks(version: u64) -> Vec<Task> {
    slow_labels().chunks(2).map(|some| price_update(some, version)).collect()
}

#[tokio::test]
async fn a_slow_gateway_and_then_a_dead_one_hold_nobody_up() -> Result<()> {
    let rig = Rig::set().await?;
    rig.story.backend.enqueue_all(&slow_tasks(1)).await?;
    let full = async |_: &Story| Ok(rig.parked("gateway_full").await? > 0.0);
    rig.story.until("labels wait for a place", LIMIT, full).await?;
    let done = rig.update_others(1).await?;
    ensure!(done < SLOW as usize, "the slow gateway was through before the others");
    rig.story.all_settled(LIMIT).await?;
    rig.check(1).await?;
    // It was not asked for more than it takes at a time, again and again.
    let refused = rig.story.metric("task_worker_rpcs_total{end=\"nack\"}").await?;
    assert!(refused <= f64::from(SLOW), "{refused} refusals of {SLOW} labels: its window was not learnt");

    rig.slow.gateway_state(gateway_mac(FIRST_SLOW_GATEWAY), "hang").await?;
    rig.story.backend.enqueue_all(&slow_tasks(2)).await?;
    let failing = async |_: &Story| Ok(rig.parked("gateway_failing").await? > 0.0);
    rig.story.until("the gateway is left alone", LIMIT, failing).await?;
    let before = rig.update_others(2).await?;
    assert_eq!(before, SLOW as usize, "a dead gateway has shown something");
    rig.slow.gateway_state(gateway_mac(FIRST_SLOW_GATEWAY), "resume").await?;
    rig.story.all_settled(LIMIT).await?;
    rig.check(2).await?;
    rig.end().await
}

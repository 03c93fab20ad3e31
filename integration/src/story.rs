//! A running backbone with everything that a story needs around it.

use crate::{Backend, Emulator, Results, books::Books};
use anyhow::{Result, ensure};
use backbone::{
    ledger::Ledger,
    queue::{AmqpUrl, Broker},
};
use protocol::{GatewayMac, LabelMac, Task, TaskId};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use testbed::{Stack, StackConfig};

/// A running backbone, a store backend, and observers.
pub struct Story {
    /// Servers and roles.
    pub stack: Stack,
    /// Who enqueues.
    pub backend: Arc<Backend>,
    /// What was published.
    pub results: Results,
    /// What was recorded.
    pub ledger: Ledger,
    /// What labels really show.
    pub emulator: Emulator,
}

/// The MAC of the emulator's gateway with this number, counted from 1.
pub fn gateway_mac(number: u32) -> GatewayMac {
    let [_, a, b, c] = number.to_be_bytes();
    GatewayMac::from_octets([0x00, 0xfa, 0x7e, a, b, c])
}

/// The MAC of the emulator's label with this number, counted from 1.
pub fn label_mac(number: u32) -> LabelMac {
    let [_, a, b, c] = number.to_be_bytes();
    LabelMac::from_octets([0x00, 0x1a, 0x2b, a, b, c])
}

/// The MACs of the emulator's first labels.
pub fn labels(count: u32) -> Vec<LabelMac> {
    (1..=count).map(label_mac).collect()
}

/// Two of each role, gateways that are quick, and an RPC timeout of 2 s, so that stories with timeouts stay short.
pub fn quick(gateways: usize, labels: usize) -> StackConfig {
    let config = StackConfig {
        gateways,
        labels,
        emulator_args: ["--write-time", "5ms", "--report-interval", "500ms"].map(str::to_owned).to_vec(),
        ..StackConfig::default()
    };
    let roles =
        [testbed::TASK_WORKER, testbed::FWD_ROUTER, testbed::BCK_ROUTER, testbed::HTTP_ROUTER, testbed::STANDALONE];
    roles.into_iter().fold(config, |config, role| config.with_env(role, "RPC_TIMEOUT", "2s"))
}

/// Every pair of task and label in what was enqueued.
pub(crate) fn expected(enqueued: &[(Task, Vec<LabelMac>)]) -> Vec<(TaskId, LabelMac)> {
    let pairs = enqueued.iter().flat_map(|(task, labels)| labels.iter().map(|label| (task.task_id.clone(), *label)));
    pairs.collect()
}

impl Story {
    /// Starts everything and waits until all roles are ready and the gateways have reported.
    pub async fn start(config: StackConfig) -> Result<Self> {
        Self::on(Stack::start(config).await?).await
    }

    /// Tells a story on a stack that runs.
    pub async fn on(stack: Stack) -> Result<Self> {
        let amqp: AmqpUrl = stack.servers.amqp_url.parse()?;
        let ledger = Ledger::connect(&stack.servers.mongodb_url.parse()?).await?;
        let emulator = Emulator::new(stack.emulator.admin_url());
        let results = Results::observe(amqp.clone()).await;
        Ok(Self { stack, backend: Arc::new(Backend::new(amqp)), results, ledger, emulator })
    }

    /// Every pair of task and label that must come to an outcome.
    pub fn expected(&self) -> Vec<(TaskId, LabelMac)> {
        expected(&self.backend.enqueued())
    }

    /// How many updates are confirmed by the broker and have no result yet.
    pub fn under_way(&self) -> usize {
        let expected = self.expected();
        expected.len() - self.results.settled(&expected)
    }

    /// Waits until every label of every enqueued task has its result.
    pub async fn all_settled(&self, limit: Duration) -> Result<()> {
        let expected = self.expected();
        if self.results.wait_for(&expected, limit).await {
            return Ok(());
        }
        let seen = self.results.seen();
        let missing: Vec<_> = expected.iter().filter(|pair| !seen.contains_key(pair)).take(5).collect();
        ensure!(
            false,
            "{} of {} results after {limit:?}; missing, for example: {missing:?}; logs: {}",
            seen.len(),
            expected.len(),
            self.stack.log_dir().display()
        );
        Ok(())
    }

    /// How many messages wait in a queue.
    pub async fn backlog(&self, queue: &str) -> Result<u32> {
        let broker = Broker::connect(&self.stack.servers.amqp_url.parse()?, "story").await?;
        let backlog = broker.backlog(queue).await?;
        broker.close().await;
        Ok(backlog)
    }

    /// How many tasks wait to come to their queues later.
    pub async fn waiting(&self) -> Result<u32> {
        let broker = Broker::connect(&self.stack.servers.amqp_url.parse()?, "story").await?;
        let waiting = broker.waiting().await?;
        broker.close().await;
        Ok(waiting)
    }

    /// The sum of a metric over all processes of its role, by the metric's prefix.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        let roles = match sample {
            name if name.starts_with("task_worker") => &self.stack.workers,
            name if name.starts_with("fwd_router") => &self.stack.fwd_routers,
            name if name.starts_with("http_router") => &self.stack.http_routers,
            _ => &self.stack.bck_routers,
        };
        Stack::sum_metric(roles, sample).await
    }

    /// Waits until a condition holds, asking again every 50 ms; names it when it never does.
    pub async fn until<F: AsyncFnMut(&Self) -> Result<bool>>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: F,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition(self).await? {
            ensure!(Instant::now() < deadline, "still not after {limit:?}: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Checks the promises over all that happened; see [`Books`].
    pub async fn check_books(&self) -> Result<()> {
        Books::default().check(self).await
    }

    /// Ends everything in order; each role must drain and exit with code 0.
    pub async fn end(self) -> Result<()> {
        drop(self.results);
        self.stack.stop().await
    }
}

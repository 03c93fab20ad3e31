//! A RabbitMQ cluster of three nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::rabbitmq::{Epmd, Membership};
use crate::{Management, RabbitMq, RabbitMqOptions};

const JOIN_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// Three RabbitMQs on 127.0.0.1 that are one. With two of them it goes on.
pub struct RabbitMqCluster {
    /// The nodes.
    pub nodes: Vec<RabbitMq>,
    names: Vec<String>,
}

impl RabbitMqCluster {
    /// Starts the nodes, and waits until they have found each other.
    pub async fn start() -> Result<Self> {
        let epmd = Arc::new(Epmd::start().await?);
        let cluster = format!("{:08x}", fastrand::u32(..));
        let names: Vec<_> = ["a", "b", "c"].iter().map(|name| format!("esl-{cluster}-{name}@localhost")).collect();
        let membership =
            |name: &String| Membership { name: name.clone(), peers: names.clone(), cookie: cluster.clone() };
        let start = |name| RabbitMq::start_node(RabbitMqOptions::default(), Arc::clone(&epmd), Some(membership(name)));
        let (a, b, c) = tokio::try_join!(start(&names[0]), start(&names[1]), start(&names[2]))?;
        let cluster = Self { nodes: vec![a, b, c], names };
        cluster.wait_complete().await?;
        cluster.management().create_users().await?;
        Ok(cluster)
    }

    /// The management API of the first node that runs.
    pub fn management(&self) -> &Management {
        self.nodes[0].management()
    }

    /// Makes a virtual host, and returns its URL, in which all nodes are:
    /// `amqp://guest:guest@127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT/<name>`.
    pub async fn create_vhost(&self, name: &str) -> Result<String> {
        self.management().create_vhost(name).await?;
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        Ok(format!("amqp://guest:guest@{}/{name}", hosts.join(",")))
    }

    /// On which node a queue is, or its leader.
    pub async fn home(&self, vhost: &str, queue: &str) -> Result<usize> {
        let queue = self.management().get(&format!("/api/queues/{vhost}/{queue}")).await?;
        let name = queue["leader"].as_str().or(queue["node"].as_str()).context("reading where a queue is")?;
        self.names.iter().position(|node| node == name).with_context(|| format!("finding {name}"))
    }

    /// Waits until every node knows that all run.
    pub async fn wait_complete(&self) -> Result<()> {
        let end = Instant::now() + JOIN_LIMIT;
        loop {
            if self.is_complete().await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("the nodes of RabbitMQ have not found each other within {JOIN_LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_complete(&self) -> Result<bool> {
        for node in &self.nodes {
            let nodes = node.management().get("/api/nodes").await?;
            let running = nodes.as_array().into_iter().flatten().filter(|node| node["running"] == true).count();
            if running < self.names.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

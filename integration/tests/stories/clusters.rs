//! The servers are clusters, and under load the one of each that matters most is killed: the promises hold, and what a
//! failover costs is a pause.

use crate::under_load::{config, end, labels};
use anyhow::{Context, Result, ensure};
use integration::{Books, Load, Story, label_mac, price_update};
use protocol::{LabelMac, names::amqp};
use std::time::{Duration, Instant};
use testbed::{HaProxy, RabbitMqCluster, RedisSentinels, ReplicaSet, Servers, ServersConfig, Stack, StackConfig};

/// Labels per second: what matters here is that updates are under way at any moment.
const RATE: u32 = 50;
const VERSIONS: usize = 2;
/// Labels besides those under load, whose prices are changed to see how long that takes.
const PROBES: u32 = 8;
/// A failover, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(60);
/// Redis' replicas lag by some milliseconds, so a fence may be lost with the master; what goes back is put right.
const BOOKS: Books = Books { may_go_back: true, dead_letters: 0, troubled: Vec::new() };

struct Clusters {
    rabbitmq: RabbitMqCluster,
    redis: RedisSentinels,
    mongodb: ReplicaSet,
    _haproxy: HaProxy,
}

#[tokio::test]
#[ignore = "twelve servers: `make clusters` runs it"]
async fn one_of_each_is_killed() -> Result<()> {
    let (mut story, mut clusters) = begin().await?;
    let load = Load::start(&story, &labels(), VERSIONS, RATE);
    load.reach(&story, 0.2).await?;

    story.stack.servers.mosquittos[0].kill()?;
    next_prices(&story, "one of three Mosquittos").await?;
    story.stack.servers.mosquittos[0].start_again().await?;

    load.pile_up(&story, 1).await?;
    redis_master(&story, &mut clusters.redis).await?;
    load.pile_up(&story, 1).await?;
    mongodb_primary(&story, &mut clusters.mongodb).await?;
    load.pile_up(&story, 1).await?;
    rabbitmq_node(&story, &mut clusters.rabbitmq, amqp::RPC).await?;
    end(story, load, BOOKS).await
}

async fn begin() -> Result<(Story, Clusters)> {
    let servers = ServersConfig { mosquittos: 3, ..ServersConfig::default() };
    let config = StackConfig { servers, labels: labels().len() + PROBES as usize, ..config() };
    let begun = Instant::now();
    let (mut servers, rabbitmq, redis, mongodb) = tokio::try_join!(
        Servers::start(&config.servers),
        RabbitMqCluster::start(),
        RedisSentinels::start(),
        ReplicaSet::start(),
    )?;
    let haproxy = HaProxy::start(&servers.mosquittos).await?;
    println!("all clusters are there after {:.1} s", begun.elapsed().as_secs_f64());
    servers.amqp_url = rabbitmq.create_vhost(servers.name()).await?;
    servers.redis_url = redis.url();
    servers.mongodb_url = mongodb.database_url(servers.name());
    servers.gateways_url = Some(haproxy.url());
    let story = Story::on(Stack::on(servers, config).await?).await?;
    Ok((story, Clusters { rabbitmq, redis, mongodb, _haproxy: haproxy }))
}

async fn redis_master(story: &Story, redis: &mut RedisSentinels) -> Result<()> {
    let master = redis.master().await?;
    redis.redises[master].kill()?;
    next_prices(story, "Redis' master").await?;
    ensure!(redis.master().await? != master, "the Sentinels still name the master that was killed");
    redis.redises[master].start_again().await
}

async fn mongodb_primary(story: &Story, set: &mut ReplicaSet) -> Result<()> {
    let primary = set.primary().await?;
    set.members[primary].kill()?;
    next_prices(story, "MongoDB's primary").await?;
    ensure!(set.primary().await? != primary, "the primary that was killed is still the primary");
    set.members[primary].start_again().await
}

/// Kills the node on which a queue is. It stays away: a node takes long to start where there is no processor to spare, and
/// two of three are enough.
async fn rabbitmq_node(story: &Story, cluster: &mut RabbitMqCluster, queue: &str) -> Result<()> {
    let home = cluster.home(story.stack.servers.name(), queue).await?;
    cluster.nodes[home].kill()?;
    next_prices(story, &format!("RabbitMQ's node with {queue}")).await
}

/// Changes some prices, and waits until they are shown: so much a failover costs.
async fn next_prices(story: &Story, killed: &str) -> Result<()> {
    let begun = Instant::now();
    let count = labels().len() as u32;
    let probes: Vec<LabelMac> = (count + 1..=count + PROBES).map(label_mac).collect();
    let task = price_update(&probes, story.backend.enqueued().len() as u64 + 1);
    let enqueued = tokio::time::timeout(LIMIT, story.backend.enqueue(&task)).await;
    enqueued.with_context(|| format!("no task is taken for {LIMIT:?} without {killed}"))??;
    let pairs: Vec<_> = probes.iter().map(|probe| (task.task_id.clone(), *probe)).collect();
    let shown = story.results.wait_for(&pairs, LIMIT).await;
    ensure!(shown, "prices are not shown for {LIMIT:?} without {killed}; logs: {}", story.stack.log_dir().display());
    println!("without {killed} the next prices are shown after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

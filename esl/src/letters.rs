//! The dead letters, over AMQP.

use crate::publish::connect;
use anyhow::{Context, Result};
use backbone::queue::{self, AmqpUrl, DeadLetter, QueueError, Replayed};
use protocol::names::amqp;
use serde::Deserialize;

/// At most so many are looked at.
pub(crate) const MOST: u16 = 10_000;

/// How much waits in the queues.
#[derive(Debug, Deserialize)]
pub(crate) struct Backlog {
    /// Tasks that no worker has taken.
    pub(crate) tasks: u32,
    /// Tasks whose labels wait for their gateways, and which come to their queues later.
    pub(crate) waiting: u32,
    /// Tasks that could not be used.
    pub(crate) dead_letters: u32,
}

/// How much waits.
///
/// # Errors
/// When the broker can't be reached.
pub(crate) async fn backlog(url: &AmqpUrl) -> Result<Backlog> {
    let broker = connect(url).await?;
    let counted = async {
        Ok::<_, QueueError>(Backlog {
            tasks: broker.backlog(amqp::TASKS).await? + broker.backlog(amqp::URGENT_TASKS).await?,
            waiting: broker.waiting().await?,
            dead_letters: broker.backlog(amqp::DEAD_TASKS).await?,
        })
    };
    let counted = counted.await;
    broker.close().await;
    counted.with_context(|| format!("RabbitMQ at {url}"))
}

/// Looks at the oldest dead letters, `most` at most; answers how many there are.
///
/// # Errors
/// When the broker can't be reached or is lost.
pub(crate) async fn look(url: &AmqpUrl, most: u16, each: impl FnMut(&DeadLetter) + Send) -> Result<u32> {
    queue::look(url, "esl", most, each).await.with_context(|| format!("RabbitMQ at {url}"))
}

/// Sends those of the dead letters that `wanted` chooses again.
///
/// # Errors
/// When the broker can't be reached, refuses one or is lost.
pub(crate) async fn replay(url: &AmqpUrl, wanted: impl Fn(&DeadLetter) -> bool + Send) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let ended = queue::replay(url, "esl", wanted, &mut replayed).await;
    ended.with_context(|| format!("RabbitMQ at {url}, after {} were sent again", replayed.tasks.len()))?;
    Ok(replayed)
}

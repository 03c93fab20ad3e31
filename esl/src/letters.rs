//! The dead letters, over AMQP.

use crate::publish::connect;
use anyhow::{Context, Result};
use backbone::queue::{self, AmqpUrl, DeadLetter, Replayed};

/// At most so many are looked at.
pub(crate) const MOST: u16 = 10_000;

/// How many messages wait in a queue.
///
/// # Errors
/// When the broker can't be reached.
pub(crate) async fn waiting(url: &AmqpUrl, queue: &str) -> Result<u32> {
    let broker = connect(url).await?;
    let waiting = broker.backlog(queue).await;
    broker.close().await;
    waiting.with_context(|| format!("RabbitMQ at {url}"))
}

/// How many tasks wait for their gateways, and come to their queues later.
///
/// # Errors
/// When the broker can't be reached.
pub(crate) async fn put_off(url: &AmqpUrl) -> Result<u32> {
    let broker = connect(url).await?;
    let waiting = broker.waiting().await;
    broker.close().await;
    waiting.with_context(|| format!("RabbitMQ at {url}"))
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

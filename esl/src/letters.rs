//! The dead letters: looking at them without taking them away, and sending them again.
//!
//! Both take them as any consumer does. What is not acknowledged goes back to its place when the connection closes.

use crate::{
    progress,
    publish::{connect, publish},
};
use anyhow::{Context, Result};
use backbone::queue::{AmqpUrl, Broker, Consumer, Delivery, Prefetch, QueueError};
use futures::future::join_all;
use protocol::{Task, TaskId, names::amqp};
use serde::Deserialize;
use std::time::Duration;

/// At most so many are looked at.
pub(crate) const MOST: u16 = 10_000;
/// At most so many are sent again at a time.
const CHUNK: usize = 64;
/// One that does not come within this time is in somebody else's hands.
const PATIENCE: Duration = Duration::from_secs(2);

/// A dead letter.
#[derive(Debug)]
pub(crate) struct Letter(Delivery);

/// All that is needed of a task that may be malformed.
#[derive(Deserialize)]
struct Identity {
    task_id: TaskId,
}

impl Letter {
    /// Why it is one.
    pub(crate) fn reason(&self) -> &str {
        self.0.reason.as_deref().unwrap_or("unknown")
    }

    /// The task as it was sent.
    pub(crate) fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The task's ID, where it can be read.
    pub(crate) fn task_id(&self) -> Option<TaskId> {
        serde_json::from_slice::<Identity>(&self.0.body).ok().map(|identity| identity.task_id)
    }

    /// The task, where it is one.
    pub(crate) fn task(&self) -> Option<Task> {
        Task::parse(&self.0.body).ok()
    }
}

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

/// Looks at the oldest dead letters, `most` at most; answers how many there are.
///
/// # Errors
/// When the broker can't be reached or is lost.
pub(crate) async fn look(url: &AmqpUrl, most: u16, mut each: impl FnMut(&Letter)) -> Result<u32> {
    let broker = connect(url).await?;
    let looked = async {
        let there = broker.backlog(amqp::DEAD_TASKS).await?;
        let wanted = u16::try_from(there).unwrap_or(u16::MAX).min(most);
        if wanted > 0 {
            let mut letters = broker.consume(amqp::DEAD_TASKS, Prefetch::Each(wanted)).await?;
            for _ in 0..wanted {
                let Some(chunk) = next(&mut letters, 1).await? else { break };
                chunk.iter().for_each(&mut each);
            }
        }
        Ok::<_, QueueError>(there)
    };
    let looked = looked.await;
    broker.close().await;
    looked.with_context(|| format!("RabbitMQ at {url}"))
}

/// The next letters, `most` at most; `None` when none comes.
async fn next(letters: &mut Consumer, most: usize) -> Result<Option<Vec<Letter>>, QueueError> {
    match tokio::time::timeout(PATIENCE, letters.next_chunk(most)).await {
        Ok(chunk) => Ok(Some(chunk?.into_iter().map(Letter).collect())),
        Err(_) => Ok(None),
    }
}

/// What came of sending dead letters again.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The tasks that were sent again, one per letter, where their IDs can be read.
    pub(crate) tasks: Vec<Option<TaskId>>,
    /// How many dead letters remain of those that were there.
    pub(crate) left: u32,
}

/// Sends those of the dead letters that `wanted` chooses again. Each is taken from the queue only when its copy is
/// confirmed: what a crash leaves between the two is there twice, and the task's ID makes that harmless.
///
/// # Errors
/// When the broker can't be reached, refuses one or is lost.
pub(crate) async fn replay(url: &AmqpUrl, wanted: impl Fn(&Letter) -> bool) -> Result<Replayed> {
    let broker = connect(url).await?;
    let mut replayed = Replayed::default();
    let ended = replay_on(&broker, wanted, &mut replayed).await;
    broker.close().await;
    ended.with_context(|| format!("RabbitMQ at {url}, after {} were sent again", replayed.tasks.len()))?;
    Ok(replayed)
}

async fn replay_on(
    broker: &Broker,
    wanted: impl Fn(&Letter) -> bool,
    replayed: &mut Replayed,
) -> Result<(), QueueError> {
    // Those that die again come after these, and are left for the next time.
    let there = broker.backlog(amqp::DEAD_TASKS).await?;
    replayed.left = there;
    if there == 0 {
        return Ok(());
    }
    let window = Prefetch::Each(u16::try_from(there).unwrap_or(u16::MAX));
    let (mut letters, publisher) = (broker.consume(amqp::DEAD_TASKS, window).await?, broker.publisher().await?);
    let settler = letters.settler();
    let bar = progress::bar(there.into(), "dead letters");
    let mut seen = 0;
    while seen < there {
        let most = CHUNK.min((there - seen) as usize);
        let Some(chunk) = next(&mut letters, most).await? else { break };
        seen += chunk.len() as u32;
        let chosen: Vec<_> = chunk.iter().filter(|letter| wanted(letter)).collect();
        let published = join_all(chosen.iter().map(|letter| publish(&publisher, letter.body()))).await;
        let (mut tickets, mut failure) = (Vec::new(), Ok(()));
        for (letter, published) in chosen.into_iter().zip(published) {
            match published {
                Ok(()) => {
                    tickets.push(letter.0.ticket);
                    replayed.tasks.push(letter.task_id());
                }
                Err(error) => failure = Err(error),
            }
        }
        replayed.left -= tickets.len() as u32;
        settler.settle(&tickets).await?;
        failure?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

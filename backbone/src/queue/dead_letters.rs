//! The dead letters: looking at them without taking them away, and sending them again.
//!
//! Both take them as any consumer does. What is not acknowledged goes back to its place when the connection closes, so
//! each look is a connection of its own.

use super::{AmqpUrl, Broker, Consumer, Delivery, Message, Prefetch, Publisher, QueueError, Routed};
use futures::future::join_all;
use protocol::{Priority, Store, Task, TaskId, names::amqp};
use serde::Deserialize;
use std::time::Duration;

/// At most so many are sent again at a time.
const CHUNK: usize = 64;
/// One that does not come within this time is in somebody else's hands.
const PATIENCE: Duration = Duration::from_secs(2);

/// A dead letter.
#[derive(Debug)]
pub struct DeadLetter(Delivery);

/// All that is needed of a task that may be malformed.
#[derive(Deserialize)]
struct Identity {
    task_id: TaskId,
}

#[derive(Deserialize)]
struct Pace {
    priority: Priority,
}

#[derive(Deserialize)]
struct Place {
    store: Store,
}

impl DeadLetter {
    /// Why it is one.
    pub fn reason(&self) -> &str {
        self.0.reason.as_deref().unwrap_or("unknown")
    }

    /// The task as it was sent.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The task's ID, where it can be read.
    pub fn task_id(&self) -> Option<TaskId> {
        serde_json::from_slice::<Identity>(&self.0.body).ok().map(|identity| identity.task_id)
    }

    /// The task's store, where it can be read.
    pub fn store(&self) -> Option<Store> {
        serde_json::from_slice::<Place>(&self.0.body).ok().map(|place| place.store)
    }

    /// Whether it is urgent; one that can't be read is not.
    pub fn priority(&self) -> Priority {
        serde_json::from_slice::<Pace>(&self.0.body).map_or_else(|_| Priority::default(), |pace| pace.priority)
    }

    /// The task, where it is one.
    pub fn task(&self) -> Option<Task> {
        Task::parse(&self.0.body).ok()
    }
}

/// Connects, and makes sure that the queues are there.
async fn connect(url: &AmqpUrl, name: &str) -> Result<Broker, QueueError> {
    let broker = Broker::connect(url, name).await?;
    broker.declare_tasks().await?;
    Ok(broker)
}

/// Puts a task into the queue of tasks of its priority, persistently, and waits for the confirm.
///
/// # Errors
/// When the broker refuses it, has no queue for it, or is lost; whether it has the task is then unknown.
pub async fn enqueue(publisher: &Publisher, priority: Priority, body: &[u8]) -> Result<(), QueueError> {
    let routing_key = amqp::task_queue(priority);
    let message = Message { routing_key, body, persistent: true, mandatory: true, ..Message::default() };
    match publisher.publish(message).await? {
        Routed::Yes => Ok(()),
        // Somebody deleted it; the next session declares it again.
        Routed::Nowhere => Err(QueueError::Lost(format!("no queue {routing_key}"))),
    }
}

/// Looks at the oldest dead letters, `most` at most; answers how many there are.
///
/// # Errors
/// When the broker can't be reached or is lost.
pub async fn look(
    url: &AmqpUrl,
    name: &str,
    most: u16,
    mut each: impl FnMut(&DeadLetter) + Send,
) -> Result<u32, QueueError> {
    let broker = connect(url, name).await?;
    let looked = look_on(&broker, most, &mut each).await;
    broker.close().await;
    looked
}

async fn look_on(broker: &Broker, most: u16, mut each: impl FnMut(&DeadLetter) + Send) -> Result<u32, QueueError> {
    let there = broker.backlog(amqp::DEAD_TASKS).await?;
    let wanted = u16::try_from(there).unwrap_or(u16::MAX).min(most);
    if wanted > 0 {
        let mut letters = broker.consume(amqp::DEAD_TASKS, Prefetch::Each(wanted)).await?;
        for _ in 0..wanted {
            let Some(chunk) = next(&mut letters, 1).await? else { break };
            chunk.iter().for_each(&mut each);
        }
    }
    Ok(there)
}

/// The next letters, `most` at most; `None` when none comes.
async fn next(letters: &mut Consumer, most: usize) -> Result<Option<Vec<DeadLetter>>, QueueError> {
    match tokio::time::timeout(PATIENCE, letters.next_chunk(most)).await {
        Ok(chunk) => Ok(Some(chunk?.into_iter().map(DeadLetter).collect())),
        Err(_) => Ok(None),
    }
}

/// What came of sending dead letters again.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The tasks that were sent again, one per letter, where their IDs can be read.
    pub tasks: Vec<Option<TaskId>>,
    /// How many dead letters remain of those that were there.
    pub left: u32,
}

/// Sends those of the dead letters that `wanted` chooses again, and fills `replayed` as far as it comes. Each is taken
/// from the queue only when its copy is confirmed: what a crash leaves between the two is there twice, and the task's ID
/// makes that harmless.
///
/// # Errors
/// When the broker can't be reached, refuses one or is lost.
pub async fn replay(
    url: &AmqpUrl,
    name: &str,
    wanted: impl Fn(&DeadLetter) -> bool + Send,
    replayed: &mut Replayed,
) -> Result<(), QueueError> {
    let broker = connect(url, name).await?;
    let ended = replay_on(&broker, wanted, replayed).await;
    broker.close().await;
    ended
}

async fn replay_on(
    broker: &Broker,
    wanted: impl Fn(&DeadLetter) -> bool + Send,
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
    let mut seen = 0;
    while seen < there {
        let most = CHUNK.min((there - seen) as usize);
        let Some(chunk) = next(&mut letters, most).await? else { break };
        seen += chunk.len() as u32;
        let chosen: Vec<_> = chunk.iter().filter(|letter| wanted(letter)).collect();
        let published =
            join_all(chosen.iter().map(|letter| enqueue(&publisher, letter.priority(), letter.body()))).await;
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
    }
    Ok(())
}

//! All queues of the process, by their names.

use super::{
    consumer::Queue,
    durable::{DurableQueue, Insert},
    memory::MemoryQueue,
    topic,
    waiting::{Enter, WaitingRoom},
};
use crate::{
    embedded::{DataFolder, Durability, Job, StoreError},
    queue::{Message, QueueError, Routed, error::Doing},
};
use protocol::{Priority, names::amqp};
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::oneshot;

/// Whoever publishes to a full queue in memory looks again so often whether there is room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const OPENING: &str = "opening the queues";

/// The queues inside this process: pass it as [`AmqpUrl::Embedded`](crate::queue::AmqpUrl). A clone is the same queues.
#[derive(Clone)]
pub struct EmbeddedQueues(Arc<Hub>);

struct Hub {
    folder: DataFolder,
    queues: RwLock<HashMap<String, Queue>>,
    /// Which results go where: patterns of routing keys.
    bindings: RwLock<Vec<(String, Arc<DurableQueue>)>>,
    room: Arc<WaitingRoom>,
}

impl EmbeddedQueues {
    /// Opens the queues of a data folder, with what waits in them; once for each time that the folder is opened.
    ///
    /// # Errors
    /// When the folder can't be read or written, or its queues are open already.
    pub async fn open(folder: &DataFolder) -> Result<Self, QueueError> {
        if folder.take_queues() {
            return Err(QueueError::Lost(format!("the queues in {} are open already", folder.path().display())));
        }
        let tables = folder.write(Durability::Power, 0, load).await.doing(OPENING)?;
        let room = Arc::new(WaitingRoom::new(Arc::clone(folder.jobs())));
        let (queues, bindings) = (RwLock::default(), RwLock::default());
        let hub = Self(Arc::new(Hub { folder: folder.clone(), queues, bindings, room }));
        // Dead letters first: the tasks name them.
        let (dead, others) = tables.queues.into_iter().partition::<Vec<_>, _>(|queue| queue.name == amqp::DEAD_TASKS);
        for StoredQueue { id, name, waiting } in dead.into_iter().chain(others) {
            hub.add_durable(id, name, waiting);
        }
        for (pattern, name) in tables.bindings {
            if let Some(Queue::Durable(queue)) = hub.find(&name) {
                hub.add_binding(pattern, queue);
            }
        }
        for name in [amqp::RPC, amqp::RPC_LINES] {
            hub.add_memory(name);
        }
        hub.0.room.begin(tables.waiting);
        Ok(hub)
    }

    /// Declares a durable queue for results.
    pub(super) async fn bind_results(&self, name: &str, pattern: &str) -> Result<Queue, QueueError> {
        if let Some(Queue::Memory(_)) = self.find(name) {
            return Err(QueueError::Lost(format!("the queue {name} is not durable")));
        }
        let (stored_name, stored_pattern) = (name.to_owned(), pattern.to_owned());
        let bind = move |connection: &Connection| bind(connection, &stored_name, &stored_pattern);
        let id = self.0.folder.write(Durability::Power, 0, bind).await.doing("binding a results queue")?;
        let queue = self.add_durable(id, name.to_owned(), 0);
        self.add_binding(pattern.to_owned(), Arc::clone(&queue));
        Ok(Queue::Durable(queue))
    }

    pub(super) fn add_memory(&self, name: &str) -> Queue {
        let queue = Queue::Memory(Arc::new(MemoryQueue::default()));
        self.0.queues.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), queue.clone());
        queue
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.queues.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(super) fn find(&self, name: &str) -> Option<Queue> {
        self.0.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn folder(&self) -> &DataFolder {
        &self.0.folder
    }

    /// The queue of this name, as it is or made now.
    fn add_durable(&self, id: i64, name: String, waiting: i64) -> Arc<DurableQueue> {
        let dead_letters = match self.find(amqp::DEAD_TASKS) {
            Some(Queue::Durable(dead)) if is_of_tasks(&name) => Some(dead),
            _ => None,
        };
        let jobs = Arc::clone(self.0.folder.jobs());
        let mut queues = self.0.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Queue::Durable(queue)) = queues.get(&name) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(DurableQueue::new(id, waiting, jobs, dead_letters));
        if is_of_tasks(&name) {
            self.0.room.add_queue(&queue);
        }
        queues.insert(name, Queue::Durable(Arc::clone(&queue)));
        queue
    }

    fn add_binding(&self, pattern: String, queue: Arc<DurableQueue>) {
        let mut bindings = self.0.bindings.write().unwrap_or_else(PoisonError::into_inner);
        if !bindings.iter().any(|(known, target)| *known == pattern && Arc::ptr_eq(target, &queue)) {
            bindings.push((pattern, queue));
        }
    }

    pub(super) async fn publish(&self, message: &Message<'_>) -> Result<Routed, QueueError> {
        let targets = match message.exchange {
            "" => match self.find(message.routing_key) {
                Some(Queue::Memory(queue)) => {
                    while !queue.publish(message) {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                    return Ok(Routed::Yes);
                }
                Some(Queue::Durable(queue)) => vec![queue],
                None => Vec::new(),
            },
            amqp::RESULTS => self.bound_to(message.routing_key),
            other => return Err(QueueError::Lost(format!("no exchange {other}"))),
        };
        if targets.is_empty() {
            return Ok(if message.mandatory { Routed::Nowhere } else { Routed::Yes });
        }
        self.insert(message, targets).await?;
        Ok(Routed::Yes)
    }

    /// As [`publish`](Self::publish), for a task that comes to its queue after so long.
    pub(super) async fn publish_later(&self, message: &Message<'_>, delay: Duration) -> Result<Routed, QueueError> {
        let Some(Queue::Durable(queue)) = self.find(message.routing_key).filter(|_| is_of_tasks(message.routing_key))
        else {
            return Ok(Routed::Nowhere);
        };
        let (reply, answer) = oneshot::channel();
        let enter = Enter::new(&self.0.room, &queue, message, delay, reply);
        self.carry_out(Box::new(enter), Durability::Power, message.body.len(), answer).await?;
        Ok(Routed::Yes)
    }

    /// How many tasks come to their queues later.
    pub(super) fn waiting(&self) -> u32 {
        self.0.room.waiting()
    }

    /// Each queue once, however many of its patterns fit.
    fn bound_to(&self, key: &str) -> Vec<Arc<DurableQueue>> {
        let bindings = self.0.bindings.read().unwrap_or_else(PoisonError::into_inner);
        let mut targets: Vec<Arc<DurableQueue>> = Vec::new();
        for (pattern, queue) in bindings.iter() {
            if topic::fits(pattern, key) && !targets.iter().any(|target| Arc::ptr_eq(target, queue)) {
                targets.push(Arc::clone(queue));
            }
        }
        targets
    }

    async fn insert(&self, message: &Message<'_>, targets: Vec<Arc<DurableQueue>>) -> Result<(), QueueError> {
        let durability = if message.persistent { Durability::Power } else { Durability::Process };
        let (reply, answer) = oneshot::channel();
        let bytes = message.body.len() * targets.len();
        let insert = Insert::new(message, targets, reply);
        self.carry_out(Box::new(insert), durability, bytes, answer).await
    }

    async fn carry_out(
        &self,
        job: Box<dyn Job>,
        durability: Durability,
        bytes: usize,
        answer: oneshot::Receiver<Result<(), StoreError>>,
    ) -> Result<(), QueueError> {
        const DOING: &str = "writing a message into the data folder";
        self.0.folder.jobs().ask(job, durability, bytes).await.doing(DOING)?;
        answer.await.unwrap_or(Err(StoreError::Closed)).doing(DOING)
    }
}

impl PartialEq for EmbeddedQueues {
    fn eq(&self, other: &Self) -> bool {
        self.0.folder == other.0.folder
    }
}

impl Eq for EmbeddedQueues {}

impl fmt::Debug for EmbeddedQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedQueues").field(&self.0.folder.path()).finish()
    }
}

impl fmt::Display for EmbeddedQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "embedded in {}", self.0.folder.path().display())
    }
}

struct StoredQueue {
    id: i64,
    name: String,
    waiting: i64,
}

struct Tables {
    queues: Vec<StoredQueue>,
    bindings: Vec<(String, String)>,
    /// How many tasks come to their queues later.
    waiting: i64,
}

fn is_of_tasks(name: &str) -> bool {
    Priority::ALL.into_iter().any(|priority| amqp::task_queue(priority) == name)
}

/// The durable queues, those of the backbone made where they are missing.
fn load(connection: &Connection) -> rusqlite::Result<Tables> {
    for name in Priority::ALL.map(amqp::task_queue).into_iter().chain([amqp::DEAD_TASKS]) {
        connection.execute("INSERT INTO queue (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
    }
    let mut queues = connection
        .prepare("SELECT id, name, (SELECT count(*) FROM message WHERE message.queue = queue.id) FROM queue")?;
    let queues =
        queues.query_map([], |row| Ok(StoredQueue { id: row.get(0)?, name: row.get(1)?, waiting: row.get(2)? }))?;
    let mut bindings = connection.prepare("SELECT pattern, name FROM binding JOIN queue ON queue.id = queue")?;
    let bindings = bindings.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let waiting = connection.query_row("SELECT count(*) FROM waiting", [], |row| row.get(0))?;
    Ok(Tables { queues: queues.collect::<Result<_, _>>()?, bindings: bindings.collect::<Result<_, _>>()?, waiting })
}

/// Answers the queue's ID.
fn bind(connection: &Connection, name: &str, pattern: &str) -> rusqlite::Result<i64> {
    connection.execute("INSERT INTO queue (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
    let id: i64 = connection.query_row("SELECT id FROM queue WHERE name = ?1", [name], |row| row.get(0))?;
    connection.execute("INSERT INTO binding VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![id, pattern])?;
    Ok(id)
}

//! Taking messages from an embedded queue.

use super::{EmbeddedQueues, durable::DurableQueue, memory::MemoryQueue};
use crate::queue::{Delivery, Prefetch, QueueError, Ticket};
use std::sync::Arc;
use tokio::sync::Notify;

/// A queue of either kind.
#[derive(Debug, Clone)]
pub(super) enum Queue {
    Memory(Arc<MemoryQueue>),
    Durable(Arc<DurableQueue>),
}

impl Queue {
    fn subscribe(&self, prefetch: Prefetch, wake: Arc<Notify>) -> u64 {
        match self {
            Self::Memory(queue) => queue.subscribe(prefetch, wake),
            Self::Durable(queue) => queue.subscribe(prefetch, wake),
        }
    }

    fn take(&self, id: u64, most: usize) -> Option<Vec<Delivery>> {
        match self {
            Self::Memory(queue) => queue.take(id, most),
            Self::Durable(queue) => queue.take(id, most),
        }
    }

    fn settle(&self, id: u64, tickets: &[Ticket]) -> bool {
        match self {
            Self::Memory(queue) => queue.settle(id, tickets),
            Self::Durable(queue) => queue.settle(id, tickets),
        }
    }

    fn cancel(&self, id: u64) {
        match self {
            Self::Memory(queue) => queue.cancel(id),
            Self::Durable(queue) => queue.cancel(id),
        }
    }

    fn leave(&self, id: u64) {
        match self {
            Self::Memory(queue) => queue.leave(id),
            Self::Durable(queue) => queue.leave(id),
        }
    }

    pub(super) fn waiting(&self) -> u32 {
        match self {
            Self::Memory(queue) => u32::try_from(queue.waiting()).unwrap_or(u32::MAX),
            Self::Durable(queue) => queue.waiting(),
        }
    }
}

/// A consumer as its queue sees it. When it ends, what it has in hand goes back.
#[derive(Debug)]
pub(super) struct Subscription {
    queue: Queue,
    id: u64,
    wake: Arc<Notify>,
    /// The queue is nobody else's, and goes with it.
    exclusive: Option<(EmbeddedQueues, String)>,
}

impl Subscription {
    pub(super) fn begin(queue: Queue, prefetch: Prefetch, exclusive: Option<(EmbeddedQueues, String)>) -> Self {
        let wake = Arc::new(Notify::new());
        let id = queue.subscribe(prefetch, Arc::clone(&wake));
        Self { queue, id, wake, exclusive }
    }

    /// May be called twice.
    pub(super) fn end(&self) {
        if let Some((queues, name)) = &self.exclusive {
            queues.remove(name);
        }
        self.queue.leave(self.id);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes messages from one queue.
#[derive(Debug)]
pub(in crate::queue) struct Consumer(Arc<Subscription>);

impl Consumer {
    pub(super) fn new(subscription: Arc<Subscription>) -> Self {
        Self(subscription)
    }

    pub(in crate::queue) async fn next(&mut self) -> Result<Delivery, QueueError> {
        loop {
            // What is taken is in hand at once: nothing is lost where this future is dropped.
            match self.0.queue.take(self.0.id, 1).ok_or_else(ended)?.pop() {
                Some(delivery) => return Ok(delivery),
                None => self.0.wake.notified().await,
            }
        }
    }

    pub(in crate::queue) async fn next_chunk(&mut self, most: usize) -> Result<Vec<Delivery>, QueueError> {
        loop {
            let chunk = self.0.queue.take(self.0.id, most.max(1)).ok_or_else(ended)?;
            if !chunk.is_empty() {
                return Ok(chunk);
            }
            self.0.wake.notified().await;
        }
    }

    pub(in crate::queue) fn settler(&self) -> Settler {
        Settler(Arc::clone(&self.0))
    }

    pub(in crate::queue) fn cancel(&self) {
        self.0.queue.cancel(self.0.id);
    }
}

fn ended() -> QueueError {
    QueueError::Lost("the consumer has ended".to_owned())
}

/// Settles deliveries of one consumer.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Settler(Arc<Subscription>);

impl Settler {
    /// At once, without waiting for anything.
    pub(in crate::queue) fn settle(&self, tickets: &[Ticket]) -> Result<(), QueueError> {
        if self.0.queue.settle(self.0.id, tickets) { Ok(()) } else { Err(ended()) }
    }
}

//! A session with the embedded queues: what ends together.

use super::{
    EmbeddedQueues,
    consumer::{Consumer, Subscription},
};
use crate::queue::{Message, Prefetch, QueueError, Routed, publisher::lines};
use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What a connection is to RabbitMQ. When it is dropped, it ends.
#[derive(Debug)]
pub(in crate::queue) struct Session {
    queues: EmbeddedQueues,
    over: CancellationToken,
    subscriptions: Mutex<Vec<Weak<Subscription>>>,
}

impl Session {
    pub(in crate::queue) fn begin(queues: &EmbeddedQueues) -> Self {
        Self { queues: queues.clone(), over: CancellationToken::new(), subscriptions: Mutex::default() }
    }

    /// The queues of the backbone are always there.
    pub(in crate::queue) async fn declare(&self) -> Result<(), QueueError> {
        if self.over.is_cancelled() { Err(ended()) } else { Ok(()) }
    }

    pub(in crate::queue) fn consume(&self, name: &str, prefetch: Prefetch) -> Result<Consumer, QueueError> {
        let queue = self.queues.find(name).ok_or_else(|| no_queue(name))?;
        self.register(Subscription::begin(queue, prefetch, None))
    }

    pub(in crate::queue) async fn consume_results(
        &self,
        name: &str,
        pattern: &str,
        prefetch: u16,
    ) -> Result<Consumer, QueueError> {
        let queue = self.queues.bind_results(name, pattern).await?;
        self.register(Subscription::begin(queue, Prefetch::Together(prefetch), None))
    }

    pub(in crate::queue) fn consume_replies(&self, name: &str) -> Result<Consumer, QueueError> {
        let queue = self.queues.add_memory(name);
        let exclusive = Some((self.queues.clone(), name.to_owned()));
        self.register(Subscription::begin(queue, Prefetch::Unacknowledged, exclusive))
    }

    pub(in crate::queue) fn publisher(&self) -> Publisher {
        Publisher { queues: self.queues.clone(), over: self.over.clone() }
    }

    pub(in crate::queue) fn bulk_publisher(&self) -> BulkPublisher {
        BulkPublisher { publisher: self.publisher(), returned: Arc::default() }
    }

    pub(in crate::queue) fn backlog(&self, name: &str) -> Result<u32, QueueError> {
        Ok(self.queues.find(name).ok_or_else(|| no_queue(name))?.waiting())
    }

    pub(in crate::queue) fn waiting(&self) -> u32 {
        self.queues.waiting()
    }

    /// Resolves when it has ended, or when nothing can be written any more.
    pub(in crate::queue) async fn lost(&self) -> QueueError {
        tokio::select! {
            () = self.over.cancelled() => ended(),
            () = self.queues.folder().closed() => QueueError::Lost("the data folder is closed".to_owned()),
        }
    }

    /// What was not settled goes back to its queues.
    pub(in crate::queue) fn end(&self) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        self.over.cancel();
        subscriptions.drain(..).filter_map(|subscription| subscription.upgrade()).for_each(|it| it.end());
    }

    fn register(&self, subscription: Subscription) -> Result<Consumer, QueueError> {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        if self.over.is_cancelled() {
            return Err(ended());
        }
        let subscription = Arc::new(subscription);
        subscriptions.retain(|other| other.strong_count() > 0);
        subscriptions.push(Arc::downgrade(&subscription));
        Ok(Consumer::new(subscription))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

/// Publishes for a session.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Publisher {
    queues: EmbeddedQueues,
    over: CancellationToken,
}

impl Publisher {
    pub(in crate::queue) async fn publish(&self, message: &Message<'_>) -> Result<Routed, QueueError> {
        if self.over.is_cancelled() {
            return Err(ended());
        }
        // A full queue is waited for, but not longer than the session lasts.
        tokio::select! {
            biased;
            published = self.queues.publish(message) => published,
            () = self.over.cancelled() => Err(ended()),
        }
    }

    pub(in crate::queue) async fn publish_later(
        &self,
        message: &Message<'_>,
        delay: Duration,
    ) -> Result<Routed, QueueError> {
        if self.over.is_cancelled() { Err(ended()) } else { self.queues.publish_later(message, delay).await }
    }
}

/// Publishes for a session, and counts what no queue took. Clones share the count.
#[derive(Debug, Clone)]
pub(in crate::queue) struct BulkPublisher {
    publisher: Publisher,
    returned: Arc<AtomicUsize>,
}

impl BulkPublisher {
    pub(in crate::queue) async fn send(&self, message: &Message<'_>) -> Result<(), QueueError> {
        if self.publisher.publish(message).await? == Routed::Nowhere {
            self.returned.fetch_add(lines(message.body), Ordering::Relaxed);
        }
        Ok(())
    }

    pub(in crate::queue) fn flush(&self) -> usize {
        self.returned.swap(0, Ordering::Relaxed)
    }

    pub(in crate::queue) fn same_session(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.returned, &other.returned)
    }
}

fn ended() -> QueueError {
    QueueError::Lost("the session has ended".to_owned())
}

fn no_queue(name: &str) -> QueueError {
    QueueError::Lost(format!("no queue {name}"))
}

//! Publishing messages, with the broker's confirmation.

use super::{QueueError, embedded, rabbitmq};
use protocol::{Priority, Turn, Wait, names::amqp};
use std::time::Duration;

/// A message to publish.
#[derive(Debug, Clone, Default)]
pub struct Message<'a> {
    /// The exchange; empty: straight to the queue named by `routing_key`.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// It must survive a restart of the broker.
    pub persistent: bool,
    /// It is of no use if no queue takes it: ask the broker to say so.
    pub mandatory: bool,
    /// The property `correlation_id`.
    pub correlation_id: Option<&'a str>,
    /// The property `reply_to`.
    pub reply_to: Option<&'a str>,
    /// The broker drops it when it has waited so long.
    pub expiration: Option<Duration>,
    /// Headers with text values.
    pub headers: &'a [(&'static str, &'a str)],
    /// The property `priority`.
    pub turn: Turn,
}

/// A task that is to come to its queue again later.
#[derive(Debug, Clone, Copy)]
pub struct Later<'a> {
    /// Which queue it comes to.
    pub priority: Priority,
    /// After how long. Over RabbitMQ it comes sooner: after the longest delay of a queue that is not longer, but after a
    /// second at least.
    pub delay: Duration,
    /// The body.
    pub body: &'a [u8],
    /// What it tells of its waiting.
    pub wait: &'a Wait,
}

/// Where a confirmed message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// To a queue, unless nobody asked (see [`Message::mandatory`]).
    Yes,
    /// To none, though that was asked for: no queue was there for it.
    Nowhere,
}

/// Publishes, each message confirmed. Clones share what they publish on.
#[derive(Debug, Clone)]
pub struct Publisher(pub(super) Link);

#[derive(Debug, Clone)]
pub(super) enum Link {
    RabbitMq(rabbitmq::Publisher),
    Embedded(embedded::Publisher),
}

impl Publisher {
    /// Publishes, and waits until the broker has it: for a persistent message on a durable queue, on disk.
    ///
    /// # Errors
    /// When the broker refuses it or the connection is lost; whether it has the message is then unknown.
    pub async fn publish(&self, message: Message<'_>) -> Result<Routed, QueueError> {
        match &self.0 {
            Link::RabbitMq(publisher) => publisher.publish(message).await,
            Link::Embedded(publisher) => publisher.publish(&message).await,
        }
    }

    /// Publishes a task that comes to its queue later, and waits until the broker has it, on disk.
    ///
    /// # Errors
    /// When the broker refuses it, has no queue for it, or is lost; whether it has the task is then unknown.
    pub async fn publish_later(&self, later: Later<'_>) -> Result<(), QueueError> {
        let Later { priority, delay, body, wait } = later;
        let (wait, queue) = (wait.to_json(), amqp::task_queue(priority));
        let headers = [(amqp::WAIT, wait.as_str())];
        let message = |routing_key| Message {
            routing_key,
            body,
            persistent: true,
            mandatory: true,
            headers: &headers,
            ..Message::default()
        };
        let (queue, routed) = match &self.0 {
            Link::RabbitMq(publisher) => {
                let waiting = amqp::waiting_queue(priority, amqp::wait_seconds(priority, delay));
                let routed = publisher.publish(message(&waiting)).await?;
                (waiting, routed)
            }
            Link::Embedded(publisher) => (queue.to_owned(), publisher.publish_later(&message(queue), delay).await?),
        };
        match routed {
            Routed::Yes => Ok(()),
            // Somebody deleted it; the next session declares it again.
            Routed::Nowhere => Err(QueueError::Lost(format!("no queue {queue}"))),
        }
    }
}

/// How many lines a body has, one at least.
pub(super) fn lines(body: &[u8]) -> usize {
    1 + body.iter().filter(|byte| **byte == b'\n').count()
}

/// Publishes messages that need not survive the broker, without a confirmation for each, which would cost as much as
/// the message. Clones share what they publish on.
#[derive(Debug, Clone)]
pub struct BulkPublisher(pub(super) BulkLink);

#[derive(Debug, Clone)]
pub(super) enum BulkLink {
    RabbitMq(rabbitmq::BulkPublisher),
    Embedded(embedded::BulkPublisher),
}

impl BulkPublisher {
    /// Sends a message on its way; [`flush`](Self::flush) tells when the broker has it.
    ///
    /// # Errors
    /// When the connection is lost already.
    pub async fn send(&self, message: &Message<'_>) -> Result<(), QueueError> {
        match &self.0 {
            BulkLink::RabbitMq(publisher) => publisher.send(message),
            BulkLink::Embedded(publisher) => publisher.send(message).await,
        }
    }

    /// Waits until the broker has everything that was sent. The number of lines in mandatory messages that no queue took
    /// since the last time: a message without line breaks is one.
    ///
    /// # Errors
    /// When the connection is lost; whether the broker has what was sent is then unknown.
    pub async fn flush(&self) -> Result<usize, QueueError> {
        match &self.0 {
            BulkLink::RabbitMq(publisher) => publisher.flush().await,
            BulkLink::Embedded(publisher) => Ok(publisher.flush()),
        }
    }

    /// Whether both belong to the same session.
    pub fn same_session(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (BulkLink::RabbitMq(one), BulkLink::RabbitMq(other)) => one.same_channel(other),
            (BulkLink::Embedded(one), BulkLink::Embedded(other)) => one.same_session(other),
            _ => false,
        }
    }
}

//! Publishing messages, with the broker's confirmation.

use super::{QueueError, embedded, rabbitmq};
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
}

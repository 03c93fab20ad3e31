//! Publishing messages, with the broker's confirmation.

use super::{QueueError, error::Doing};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

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

/// Publishes on one channel, in confirm mode. Clones share the channel.
#[derive(Debug, Clone)]
pub struct Publisher {
    channel: Channel,
}

impl Publisher {
    pub(super) async fn open(connection: &Connection) -> Result<Self, QueueError> {
        let channel = connection.create_channel().await.doing("opening a channel")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
        Ok(Self { channel })
    }

    /// Publishes, and waits until the broker has it: for a persistent message on a durable queue, on disk.
    ///
    /// # Errors
    /// When the broker refuses it or the connection is lost; whether it has the message is then unknown.
    pub async fn publish(&self, message: Message<'_>) -> Result<Routed, QueueError> {
        let sent = basic_publish(&self.channel, &message).await.doing("publishing a message")?;
        match sent.await.doing("waiting for the broker's confirm")? {
            Confirmation::Ack(None) => Ok(Routed::Yes),
            Confirmation::Ack(Some(_)) => Ok(Routed::Nowhere),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(QueueError::Refused(message.routing_key.to_owned()))
            }
        }
    }
}

async fn basic_publish(channel: &Channel, message: &Message<'_>) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
    let (exchange, key) = (message.exchange.into(), message.routing_key.into());
    channel.basic_publish(exchange, key, options, message.body, properties(message)).await
}

/// Publishes messages that need not survive the broker on one channel, without a confirmation for each, which would
/// cost as much as the message. Clones share the channel.
#[derive(Debug, Clone)]
pub struct BulkPublisher {
    channel: Arc<Channel>,
}

impl BulkPublisher {
    pub(super) async fn open(connection: &Connection) -> Result<Self, QueueError> {
        Ok(Self { channel: Arc::new(connection.create_channel().await.doing("opening a channel")?) })
    }

    /// Sends a message on its way; [`flush`](Self::flush) tells when the broker has it.
    ///
    /// # Errors
    /// When the connection is lost already.
    pub fn send(&self, message: &Message<'_>) -> Result<(), QueueError> {
        // The first poll hands the frames to the client library's own thread. Nobody is woken when they are written:
        // that would cost more than the writing.
        let publish = pin!(basic_publish(&self.channel, message));
        match publish.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(error).doing("publishing a message"),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Waits until the broker has everything that was sent. The number of mandatory messages that no queue took since
    /// the last time.
    ///
    /// # Errors
    /// When the connection is lost; whether the broker has what was sent is then unknown.
    pub async fn flush(&self) -> Result<usize, QueueError> {
        // A channel's commands are carried out in their order, so the answer to this one comes after all returns.
        self.channel.basic_qos(0, BasicQosOptions::default()).await.doing("waiting for the broker")?;
        Ok(self.channel.wait_for_confirms().await.doing("collecting returned messages")?.len())
    }

    /// Whether both are the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

fn properties(message: &Message<'_>) -> BasicProperties {
    let mut properties = BasicProperties::default();
    if message.persistent {
        properties = properties.with_delivery_mode(2);
    }
    if let Some(id) = message.correlation_id {
        properties = properties.with_correlation_id(id.into());
    }
    if let Some(queue) = message.reply_to {
        properties = properties.with_reply_to(queue.into());
    }
    if let Some(expiration) = message.expiration {
        properties = properties.with_expiration(expiration.as_millis().to_string().into());
    }
    if !message.headers.is_empty() {
        let mut headers = FieldTable::default();
        for (name, value) in message.headers {
            headers.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        properties = properties.with_headers(headers);
    }
    properties
}

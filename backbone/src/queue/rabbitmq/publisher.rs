//! Publishing messages to RabbitMQ, with its confirmation.

use crate::queue::{Message, QueueError, Routed, error::Doing};
use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};

/// Publishes on one channel, in confirm mode. Clones share the channel.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Publisher {
    channel: Channel,
}

impl Publisher {
    pub(super) async fn open(connection: &lapin::Connection) -> Result<Self, QueueError> {
        let channel = connection.create_channel().await.doing("opening a channel")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
        Ok(Self { channel })
    }

    pub(in crate::queue) async fn publish(&self, message: Message<'_>) -> Result<Routed, QueueError> {
        match self.send(&message).await?.await.doing("waiting for the broker's confirm")? {
            Confirmation::Ack(None) => Ok(Routed::Yes),
            Confirmation::Ack(Some(_)) => Ok(Routed::Nowhere),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(QueueError::Refused(message.routing_key.to_owned()))
            }
        }
    }

    async fn send(&self, message: &Message<'_>) -> Result<PublisherConfirm, QueueError> {
        let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
        let exchange = message.exchange.into();
        let key = message.routing_key.into();
        let properties = properties(message);
        self.channel.basic_publish(exchange, key, options, message.body, properties).await.doing("publishing a message")
    }
}

/// A channel without confirms, for messages whose answer is their confirmation. Clones share the channel.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Requests {
    channel: Channel,
}

impl Requests {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    pub(in crate::queue) async fn send(&self, message: &Message<'_>) -> Result<(), QueueError> {
        let (exchange, key) = (message.exchange.into(), message.routing_key.into());
        let publish = self.channel.basic_publish(
            exchange,
            key,
            BasicPublishOptions::default(),
            message.body,
            properties(message),
        );
        publish.await.doing("publishing an RPC request")?;
        Ok(())
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

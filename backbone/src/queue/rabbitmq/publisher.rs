//! Publishing messages to RabbitMQ, with its confirmation.

use crate::queue::{Message, QueueError, Routed, error::Doing, publisher::lines};
use lapin::{
    BasicProperties, Channel, Confirmation, ConnectionStatus, PublisherConfirm,
    options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use protocol::{Turn, names::amqp};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::timeout;

/// A broker that answers heartbeats and says for so long nothing of a message will never say anything: the session is
/// given up, and what was not settled in it is delivered again.
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);

/// Publishes on one channel, in confirm mode. Clones share the channel.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Publisher {
    channel: Channel,
    connection: ConnectionStatus,
}

impl Publisher {
    pub(super) async fn open(connection: &lapin::Connection) -> Result<Self, QueueError> {
        let channel = connection.create_channel().await.doing("opening a channel")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
        Ok(Self { channel, connection: connection.status().clone() })
    }

    pub(in crate::queue) async fn publish(&self, message: Message<'_>) -> Result<Routed, QueueError> {
        let sent = basic_publish(&self.channel, &message).await.doing("publishing a message")?;
        let confirmed = in_time(sent, || self.connection.blocked()).await?;
        match confirmed.doing("waiting for the broker's confirm")? {
            Confirmation::Ack(None) => Ok(Routed::Yes),
            Confirmation::Ack(Some(_)) => Ok(Routed::Nowhere),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(QueueError::Refused(message.routing_key.to_owned()))
            }
        }
    }
}

/// Waits for a confirm, but not for ever; where the broker has said that it takes nothing for now, as long as that lasts.
async fn in_time<T>(confirm: impl Future<Output = T>, blocked: impl Fn() -> bool) -> Result<T, QueueError> {
    let mut confirm = pin!(confirm);
    loop {
        match timeout(CONFIRM_LIMIT, confirm.as_mut()).await {
            Ok(confirmed) => return Ok(confirmed),
            Err(_) if blocked() => {}
            Err(_) => return Err(QueueError::Lost(format!("a message was not confirmed within {CONFIRM_LIMIT:?}"))),
        }
    }
}

async fn basic_publish(channel: &Channel, message: &Message<'_>) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
    let (exchange, key) = (message.exchange.into(), message.routing_key.into());
    channel.basic_publish(exchange, key, options, message.body, properties(message)).await
}

/// Publishes on one channel, without a confirmation for each message. Clones share the channel.
#[derive(Debug, Clone)]
pub(in crate::queue) struct BulkPublisher {
    channel: Arc<Channel>,
}

impl BulkPublisher {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel: Arc::new(channel) }
    }

    pub(in crate::queue) fn send(&self, message: &Message<'_>) -> Result<(), QueueError> {
        // The first poll hands the frames to the client library's own thread. Nobody is woken when they are written:
        // that would cost more than the writing.
        let publish = pin!(basic_publish(&self.channel, message));
        match publish.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(error).doing("publishing a message"),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    pub(in crate::queue) async fn flush(&self) -> Result<usize, QueueError> {
        // A channel's commands are carried out in their order, so the answer to this one comes after all returns.
        self.channel.basic_qos(0, BasicQosOptions::default()).await.doing("waiting for the broker")?;
        let returned = self.channel.wait_for_confirms().await.doing("collecting returned messages")?;
        Ok(returned.iter().map(|message| lines(&message.delivery.data)).sum())
    }

    pub(in crate::queue) fn same_channel(&self, other: &Self) -> bool {
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
    if message.turn != Turn::default() {
        properties = properties.with_priority(amqp::priority(message.turn));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, future::pending};
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_confirm_that_never_comes_ends_the_session() {
        let began = Instant::now();
        let error = in_time(pending::<()>(), || false).await.unwrap_err();
        assert!(matches!(error, QueueError::Lost(_)), "{error}");
        assert_eq!(began.elapsed(), CONFIRM_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_takes_nothing_for_now_is_waited_for() {
        let looks = Cell::new(0);
        let blocked = || looks.replace(looks.get() + 1) < 9;
        assert!(in_time(sleep(10 * CONFIRM_LIMIT), &blocked).await.is_ok());
        assert!(in_time(sleep(2 * CONFIRM_LIMIT), &blocked).await.is_err());
    }
}

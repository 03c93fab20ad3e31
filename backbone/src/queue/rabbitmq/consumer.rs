//! Taking messages from a queue in RabbitMQ.

use super::acks::{Acks, When};
use crate::queue::{Delivery, Prefetch, QueueError, Ticket, error::Doing};
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    message::Delivery as LapinDelivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use protocol::{Wait, names::amqp};
use std::{sync::Arc, time::Duration};

impl From<LapinDelivery> for Delivery {
    fn from(delivery: LapinDelivery) -> Self {
        let properties = &delivery.properties;
        let short = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
        let expiration = properties.expiration().as_ref().and_then(|text| text.as_str().parse().ok());
        let headers = properties.headers().as_ref();
        Self {
            ticket: Ticket(delivery.delivery_tag),
            correlation_id: short(properties.correlation_id()),
            reply_to: short(properties.reply_to()),
            expiration: expiration.map(Duration::from_millis),
            timestamp_seconds: *properties.timestamp(),
            timestamp_ms: headers.and_then(|headers| number(headers, amqp::TIMESTAMP_IN_MS)),
            redelivered: delivery.redelivered,
            reason: headers.and_then(reason),
            turn: amqp::parse_priority(*properties.priority()),
            wait: headers.and_then(|headers| Wait::parse(&text(headers.inner().get(amqp::WAIT)?)?)),
            body: delivery.data,
        }
    }
}

fn number(headers: &FieldTable, name: &str) -> Option<u64> {
    match headers.inner().get(name)? {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::Timestamp(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Our own reason, else the one in RabbitMQ's record of dead-lettering.
fn reason(headers: &FieldTable) -> Option<String> {
    if let Some(reason) = headers.inner().get(amqp::REASON) {
        return text(reason);
    }
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
    text(death.inner().get("reason")?)
}

/// Takes messages from one queue.
#[derive(Debug)]
pub(in crate::queue) struct Consumer {
    consumer: lapin::Consumer,
    channel: Channel,
    acks: Arc<Acks>,
}

impl Consumer {
    pub(super) async fn start(channel: Channel, queue: &str, prefetch: Prefetch) -> Result<Self, QueueError> {
        let (limit, when) = match prefetch {
            Prefetch::Each(limit) => (limit, When::Each),
            Prefetch::Together(limit) => (limit, When::Together { patience: usize::from(limit) / 4 }),
            Prefetch::Unacknowledged => (0, When::Each),
        };
        channel.basic_qos(limit, BasicQosOptions::default()).await.doing("setting the prefetch")?;
        let options =
            BasicConsumeOptions { no_ack: prefetch == Prefetch::Unacknowledged, ..BasicConsumeOptions::default() };
        let consumer = channel
            .basic_consume(queue.into(), "".into(), options, FieldTable::default())
            .await
            .doing("consuming a queue")?;
        Ok(Self { consumer, acks: Arc::new(Acks::new(channel.clone(), when)), channel })
    }

    pub(in crate::queue) async fn next(&mut self) -> Result<Delivery, QueueError> {
        loop {
            tokio::select! {
                biased;
                delivery = self.consumer.next() => return match delivery {
                    Some(delivery) => Ok(delivery.doing("taking a message from a queue")?.into()),
                    None => Err(QueueError::Lost("the broker ended the consumer".to_owned())),
                },
                () = self.acks.lingered() => self.acks.send_due().await?,
            }
        }
    }

    pub(in crate::queue) async fn next_chunk(&mut self, most: usize) -> Result<Vec<Delivery>, QueueError> {
        let mut chunk = vec![self.next().await?];
        while chunk.len() < most {
            match self.consumer.next().now_or_never() {
                Some(Some(Ok(delivery))) => chunk.push(delivery.into()),
                // An error here is met again by the next call.
                _ => break,
            }
        }
        Ok(chunk)
    }

    pub(in crate::queue) fn settler(&self) -> Settler {
        Settler(Arc::clone(&self.acks))
    }

    pub(in crate::queue) async fn cancel(&self) -> Result<(), QueueError> {
        let tag = self.consumer.tag();
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await.doing("ending a consumer")
    }
}

/// Settles deliveries of one consumer.
#[derive(Debug, Clone)]
pub(in crate::queue) struct Settler(Arc<Acks>);

impl Settler {
    pub(in crate::queue) async fn settle(&self, tickets: &[Ticket]) -> Result<(), QueueError> {
        self.0.settle(tickets).await
    }

    pub(in crate::queue) async fn flush(&self) -> Result<(), QueueError> {
        self.0.flush().await
    }
}

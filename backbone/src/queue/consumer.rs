//! Taking messages from a queue.

use super::{Delivery, QueueError, Ticket, embedded, rabbitmq};

/// Takes messages from one queue.
#[derive(Debug)]
pub struct Consumer(pub(super) Link);

#[derive(Debug)]
pub(super) enum Link {
    RabbitMq(Box<rabbitmq::Consumer>),
    Embedded(embedded::Consumer),
}

impl Consumer {
    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the connection or the channel is lost, or the queue was deleted.
    pub async fn next(&mut self) -> Result<Delivery, QueueError> {
        match &mut self.0 {
            Link::RabbitMq(consumer) => consumer.next().await,
            Link::Embedded(consumer) => consumer.next().await,
        }
    }

    /// The next message and those that are here already, `most` at most. Cancel-safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_chunk(&mut self, most: usize) -> Result<Vec<Delivery>, QueueError> {
        match &mut self.0 {
            Link::RabbitMq(consumer) => consumer.next_chunk(most).await,
            Link::Embedded(consumer) => consumer.next_chunk(most).await,
        }
    }

    /// What to settle deliveries with, from wherever they are handled.
    pub fn settler(&self) -> Settler {
        Settler(match &self.0 {
            Link::RabbitMq(consumer) => SettlerLink::RabbitMq(consumer.settler()),
            Link::Embedded(consumer) => SettlerLink::Embedded(consumer.settler()),
        })
    }

    /// Takes no more messages; those that were taken can still be settled.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn cancel(&self) -> Result<(), QueueError> {
        match &self.0 {
            Link::RabbitMq(consumer) => consumer.cancel().await,
            Link::Embedded(consumer) => {
                consumer.cancel();
                Ok(())
            }
        }
    }
}

/// Settles deliveries of one consumer. What was taken and not settled is delivered again when the consumer and all of
/// its settlers are gone, or the session is.
#[derive(Debug, Clone)]
pub struct Settler(SettlerLink);

#[derive(Debug, Clone)]
enum SettlerLink {
    RabbitMq(rabbitmq::Settler),
    Embedded(embedded::Settler),
}

impl Settler {
    /// These are done with: the broker may forget them.
    ///
    /// # Errors
    /// When the connection is lost; the broker then delivers them again.
    pub async fn settle(&self, tickets: &[Ticket]) -> Result<(), QueueError> {
        match &self.0 {
            SettlerLink::RabbitMq(settler) => settler.settle(tickets).await,
            SettlerLink::Embedded(settler) => settler.settle(tickets),
        }
    }

    /// Acknowledges at once whatever waits to be acknowledged together with others.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn flush(&self) -> Result<(), QueueError> {
        match &self.0 {
            SettlerLink::RabbitMq(settler) => settler.flush().await,
            // Settled is settled: nothing waits.
            SettlerLink::Embedded(_) => Ok(()),
        }
    }
}

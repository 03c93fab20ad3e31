//! The queues in RabbitMQ.

mod acks;
mod connection;
mod consumer;
mod publisher;
mod topology;

pub use connection::RabbitMqUrl;
pub(super) use connection::{Audience, Connection};
pub(super) use consumer::{Consumer, Settler};
pub(super) use publisher::{BulkPublisher, Publisher};

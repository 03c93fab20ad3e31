//! The queues in RabbitMQ.

mod acks;
mod connection;
mod consumer;
mod publisher;
mod topology;
mod url;

pub(super) use connection::{Audience, Connection};
pub(super) use consumer::{Consumer, Settler};
pub(super) use publisher::{BulkPublisher, Publisher};
pub use url::RabbitMqUrl;

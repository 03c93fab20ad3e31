//! Tasks, RPC requests, replies and results: over RabbitMQ, or inside one process.
//!
//! A [`Broker`] is one connection, and lives as long as one session of its role: nothing here reconnects. When it is
//! [lost](Broker::lost), the session ends and the next one opens another. What carries the messages is chosen by the
//! [`AmqpUrl`]; one suite of tests runs over both.

mod broker;
mod consumer;
mod dead_letters;
mod delivery;
mod embedded;
mod error;
mod outbox;
mod publisher;
mod rabbitmq;
mod rpc;

pub use broker::{AmqpArgs, AmqpUrl, Broker};
pub use consumer::{Consumer, Settler};
pub use dead_letters::{DeadLetter, Replayed, enqueue, look, replay};
pub use delivery::{Delivery, Prefetch, Ticket};
pub use embedded::EmbeddedQueues;
pub use error::QueueError;
pub use publisher::{BulkPublisher, Later, Message, Publisher, Routed};
pub use rabbitmq::RabbitMqUrl;
pub use rpc::{RpcClient, RpcError, RpcRequest};

//! Tasks, RPC requests, replies and results over RabbitMQ.
//!
//! A [`Broker`] is one connection, and lives as long as one session of its role: nothing here reconnects. When it is
//! [lost](Broker::lost), the session ends and the next one opens another.

mod acks;
mod broker;
mod consumer;
mod dead_letters;
mod error;
mod publisher;
mod rpc;
mod topology;

pub use acks::Ticket;
pub use broker::{AmqpArgs, AmqpUrl, Broker};
pub use consumer::{Consumer, Delivery, Prefetch, Settler};
pub use dead_letters::{DeadLetter, Replayed, enqueue, look, replay};
pub use error::QueueError;
pub use publisher::{Message, Publisher, Routed};
pub use rpc::{RpcClient, RpcError, RpcRequest};

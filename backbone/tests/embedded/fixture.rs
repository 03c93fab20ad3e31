//! A data folder, and short ways to use its queues.

use backbone::{
    embedded::{DataFolder, FolderOptions, OpenError},
    queue::{AmqpUrl, Broker, Consumer, Delivery, EmbeddedQueues, Message, Prefetch, Publisher},
};
use protocol::names::amqp;
use std::{future::Future, path::Path, time::Duration};
use tokio::time::timeout;

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("in time")
}

pub(crate) fn open(path: &Path) -> Result<DataFolder, OpenError> {
    DataFolder::open(&FolderOptions { path: path.to_owned(), max_bytes: None })
}

/// A session with the queues of a folder.
pub(crate) async fn session(folder: &DataFolder) -> Broker {
    let queues = EmbeddedQueues::open(folder).await.unwrap();
    Broker::connect(&AmqpUrl::Embedded(queues), "test").await.unwrap()
}

pub(crate) async fn publish(publisher: &Publisher, body: &[u8]) -> Result<(), backbone::queue::QueueError> {
    let message = Message { routing_key: amqp::TASKS, body, persistent: true, ..Message::default() };
    publisher.publish(message).await.map(drop)
}

pub(crate) async fn tasks(broker: &Broker, prefetch: u16) -> Consumer {
    broker.consume(amqp::TASKS, Prefetch::Each(prefetch)).await.unwrap()
}

pub(crate) async fn take(consumer: &mut Consumer) -> Delivery {
    soon(consumer.next()).await.unwrap()
}

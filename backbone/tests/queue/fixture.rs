//! A fresh set of queues, and short ways to say what the tests do with them.

use backbone::{
    embedded::{DataFolder, FolderOptions},
    queue::{AmqpUrl, Broker, Consumer, Delivery, EmbeddedQueues, Message, Prefetch, Publisher, Routed},
};
use protocol::names::amqp;
use std::{future::Future, time::Duration};
use tempfile::TempDir;
use testbed::SharedServers;
use tokio::time::timeout;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);
/// Whatever has not come by then does not come.
const NEVER: Duration = Duration::from_millis(300);

/// Queues that nobody else uses.
pub(crate) struct Fixture {
    pub(crate) url: AmqpUrl,
    _folder: Option<TempDir>,
}

impl Fixture {
    pub(crate) async fn rabbitmq() -> Self {
        let servers = SharedServers::from_env().unwrap().expect("run by `make test`, or set TESTBED_*");
        let url = servers.create_vhost(&format!("queue-{}", Uuid::new_v4().simple())).await.unwrap();
        Self { url: url.parse().unwrap(), _folder: None }
    }

    pub(crate) async fn embedded() -> Self {
        let path = tempfile::tempdir().unwrap();
        let options = FolderOptions { path: path.path().to_owned(), max_bytes: None };
        let folder = DataFolder::open(&options).unwrap();
        let queues = EmbeddedQueues::open(&folder).await.unwrap();
        Self { url: AmqpUrl::Embedded(queues), _folder: Some(path) }
    }

    pub(crate) async fn broker(&self) -> Broker {
        let broker = Broker::connect(&self.url, "test").await.unwrap();
        broker.declare().await.unwrap();
        broker
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("in time")
}

pub(crate) async fn take(consumer: &mut Consumer) -> Delivery {
    soon(consumer.next()).await.unwrap()
}

pub(crate) async fn take_text(consumer: &mut Consumer) -> (String, bool) {
    let delivery = take(consumer).await;
    (String::from_utf8(delivery.body).unwrap(), delivery.redelivered)
}

pub(crate) async fn nothing_comes(consumer: &mut Consumer) {
    let came = timeout(NEVER, consumer.next()).await;
    assert!(came.is_err(), "{came:?}");
}

/// Waits until so many messages wait.
pub(crate) async fn backlog(broker: &Broker, queue: &str, expected: u32) {
    let reached = async {
        while broker.backlog(queue).await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(reached).await;
}

/// Publishes `0`, `1` and so on as tasks.
pub(crate) async fn enqueue(publisher: &Publisher, count: usize) {
    for number in 0..count {
        assert_eq!(publisher.publish(task(number.to_string().as_bytes())).await.unwrap(), Routed::Yes);
    }
}

pub(crate) fn task(body: &[u8]) -> Message<'_> {
    Message { routing_key: amqp::TASKS, body, persistent: true, mandatory: true, ..Message::default() }
}

pub(crate) async fn tasks(broker: &Broker, prefetch: u16) -> Consumer {
    broker.consume(amqp::TASKS, Prefetch::Each(prefetch)).await.unwrap()
}

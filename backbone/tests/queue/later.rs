//! Tasks that come to their queues later.

use crate::fixture::*;
use backbone::queue::{Broker, Consumer, Later, Prefetch, Publisher};
use protocol::{Priority, Wait, WaitFor, names::amqp};
use std::time::Duration;

const WAIT: Wait = Wait {
    what: WaitFor::GatewayFull,
    since_ms: 1_000,
    due_ms: 2_000,
    waited_ms: 3_000,
    paused_ms: 0,
    first_delivery_ms: 4_000,
    attempts: 5,
    reason: None,
};
const SECOND: Duration = Duration::from_secs(1);

async fn put_off(publisher: &Publisher, priority: Priority, delay: Duration, body: &[u8]) {
    publisher.publish_later(Later { priority, delay, body, wait: &WAIT }).await.unwrap();
}

async fn of(broker: &Broker, priority: Priority) -> Consumer {
    broker.consume(amqp::task_queue(priority), Prefetch::Each(10)).await.unwrap()
}

/// Waits until so many tasks wait.
async fn waiting(broker: &Broker, expected: u32) {
    soon(async {
        while broker.waiting().await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) async fn a_task_put_off_comes_later_and_is_the_same(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    let (mut normal, mut urgent) = (of(&broker, Priority::Normal).await, of(&broker, Priority::Urgent).await);
    for priority in Priority::ALL {
        put_off(&publisher, priority, SECOND, priority.as_str().as_bytes()).await;
    }
    waiting(&broker, 2).await;
    assert_eq!(broker.backlog(amqp::TASKS).await.unwrap(), 0, "what waits is no backlog");
    nothing_comes(&mut normal).await;
    for (consumer, body) in [(&mut normal, "normal"), (&mut urgent, "urgent")] {
        let delivery = take(consumer).await;
        assert_eq!((delivery.body.as_slice(), delivery.wait), (body.as_bytes(), Some(WAIT)));
        assert!(!delivery.redelivered);
        consumer.settler().settle(&[delivery.ticket]).await.unwrap();
    }
    waiting(&broker, 0).await;
    nothing_comes(&mut normal).await;
    nothing_comes(&mut urgent).await;
}

pub(crate) async fn who_waits_long_holds_nobody_up(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    put_off(&publisher, Priority::Normal, 3600 * SECOND, b"long").await;
    put_off(&publisher, Priority::Normal, SECOND, b"short").await;
    assert_eq!(take_text(&mut of(&broker, Priority::Normal).await).await.0, "short");
    waiting(&broker, 1).await;
}

pub(crate) async fn what_waits_outlives_whoever_put_it_off(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for number in 0..300 {
        put_off(&publisher, Priority::Normal, SECOND, number.to_string().as_bytes()).await;
    }
    broker.close().await;
    assert!(
        publisher
            .publish_later(Later { priority: Priority::Normal, delay: SECOND, body: b"late", wait: &WAIT })
            .await
            .is_err()
    );
    let next = fixture.broker().await;
    let mut tasks = of(&next, Priority::Normal).await;
    let mut came = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let delivery = take(&mut tasks).await;
        tasks.settler().settle(&[delivery.ticket]).await.unwrap();
        came.insert(delivery.body);
    }
    assert_eq!(came.len(), 300);
    backlog(&next, amqp::TASKS, 0).await;
    waiting(&next, 0).await;
}

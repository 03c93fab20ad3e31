//! From the publisher to the consumer.

use crate::fixture::*;
use backbone::queue::{Message, Prefetch};
use protocol::{Turn, names::amqp};
use std::time::Duration;

pub(crate) async fn messages_come_in_order_and_settled_ones_are_gone(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 50).await;
    let mut consumer = tasks(&broker, 7).await;
    for number in 0..50 {
        let delivery = take(&mut consumer).await;
        assert_eq!((delivery.body.as_slice(), delivery.redelivered), (number.to_string().as_bytes(), false));
        consumer.settler().settle(&[delivery.ticket]).await.unwrap();
    }
    nothing_comes(&mut consumer).await;
    broker.close().await;
    let next = fixture.broker().await;
    nothing_comes(&mut tasks(&next, 7).await).await;
}

pub(crate) async fn the_prefetch_bounds_what_is_in_hand(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 5).await;
    let mut consumer = tasks(&broker, 3).await;
    let first = take(&mut consumer).await;
    for _ in 0..2 {
        take(&mut consumer).await;
    }
    nothing_comes(&mut consumer).await;
    consumer.settler().settle(&[first.ticket]).await.unwrap();
    assert_eq!(take_text(&mut consumer).await.0, "3");
    nothing_comes(&mut consumer).await;
}

pub(crate) async fn a_chunk_is_what_is_there(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    let mut consumer = broker.consume(amqp::RPC, Prefetch::Together(64)).await.unwrap();
    for number in 0..40 {
        let body = [number];
        let request = Message { routing_key: amqp::RPC, body: &body, ..Message::default() };
        publisher.publish(request).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let chunk = soon(consumer.next_chunk(16)).await.unwrap();
        assert!((1..=16).contains(&chunk.len()));
        let tickets: Vec<_> = chunk.iter().map(|delivery| delivery.ticket).collect();
        seen.extend(chunk.into_iter().map(|delivery| delivery.body[0]));
        consumer.settler().settle(&tickets).await.unwrap();
    }
    consumer.settler().flush().await.unwrap();
    assert!(seen.into_iter().eq(0..40));
}

pub(crate) async fn consumers_share_a_queue(fixture: Fixture) {
    let (broker, other) = (fixture.broker().await, fixture.broker().await);
    let (mut first, mut second) = (tasks(&broker, 5).await, tasks(&other, 5).await);
    enqueue(&broker.publisher().await.unwrap(), 10).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(take_text(&mut first).await.0.parse::<u32>().unwrap());
        seen.push(take_text(&mut second).await.0.parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..10));
}

pub(crate) async fn a_backlog_is_what_nobody_has(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 10).await;
    backlog(&broker, amqp::TASKS, 10).await;
    let mut consumer = tasks(&broker, 4).await;
    let delivery = take(&mut consumer).await;
    backlog(&broker, amqp::TASKS, 6).await;
    consumer.settler().settle(&[delivery.ticket]).await.unwrap();
    backlog(&broker, amqp::TASKS, 5).await;
    broker.close().await;
    backlog(&fixture.broker().await, amqp::TASKS, 9).await;
}

pub(crate) async fn properties_are_carried(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for queue in [amqp::RPC, amqp::DEAD_TASKS] {
        let message = Message {
            routing_key: queue,
            body: b"\0body",
            persistent: true,
            correlation_id: Some("c-1"),
            reply_to: Some("esl.reply.x"),
            expiration: Some(Duration::from_secs(60)),
            headers: &[(amqp::REASON, "no JSON")],
            ..Message::default()
        };
        publisher.publish(message).await.unwrap();
        let delivery = take(&mut broker.consume(queue, Prefetch::Each(1)).await.unwrap()).await;
        assert_eq!(delivery.body, b"\0body");
        assert_eq!(delivery.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(delivery.reply_to.as_deref(), Some("esl.reply.x"));
        assert_eq!(delivery.expiration, Some(Duration::from_secs(60)));
        assert_eq!(delivery.reason.as_deref(), Some("no JSON"));
        assert_eq!((delivery.turn, delivery.wait), (Turn::Newcomer, None));
    }
}

pub(crate) async fn what_expires_is_not_delivered(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for queue in [amqp::RPC, amqp::DEAD_TASKS] {
        let message = |body, milliseconds| Message {
            routing_key: queue,
            body,
            expiration: Some(Duration::from_millis(milliseconds)),
            ..Message::default()
        };
        publisher.publish(message(b"short", 50)).await.unwrap();
        publisher.publish(message(b"long", 60_000)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        let mut consumer = broker.consume(queue, Prefetch::Each(1)).await.unwrap();
        assert_eq!(take_text(&mut consumer).await.0, "long");
    }
}

pub(crate) async fn a_queue_that_is_not_there_can_not_be_consumed(fixture: Fixture) {
    let broker = fixture.broker().await;
    assert!(broker.consume("esl.nobody", Prefetch::Each(1)).await.is_err());
    assert!(broker.backlog("esl.nobody").await.is_err());
}

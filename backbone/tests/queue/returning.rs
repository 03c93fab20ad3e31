//! What becomes of messages that were taken and not settled.

use crate::fixture::*;
use backbone::queue::{Message, Prefetch};
use protocol::names::amqp;

pub(crate) async fn what_is_not_settled_comes_back_first_and_in_order(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 8).await;
    let mut consumer = tasks(&broker, 5).await;
    let mut tickets = Vec::new();
    for _ in 0..5 {
        tickets.push(take(&mut consumer).await.ticket);
    }
    consumer.settler().settle(&[tickets[1], tickets[3]]).await.unwrap();
    // Two more are on their way then.
    assert_eq!(take_text(&mut consumer).await, ("5".to_owned(), false));
    broker.close().await;
    let next = fixture.broker().await;
    let mut consumer = tasks(&next, 8).await;
    for number in [0, 2, 4, 5, 6, 7] {
        let (text, redelivered) = take_text(&mut consumer).await;
        assert_eq!(text, number.to_string());
        assert!(redelivered || number >= 6, "{number}");
        assert!(!redelivered || number < 7, "{number}");
    }
    nothing_comes(&mut consumer).await;
}

pub(crate) async fn requests_come_back_too(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for body in [b"0", b"1", b"2"] {
        publisher.publish(Message { routing_key: amqp::RPC, body, ..Message::default() }).await.unwrap();
    }
    let killed = fixture.broker().await;
    let mut consumer = killed.consume(amqp::RPC, Prefetch::Together(2)).await.unwrap();
    assert_eq!(take_text(&mut consumer).await, ("0".to_owned(), false));
    drop((consumer, killed));
    let mut consumer = broker.consume(amqp::RPC, Prefetch::Together(3)).await.unwrap();
    // A broker may notice only after it has handed out the rest that the other session is gone.
    let mut taken = [take_text(&mut consumer).await, take_text(&mut consumer).await, take_text(&mut consumer).await];
    taken.sort();
    let [zero, one, two] = taken;
    assert_eq!(zero, ("0".to_owned(), true));
    assert_eq!((one.0.as_str(), two), ("1", ("2".to_owned(), false)));
}

pub(crate) async fn a_cancelled_consumer_settles_what_it_has(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 3).await;
    let mut consumer = tasks(&broker, 1).await;
    let first = take(&mut consumer).await;
    consumer.cancel().await.unwrap();
    consumer.settler().settle(&[first.ticket]).await.unwrap();
    backlog(&broker, amqp::TASKS, 2).await;
    broker.close().await;
    let next = fixture.broker().await;
    assert_eq!(take_text(&mut tasks(&next, 1).await).await, ("1".to_owned(), false));
}

pub(crate) async fn a_session_that_ended_can_do_nothing(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    enqueue(&publisher, 1).await;
    let mut consumer = tasks(&broker, 1).await;
    let delivery = take(&mut consumer).await;
    let settler = consumer.settler();
    let waiting = tokio::spawn(async move { consumer.next().await });
    broker.close().await;
    soon(broker.lost()).await;
    assert!(soon(waiting).await.unwrap().is_err());
    assert!(settler.settle(&[delivery.ticket]).await.is_err());
    assert!(publisher.publish(task(b"late")).await.is_err());
    assert!(broker.consume(amqp::TASKS, Prefetch::Each(1)).await.is_err());
    let next = fixture.broker().await;
    assert_eq!(take_text(&mut tasks(&next, 2).await).await, ("0".to_owned(), true));
}

pub(crate) async fn a_task_that_comes_back_too_often_is_a_dead_letter(fixture: Fixture) {
    let broker = fixture.broker().await;
    enqueue(&broker.publisher().await.unwrap(), 1).await;
    let mut dead_letters = broker.consume(amqp::DEAD_TASKS, Prefetch::Each(1)).await.unwrap();
    for delivery in 0..=20 {
        let killed = fixture.broker().await;
        let (text, redelivered) = take_text(&mut tasks(&killed, 1).await).await;
        assert_eq!((text.as_str(), redelivered), ("0", delivery > 0), "{delivery}");
        killed.close().await;
    }
    let last = fixture.broker().await;
    nothing_comes(&mut tasks(&last, 1).await).await;
    let letter = take(&mut dead_letters).await;
    assert_eq!((letter.body.as_slice(), letter.reason.as_deref()), (b"0".as_slice(), Some("delivery_limit")));
}

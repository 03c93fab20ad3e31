//! Which queue a message goes to.

use crate::fixture::*;
use backbone::queue::{Message, Publisher, Routed};
use protocol::names::amqp;

async fn publish(publisher: &Publisher, key: &str, mandatory: bool) -> Routed {
    let message = Message {
        exchange: amqp::RESULTS,
        routing_key: key,
        body: key.as_bytes(),
        persistent: true,
        mandatory,
        ..Message::default()
    };
    publisher.publish(message).await.unwrap()
}

pub(crate) async fn results_go_where_their_pattern_says(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    let mut store = broker.consume_results("store", "sp-014.*", 10).await.unwrap();
    let mut all = broker.consume_results("all", "#", 10).await.unwrap();
    let mut failures = broker.consume_results("failures", "*.rejected", 10).await.unwrap();
    drop(broker.consume_results("failures", "*.unreachable", 10).await.unwrap());
    for key in ["sp-014.shown", "sp-015.rejected", "sp-014.unreachable"] {
        assert_eq!(publish(&publisher, key, true).await, Routed::Yes);
    }
    for (consumer, expected) in [
        (&mut store, vec!["sp-014.shown", "sp-014.unreachable"]),
        (&mut all, vec!["sp-014.shown", "sp-015.rejected", "sp-014.unreachable"]),
        (&mut failures, vec!["sp-015.rejected", "sp-014.unreachable"]),
    ] {
        for key in expected {
            assert_eq!(take_text(consumer).await, (key.to_owned(), false));
        }
        nothing_comes(consumer).await;
    }
}

pub(crate) async fn results_wait_for_whoever_was_there_before(fixture: Fixture) {
    let broker = fixture.broker().await;
    drop(broker.consume_results("backend", "#", 10).await.unwrap());
    broker.close().await;
    let broker = fixture.broker().await;
    publish(&broker.publisher().await.unwrap(), "sp-014.shown", true).await;
    backlog(&broker, "backend", 1).await;
    let mut backend = broker.consume_results("backend", "#", 10).await.unwrap();
    assert_eq!(take_text(&mut backend).await.0, "sp-014.shown");
}

pub(crate) async fn a_mandatory_message_without_a_queue_goes_nowhere(fixture: Fixture) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    assert_eq!(publish(&publisher, "sp-014.shown", true).await, Routed::Nowhere);
    assert_eq!(publish(&publisher, "sp-014.shown", false).await, Routed::Yes);
    let to_nobody = Message { routing_key: "esl.reply.gone", body: b"x", ..Message::default() };
    assert_eq!(publisher.publish(to_nobody.clone()).await.unwrap(), Routed::Yes);
    let to_nobody = Message { mandatory: true, ..to_nobody };
    assert_eq!(publisher.publish(to_nobody).await.unwrap(), Routed::Nowhere);
}

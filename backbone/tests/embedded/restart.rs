//! A process that ends and begins again.

use crate::fixture::*;
use backbone::queue::{Message, Prefetch};
use protocol::names::amqp;

#[tokio::test]
async fn what_waits_and_who_wants_results_is_known_again() {
    let path = tempfile::tempdir().unwrap();
    {
        let folder = open(path.path()).unwrap();
        let broker = session(&folder).await;
        let publisher = broker.publisher().await.unwrap();
        for body in [b"0", b"1", b"2", b"3"] {
            publish(&publisher, body).await.unwrap();
        }
        drop(broker.consume_results("backend", "sp-014.*", 1).await.unwrap());
        let mut consumer = tasks(&broker, 2).await;
        let (_unsettled, settled) = (take(&mut consumer).await, take(&mut consumer).await);
        consumer.settler().settle(&[settled.ticket]).await.unwrap();
        publisher.publish(Message { routing_key: amqp::RPC, body: b"x", ..Message::default() }).await.unwrap();
        folder.close().await;
        assert!(publish(&publisher, b"late").await.is_err());
    }
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    assert_eq!(broker.backlog(amqp::TASKS).await.unwrap(), 3);
    assert_eq!(broker.backlog(amqp::RPC).await.unwrap(), 0, "requests are not worth a disk");
    let mut consumer = tasks(&broker, 10).await;
    for (body, redelivered) in [("0", true), ("2", true), ("3", false)] {
        let delivery = take(&mut consumer).await;
        assert_eq!(delivery.body, body.as_bytes());
        // The prefetch had the third on its way, perhaps.
        assert!(delivery.redelivered == redelivered || body == "2", "{body}");
        assert!(delivery.timestamp_ms.is_some());
    }
    let publisher = broker.publisher().await.unwrap();
    for key in ["sp-014.shown", "sp-015.shown"] {
        let message = Message { exchange: amqp::RESULTS, routing_key: key, persistent: true, ..Message::default() };
        publisher.publish(message).await.unwrap();
    }
    assert_eq!(broker.backlog("backend").await.unwrap(), 1);
    take(&mut broker.consume("backend", Prefetch::Each(1)).await.unwrap()).await;
}

#[tokio::test]
async fn a_session_is_lost_when_the_folder_is_closed() {
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    let closing = folder.clone();
    let (lost, ()) = tokio::join!(soon(broker.lost()), async move { closing.close().await });
    assert_eq!(lost.to_string(), "the connection to the broker is lost: the data folder is closed");
    folder.close().await;
}

//! Requests and their replies.

use crate::fixture::*;
use backbone::queue::{
    AmqpUrl, Broker, Delivery, Message, Prefetch, Publisher, Routed, RpcClient, RpcError, RpcRequest,
};
use protocol::{CorrelationId, LabelMac, Reply, ReplyOutcome, Turn, names::amqp};
use std::time::Duration;
use uuid::Uuid;

const LABEL: LabelMac = LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, 1]);

fn request(id: &CorrelationId, timeout: Duration) -> RpcRequest<'_> {
    RpcRequest { id, label: LABEL, body: b"{}", timeout, turn: Turn::Urgent }
}

fn new_id() -> CorrelationId {
    CorrelationId::from_uuid(Uuid::now_v7())
}

/// Opens a client and listens until the session ends.
async fn client(broker: &Broker) -> (RpcClient, tokio::task::JoinHandle<()>) {
    let (client, listen) = RpcClient::open(broker).await.unwrap();
    (client, tokio::spawn(async move { drop(listen.await) }))
}

/// Answers so many requests, and answers the last reply queue.
async fn answer(broker: &Broker, count: usize, label: LabelMac) -> String {
    let mut requests = broker.consume(amqp::RPC, Prefetch::Together(16)).await.unwrap();
    let (publisher, settler) = (broker.publisher().await.unwrap(), requests.settler());
    let reply = Reply { id: None, label, outcome: ReplyOutcome::Ack, error: None, gateway: None, retry_after_ms: None };
    let body = serde_json::to_vec(&reply).unwrap();
    let mut reply_to = String::new();
    for _ in 0..count {
        let request = take(&mut requests).await;
        assert_eq!((request.expiration, request.turn), (Some(Duration::from_secs(20)), Turn::Urgent));
        reply_to = request.reply_to.unwrap();
        let message = Message {
            routing_key: &reply_to,
            body: &body,
            correlation_id: request.correlation_id.as_deref(),
            mandatory: true,
            ..Message::default()
        };
        assert_eq!(publisher.publish(message).await.unwrap(), Routed::Yes);
        settler.settle(&[request.ticket]).await.unwrap();
    }
    settler.flush().await.unwrap();
    reply_to
}

pub(crate) async fn a_reply_reaches_whoever_asked(fixture: Fixture) {
    let (asker, other, router) = (fixture.broker().await, fixture.broker().await, fixture.broker().await);
    let ((one, listening), (two, also_listening)) = (client(&asker).await, client(&other).await);
    let asked = (0..200).map(|number| {
        let client = if number % 2 == 0 { one.clone() } else { two.clone() };
        tokio::spawn(async move { client.call(request(&new_id(), Duration::from_secs(20))).await })
    });
    let asked: Vec<_> = asked.collect();
    answer(&router, 200, LABEL).await;
    for asked in asked {
        assert_eq!(soon(asked).await.unwrap().unwrap().label, LABEL);
    }
    assert_eq!((one.in_flight(), one.stray_replies(), two.stray_replies()), (0, 0, 0));
    backlog(&router, amqp::RPC, 0).await;
    asker.close().await;
    other.close().await;
    soon(listening).await.unwrap();
    soon(also_listening).await.unwrap();
}

pub(crate) async fn a_reply_to_nobody_is_counted(fixture: Fixture) {
    let (asker, router) = (fixture.broker().await, fixture.broker().await);
    let (client, listening) = client(&asker).await;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.call(request(&new_id(), Duration::from_secs(20))).await }
    });
    // It names another label than was asked.
    answer(&router, 1, LabelMac::from_octets([9; 6])).await;
    soon(async {
        while client.stray_replies() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(client.in_flight(), 1);
    asked.abort();
    asker.close().await;
    soon(listening).await.unwrap();
}

pub(crate) async fn an_rpc_without_an_answer_times_out(fixture: Fixture) {
    let broker = fixture.broker().await;
    let (client, _listening) = client(&broker).await;
    let called = client.call(request(&new_id(), Duration::from_millis(100))).await;
    assert!(matches!(called, Err(RpcError::Timeout)), "{called:?}");
    assert_eq!(client.in_flight(), 0);
    // Nobody carries it out later.
    tokio::time::sleep(Duration::from_millis(100)).await;
    nothing_comes(&mut broker.consume(amqp::RPC, Prefetch::Each(1)).await.unwrap()).await;
}

pub(crate) async fn a_reply_queue_is_gone_with_its_session(fixture: Fixture) {
    let (asker, router) = (fixture.broker().await, fixture.broker().await);
    let (client, listening) = client(&asker).await;
    let asked = tokio::spawn(async move { client.call(request(&new_id(), Duration::from_secs(20))).await });
    let reply_to = answer(&router, 1, LABEL).await;
    soon(asked).await.unwrap().unwrap();
    asker.close().await;
    soon(listening).await.unwrap();
    let publisher = router.publisher().await.unwrap();
    soon(async {
        let late = Message { routing_key: &reply_to, body: b"{}", mandatory: true, ..Message::default() };
        while publisher.publish(late.clone()).await.unwrap() == Routed::Yes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Answers each request of a message in one message with as many lines; how many there were.
async fn answer_together(delivery: &Delivery, publisher: &Publisher) -> usize {
    let ids =
        delivery.body.split(|byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap().parse().unwrap());
    let replies: Vec<_> = ids
        .map(|id| Reply {
            id: Some(id),
            label: LABEL,
            outcome: ReplyOutcome::Ack,
            error: None,
            gateway: None,
            retry_after_ms: None,
        })
        .map(|reply| serde_json::to_string(&reply).unwrap())
        .collect();
    let body = replies.join("\n");
    let reply_to = delivery.reply_to.as_deref().unwrap();
    assert!(amqp::takes_lines(reply_to), "{reply_to}");
    let message = Message { routing_key: reply_to, body: body.as_bytes(), mandatory: true, ..Message::default() };
    assert_eq!(publisher.publish(message).await.unwrap(), Routed::Yes);
    replies.len()
}

pub(crate) async fn requests_and_replies_travel_together_where_that_is_taken(fixture: Fixture) {
    let (asker, router) = (fixture.broker().await, fixture.broker().await);
    let (client, listening) = client(&asker).await;
    let mut single = router.consume(amqp::RPC, Prefetch::Unacknowledged).await.unwrap();
    let mut several = router.consume(amqp::RPC_LINES, Prefetch::Unacknowledged).await.unwrap();
    let publisher = router.publisher().await.unwrap();
    let (seen, mut most) = tokio::sync::watch::channel(0);
    let router_task = tokio::spawn(async move {
        loop {
            let delivery = tokio::select! {
                delivery = single.next() => delivery.unwrap(),
                delivery = several.next() => delivery.unwrap(),
            };
            let count = answer_together(&delivery, &publisher).await;
            assert_eq!(delivery.correlation_id.is_some(), count == 1);
            seen.send_modify(|most| *most = count.max(*most));
        }
    });
    // The client looks once a second whether anybody takes several, and the queues in a process never need that.
    let expected = if matches!(fixture.url, AmqpUrl::RabbitMq(_)) { 2 } else { 1 };
    soon(async {
        while *most.borrow_and_update() < expected {
            let calls = (0..64).map(|_| async {
                let id = new_id();
                let body = id.as_str().as_bytes();
                client
                    .call(RpcRequest {
                        id: &id,
                        label: LABEL,
                        body,
                        timeout: Duration::from_secs(20),
                        turn: Turn::default(),
                    })
                    .await
            });
            for reply in futures::future::join_all(calls).await {
                assert_eq!(reply.unwrap().outcome, ReplyOutcome::Ack);
            }
        }
    })
    .await;
    assert_eq!((client.in_flight(), client.stray_replies()), (0, 0));
    router_task.abort();
    asker.close().await;
    soon(listening).await.unwrap();
}

//! Many at once, and many that wait.

use crate::fixture::*;
use backbone::queue::Prefetch;
use futures::future::join_all;
use protocol::names::amqp;
use std::collections::HashSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_take_few_transactions() {
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    let publisher = broker.publisher().await.unwrap();
    let before = folder.commits();
    let published = join_all((0..1_000).map(|number: u32| {
        let publisher = publisher.clone();
        async move { publish(&publisher, &number.to_be_bytes()).await }
    }));
    assert!(published.await.iter().all(Result::is_ok));
    let commits = folder.commits() - before;
    assert!(commits <= 50, "{commits} transactions for 1,000 messages");

    // Taking and settling them is no transaction each, either.
    let before = folder.commits();
    let mut consumer = broker.consume(amqp::TASKS, Prefetch::Together(500)).await.unwrap();
    let mut seen = 0;
    while seen < 1_000 {
        let chunk = soon(consumer.next_chunk(100)).await.unwrap();
        seen += chunk.len();
        let tickets: Vec<_> = chunk.iter().map(|delivery| delivery.ticket).collect();
        consumer.settler().settle(&tickets).await.unwrap();
    }
    folder.close().await;
    let commits = folder.commits() - before;
    assert!(commits <= 200, "{commits} transactions for 1,000 deliveries");
}

/// Of the process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_not_in_memory() {
    const MESSAGES: u32 = 40_000;
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    let publisher = broker.publisher().await.unwrap();
    // Somebody holds the head of the queue meanwhile.
    let mut slow = tasks(&broker, 10).await;
    let before = resident();
    let mut body = vec![b'x'; 4_096];
    for start in (0..MESSAGES).step_by(500) {
        let bodies: Vec<_> = (start..start + 500)
            .map(|number| {
                body[..4].copy_from_slice(&number.to_be_bytes());
                body.clone()
            })
            .collect();
        let published = join_all(bodies.iter().map(|body| publish(&publisher, body))).await;
        assert!(published.iter().all(Result::is_ok));
    }
    assert_eq!(broker.backlog(amqp::TASKS).await.unwrap(), MESSAGES - 10);
    let mut consumer = broker.consume(amqp::TASKS, Prefetch::Together(200)).await.unwrap();
    let settler = consumer.settler();
    // What was published at once comes in any order.
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let delivery = take(&mut consumer).await;
        assert!(seen.insert(delivery.body[..4].to_vec()));
        settler.settle(&[delivery.ticket]).await.unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more, with {} MB waiting", (MESSAGES >> 8));
    assert!(!seen.contains(&take(&mut slow).await.body[..4]));
}

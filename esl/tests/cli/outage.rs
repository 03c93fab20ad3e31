//! Servers that die, are away, or refuse.

use crate::fixture::*;
use protocol::{Outcome, names::amqp};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use testbed::ServersConfig;

in_both_forms! {
    a_broker_that_is_killed_while_tasks_are_sent_loses_none,
    a_batch_is_followed_through_an_outage_of_the_ledger,
}

const PRODUCTS: u32 = 15_000;

async fn a_broker_that_is_killed_while_tasks_are_sent_loses_none(form: Form) {
    let mut office = Office::with(form, ServersConfig { own_rabbitmq: true, ..ServersConfig::default() }).await;
    restart_with_queues(&mut office).await;
    let file = office.file("prices.csv", &prices(PRODUCTS));
    let mut running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "b"]);
    let broker = office.broker().await;
    soon(async {
        while broker.backlog(amqp::TASKS).await.unwrap() < 2_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let rabbitmq = office.servers.rabbitmq.as_mut().unwrap();
    rabbitmq.kill().unwrap();
    running.said(if form == Form::Http { "waiting for it" } else { "trying again" }).await;
    rabbitmq.start_again().await.unwrap();
    let answer = running.end().await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.starts_with("15,000 tasks sent in "), "{answer:?}");

    let there = office.backlog(amqp::TASKS).await as usize;
    let mut bodies: HashMap<_, _> = HashMap::new();
    let mut skus = HashSet::new();
    for delivery in office.take(amqp::TASKS, there).await {
        let task = protocol::Task::parse(&delivery.body).unwrap();
        let before = bodies.insert(task.task_id.clone(), delivery.body.clone());
        assert!(before.is_none_or(|before| before == delivery.body), "one task_id, one content");
        skus.insert(task.sku.unwrap());
    }
    assert_eq!((bodies.len(), skus.len()), (PRODUCTS as usize, PRODUCTS as usize), "of {there} messages");
}

/// A quorum queue is lost if its broker is killed within some two seconds of the queue's making (RabbitMQ 3.10.8): by
/// a clean stop it is certainly made.
async fn restart_with_queues(office: &mut Office) {
    office.broker().await.close().await;
    let rabbitmq = office.servers.rabbitmq.as_mut().unwrap();
    rabbitmq.stop().await.unwrap();
    rabbitmq.start_again().await.unwrap();
    office.api_is_ready().await;
}

async fn a_batch_is_followed_through_an_outage_of_the_ledger(form: Form) {
    let mut office = Office::with(form, ServersConfig { own_mongodb: true, ..ServersConfig::default() }).await;
    let (bound, file) = (office.file("bindings.csv", &bindings(20, 10)), office.file("prices.csv", &prices(10)));
    assert_eq!(office.esl(&["bind", &bound]).await.code, Some(0));
    let mut running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "b", "--watch"]);
    let tasks = office.tasks(10).await;
    let mongodb = office.servers.mongodb.as_mut().unwrap();
    mongodb.kill().unwrap();
    // Over HTTP the tasks' own request may be under way still: then that waits, and not the look at the batch.
    let meanwhile = if form == Form::Http { "waiting for it" } else { "the tasks wait too" };
    running.said(meanwhile).await;
    mongodb.start_again().await.unwrap();
    let ledger = office.ledger().await;
    for task in &tasks {
        work(&ledger, task, |_| Outcome::Shown).await;
    }
    let answer = running.end().await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("answers again"), "{answer:?}");
    assert!(answer.stdout.contains("20 of 20 labels shown"), "{answer:?}");
    office.close().await;
}

#[tokio::test]
async fn servers_that_are_down_are_named_without_their_passwords() {
    let office = Office::open(Form::Direct).await;
    let (bound, file) = (office.file("bindings.csv", &bindings(2, 2)), office.file("prices.csv", &prices(2)));
    let port = testbed::free_port().unwrap();
    let url = |scheme: &str, rest: &str| format!("{scheme}://user:hunter2@127.0.0.1:{port}{rest}");
    let (amqp, mongodb, redis) = (url("amqp", "/esl"), url("mongodb", "/esl"), url("redis", ""));
    let cases: [(&[&str], &str); 6] = [
        (&["enqueue", &file, "--store", "sp-014", "--amqp-url", &amqp], "RabbitMQ at amqp://127.0.0.1:"),
        (
            &["enqueue", &file, "--store", "sp-014", "--watch", "--mongodb-url", &mongodb],
            "MongoDB at mongodb://127.0.0.1:",
        ),
        (&["bind", &bound, "--mongodb-url", &mongodb], "MongoDB at mongodb://127.0.0.1:"),
        (&["label", "001a00000001", "--mongodb-url", &mongodb], "MongoDB at mongodb://127.0.0.1:"),
        (&["gateways", "--redis-url", &redis], "Redis at redis://127.0.0.1:"),
        (&["dead", "--amqp-url", &amqp], "RabbitMQ at amqp://127.0.0.1:"),
    ];
    for (args, expected) in cases {
        let answer = office.esl(args).await;
        println!("{}", answer.stderr);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""), "{answer:?}");
        assert!(answer.stderr.starts_with(&format!("esl: {expected}")), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
        assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    }
    assert_eq!(office.backlog(amqp::TASKS).await, 0);
    office.close().await;
}

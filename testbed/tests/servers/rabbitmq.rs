//! RabbitMQ keeps durable queues over a stop and a kill, and takes epmd along.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use testbed::{RabbitMq, RabbitMqOptions};

use crate::leftovers::{Footprint, children};

/// Publishes one persistent message to a durable queue; returns the queue's depth before that.
async fn publish(url: &str) -> u32 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let queue = channel.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel
        .basic_publish("".into(), "q".into(), BasicPublishOptions::default(), b"x", properties)
        .await
        .unwrap()
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
    queue.message_count()
}

// One test, since a start takes seconds.
#[tokio::test]
async fn durable_messages_survive_a_stop_and_a_kill_and_nothing_is_left() {
    let epmds_before = epmds();
    let mut server = RabbitMq::start(RabbitMqOptions::default()).await.unwrap();
    let epmd = epmds().into_iter().find(|pid| !epmds_before.contains(pid)).expect("an epmd");
    let url = server.create_vhost("a_test").await.unwrap();
    assert_eq!(publish(&url).await, 0);

    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    assert_eq!(publish(&url).await, 1);

    let killed = Footprint::of(&server);
    server.kill().unwrap();
    killed.assert_processes_gone().await;
    server.start_again().await.unwrap();
    assert_eq!(publish(&url).await, 2);

    server.management().delete_vhost("a_test").await.unwrap();
    let footprint = Footprint::of(&server).with_process(epmd);
    drop(server);
    footprint.assert_gone().await;
}

/// The epmds among our children. Each test is a process (nextest) or at least starts no other RabbitMQ.
fn epmds() -> Vec<u32> {
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children(std::process::id()).into_iter().filter(|pid| name(pid).trim() == "epmd").collect()
}

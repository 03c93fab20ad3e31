//! The queues and the exchange of the backbone, as every process declares them.

use crate::queue::error::{Doing, QueueError};
use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use protocol::{Priority, names::amqp};

/// A task that was delivered again so often, each time after a crash or a lost connection, becomes a dead letter.
///
/// The same everywhere and for ever, as all arguments here: RabbitMQ refuses whoever declares a queue with others. An
/// operator lowers the limit by a policy with `delivery-limit`, at any time and for all processes at once.
const TASK_DELIVERY_LIMIT: i32 = 20;

pub(in crate::queue) async fn declare_tasks(channel: &Channel) -> Result<(), QueueError> {
    let declared = channel.queue_declare(amqp::DEAD_TASKS.into(), durable(), dead_arguments()).await;
    declared.doing("declaring the queue esl.tasks.dead")?;
    for queue in Priority::ALL.map(amqp::task_queue) {
        let declared = channel.queue_declare(queue.into(), durable(), task_arguments()).await;
        declared.doing("declaring the queues of tasks")?;
    }
    Ok(())
}

/// Before anybody waits there, for a queue that is new when its broker loses power may be lost with what is in it; and
/// a task that comes back as its queue is not there could not be told from another: the client library credits a
/// returned message to whichever publication is confirmed next.
pub(in crate::queue) async fn declare_waiting(channel: &Channel) -> Result<(), QueueError> {
    for (priority, seconds) in amqp::waiting_queues() {
        let queue = amqp::waiting_queue(priority, seconds);
        let declared = channel.queue_declare(queue.into(), durable(), waiting_arguments(priority, seconds)).await;
        declared.doing("declaring the queues in which tasks wait")?;
    }
    Ok(())
}

/// One of the queues of RPC requests, which live for one `RPC_TIMEOUT`: they are not worth a disk, nor copies on other
/// nodes, and the RPC's retry makes up for a lost one. A durable queue could not be made anew while its node of a cluster
/// is down; this one is gone with its node, and whoever comes next makes it elsewhere.
pub(in crate::queue) async fn declare_requests(channel: &Channel, queue: &'static str) -> Result<(), QueueError> {
    let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::default(), FieldTable::default()).await;
    declared.doing("declaring the queues of RPC requests")?;
    Ok(())
}

/// Whether a queue could not be declared since it is there with other properties.
pub(in crate::queue) fn is_there_otherwise(error: &QueueError) -> bool {
    let QueueError::Client { source, .. } = error else { return false };
    let precondition_failed = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
    matches!(source.kind(), ErrorKind::ProtocolError(error) if *error.kind() == precondition_failed)
}

pub(in crate::queue) async fn declare_results(channel: &Channel) -> Result<(), QueueError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(amqp::RESULTS.into(), ExchangeKind::Topic, options, FieldTable::default())
        .await
        .doing("declaring the exchange esl.results")
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn task_arguments() -> FieldTable {
    let mut arguments = safe_arguments(amqp::DEAD_TASKS);
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(TASK_DELIVERY_LIMIT));
    arguments
}

/// Nobody consumes it: what has been there for so long goes to the queue of tasks.
fn waiting_arguments(priority: Priority, seconds: u64) -> FieldTable {
    let mut arguments = safe_arguments(amqp::task_queue(priority));
    let milliseconds = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(milliseconds));
    arguments
}

/// Without a node of a cluster it is there, as no other durable queue would be. Looking at a letter gives it back, which
/// from RabbitMQ 4 on counts, and must not drop it.
fn dead_arguments() -> FieldTable {
    let mut arguments = quorum_arguments();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    arguments
}

/// A quorum queue, which refuses the publisher rather than dropping its head when it is full.
fn quorum_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A quorum queue that loses nothing: what it gives up on goes to the other queue at least once.
fn safe_arguments(gives_up_to: &str) -> FieldTable {
    let mut arguments = quorum_arguments();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(gives_up_to));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}

pub(in crate::queue) async fn declare_reply_queue(channel: &Channel, name: &str) -> Result<(), QueueError> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.doing("declaring the reply queue")?;
    Ok(())
}

pub(in crate::queue) async fn declare_results_queue(
    channel: &Channel,
    name: &str,
    pattern: &str,
) -> Result<(), QueueError> {
    channel.queue_declare(name.into(), durable(), quorum_arguments()).await.doing("declaring a results queue")?;
    channel
        .queue_bind(
            name.into(),
            amqp::RESULTS.into(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .doing("binding a results queue")
}

/// How many messages wait in a queue, and how many consumers it has.
pub(in crate::queue) async fn counts(channel: &Channel, queue: &str) -> Result<(u32, u32), QueueError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
        .doing("asking how many messages wait in a queue")?;
    Ok((queue.message_count(), queue.consumer_count()))
}

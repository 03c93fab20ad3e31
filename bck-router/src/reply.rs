//! Replies on their way to RabbitMQ, and the acknowledgement of the answers that they come from.

use crate::metrics::Metrics;
use backbone::{
    mqtt::Incoming,
    queue::{BulkPublisher, Message, Publisher, Routed},
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::{CorrelationId, LabelMac, Task, TaskId, names::amqp};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long replies are collected before RabbitMQ is asked whether it has them: to ask for each by itself would cost as
/// much as all the rest. Whoever asked has the reply by then.
const LINGER: Duration = Duration::from_millis(4);

/// A reply for whoever asked, and the answer that it comes from.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The RPC.
    pub(crate) id: CorrelationId,
    /// The queue of whoever asked.
    pub(crate) reply_to: String,
    /// The reply as JSON.
    pub(crate) body: Vec<u8>,
    /// The gateway's answer, which is acknowledged when RabbitMQ has the reply.
    pub(crate) answer: Incoming,
    /// When that came.
    pub(crate) came: Instant,
}

impl Outgoing {
    fn message(&self) -> Message<'_> {
        Message {
            routing_key: &self.reply_to,
            body: &self.body,
            correlation_id: Some(self.id.as_str()),
            mandatory: true,
            ..Message::default()
        }
    }
}

/// How to publish while a session with RabbitMQ lasts.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// For replies.
    pub(crate) bulk: BulkPublisher,
    /// For what must not be lost, and for replies that a session took with it.
    pub(crate) confirmed: Publisher,
}

/// A reply, and where it was sent; `None`: there was no session.
#[derive(Debug)]
pub(crate) struct Sent {
    outgoing: Outgoing,
    through: Option<BulkPublisher>,
}

/// Publishes replies and repairs. Clones share the session with RabbitMQ.
#[derive(Debug, Clone)]
pub(crate) struct Replies {
    sessions: watch::Receiver<Option<Session>>,
    sent: mpsc::Sender<Sent>,
    metrics: Metrics,
}

impl Replies {
    /// The second part must be given to a [`Confirmer`]; it holds `most` replies at most.
    pub(crate) fn new(
        sessions: watch::Receiver<Option<Session>>,
        metrics: Metrics,
        most: usize,
    ) -> (Self, mpsc::Receiver<Sent>) {
        let (sent, confirming) = mpsc::channel(most);
        (Self { sessions, sent, metrics }, confirming)
    }

    /// Sends a reply on its way.
    pub(crate) async fn send(&self, outgoing: Outgoing) {
        let mut through = self.sessions.borrow().as_ref().map(|session| session.bulk.clone());
        if let Some(bulk) = &through
            && bulk.send(&outgoing.message()).await.is_err()
        {
            through = None;
        }
        // The confirmer runs until the last of these is dropped.
        let _ = self.sent.send(Sent { outgoing, through }).await;
    }

    /// Asks for the label to be driven to its newest version again. Waits as long as it takes: until RabbitMQ has it,
    /// the MQTT message is not acknowledged.
    pub(crate) async fn repair(&self, label: LabelMac) {
        let task = Task::repair(TaskId::repair(Uuid::now_v7()), label);
        let body = serde_json::to_vec(&task).unwrap_or_default();
        tracing::info!(device.mac = %label, "the label may have gone back to an older version: repairing it");
        let message =
            Message { routing_key: amqp::TASKS, body: &body, persistent: true, mandatory: true, ..Message::default() };
        publish(&self.sessions, &message).await;
        self.metrics.repairs.inc();
    }
}

/// Acknowledges answers whose replies RabbitMQ has, until the last [`Replies`] is gone and all are dealt with.
#[derive(Debug)]
pub(crate) struct Confirmer {
    pub(crate) sessions: watch::Receiver<Option<Session>>,
    pub(crate) metrics: Metrics,
    /// After this, nobody waits for a reply any longer.
    pub(crate) give_up_after: Duration,
}

impl Confirmer {
    pub(crate) async fn run(self, mut sent: mpsc::Receiver<Sent>) {
        let this = Arc::new(self);
        let in_hand = TaskTracker::new();
        let most = sent.max_capacity();
        loop {
            let mut batch = Vec::new();
            if sent.recv_many(&mut batch, most).await == 0 {
                break;
            }
            tokio::time::sleep(LINGER).await;
            while let Ok(more) = sent.try_recv() {
                batch.push(more);
            }
            in_hand.spawn(Arc::clone(&this).confirm(batch));
        }
        in_hand.close();
        in_hand.wait().await;
    }

    async fn confirm(self: Arc<Self>, batch: Vec<Sent>) {
        let mut unconfirmed = Vec::new();
        for run in split(batch) {
            match self.flush(&run).await {
                Some(returned) => {
                    self.metrics.replies.inc_by(run.len().saturating_sub(returned) as u64);
                    self.metrics.drop_answers("asker_gone", returned);
                    for Sent { outgoing, .. } in run {
                        self.metrics.answered(outgoing.came);
                        outgoing.answer.acknowledge().await;
                    }
                }
                None => unconfirmed.extend(run),
            }
        }
        let again = unconfirmed.into_iter().map(|sent| self.publish_again(sent.outgoing));
        again.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// How many of a run no queue took; `None`: whether RabbitMQ has them is unknown.
    async fn flush(&self, run: &[Sent]) -> Option<usize> {
        let through = run.first()?.through.as_ref()?;
        tokio::time::timeout(self.give_up_after, through.flush()).await.ok()?.ok()
    }

    async fn publish_again(&self, outgoing: Outgoing) {
        let message = outgoing.message();
        let published = publish(&self.sessions, &message);
        match tokio::time::timeout(self.give_up_after, published).await {
            Ok(Routed::Yes) => drop(self.metrics.replies.inc()),
            Ok(Routed::Nowhere) => self.metrics.drop_answer("asker_gone"),
            Err(_) => self.metrics.drop_answer("no_queue"),
        }
        self.metrics.answered(outgoing.came);
        outgoing.answer.acknowledge().await;
    }
}

/// Runs of what was sent through the same session.
fn split(batch: Vec<Sent>) -> Vec<Vec<Sent>> {
    let same = |a: &Sent, b: &Sent| match (&a.through, &b.through) {
        (Some(a), Some(b)) => a.same_session(b),
        (None, None) => true,
        _ => false,
    };
    let mut runs: Vec<Vec<Sent>> = Vec::new();
    for sent in batch {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| same(last, &sent)) => run.push(sent),
            _ => runs.push(vec![sent]),
        }
    }
    runs
}

/// Publishes with a confirm, on one session after the other if need be.
async fn publish(sessions: &watch::Receiver<Option<Session>>, message: &Message<'_>) -> Routed {
    let mut sessions = sessions.clone();
    loop {
        let session = match sessions.wait_for(Option::is_some).await {
            Ok(session) => session.clone(),
            // No session will follow: the process stops.
            Err(_) => return Routed::Nowhere,
        };
        let Some(session) = session else { continue };
        match session.confirmed.publish(message.clone()).await {
            Ok(routed) => return routed,
            Err(error) => {
                tracing::debug!("publishing again: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

//! Replies on their way to RabbitMQ, and the acknowledgement of the answers that they come from.

use crate::metrics::Metrics;
use backbone::{
    mqtt::Incoming,
    queue::{BulkPublisher, Message, Publisher, Routed},
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::{CorrelationId, LabelMac, Reply, Task, TaskId, names::amqp};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long replies are collected before RabbitMQ is asked whether it has them: to ask for each by itself would cost as
/// much as all the rest. Whoever asked has the reply by then.
const LINGER: Duration = Duration::from_millis(10);

/// Replies for one asker in one message, and the answers that they come from.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The queue of whoever asked.
    reply_to: String,
    /// The RPC, where there is one reply only.
    id: Option<CorrelationId>,
    /// The reply as JSON, or several, a line each, which name their RPCs themselves.
    body: Vec<u8>,
    /// The gateways' answers, which are acknowledged when RabbitMQ has the replies, and when they came.
    answers: Vec<(Incoming, Instant)>,
}

/// A reply to an RPC.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The RPC.
    pub(crate) id: CorrelationId,
    /// The queue of whoever asked.
    pub(crate) reply_to: String,
    /// The reply.
    pub(crate) reply: Reply,
    /// The gateway's answer that it comes from.
    pub(crate) answer: Incoming,
    /// When that came.
    pub(crate) came: Instant,
}

impl Outgoing {
    /// Few messages: each asker that takes several replies in one gets those that were answered together.
    pub(crate) fn pack(mut answered: Vec<Answered>) -> Vec<Self> {
        answered.sort_by(|one, other| one.reply_to.cmp(&other.reply_to));
        let mut packed: Vec<Self> = Vec::new();
        let mut answered = answered.into_iter().peekable();
        while let Some(first) = answered.next() {
            let together = amqp::takes_lines(&first.reply_to);
            let mut outgoing = Self::one(first, !together);
            while let Some(next) = answered.next_if(|next| together && next.reply_to == outgoing.reply_to) {
                outgoing.push(next);
            }
            packed.push(outgoing);
        }
        packed
    }

    fn one(answered: Answered, by_itself: bool) -> Self {
        let Answered { id, reply_to, reply, answer, came } = answered;
        let mut outgoing = Self { reply_to, id: None, body: Vec::new(), answers: vec![(answer, came)] };
        if by_itself {
            outgoing.id = Some(id);
            outgoing.write(&reply);
        } else {
            outgoing.write(&Reply { id: Some(id), ..reply });
        }
        outgoing
    }

    fn push(&mut self, Answered { id, reply, answer, came, .. }: Answered) {
        self.body.push(b'\n');
        self.write(&Reply { id: Some(id), ..reply });
        self.answers.push((answer, came));
    }

    fn write(&mut self, reply: &Reply) {
        // Writing to memory does not fail, and a reply has nothing that JSON can't hold.
        let _ = serde_json::to_writer(&mut self.body, reply);
    }

    fn message(&self) -> Message<'_> {
        Message {
            routing_key: &self.reply_to,
            body: &self.body,
            correlation_id: self.id.as_ref().map(CorrelationId::as_str),
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
                    let replies: usize = run.iter().map(|sent| sent.outgoing.answers.len()).sum();
                    self.metrics.replies.inc_by(replies.saturating_sub(returned) as u64);
                    self.metrics.drop_answers("asker_gone", returned);
                    for Sent { outgoing, .. } in run {
                        self.acknowledge(outgoing).await;
                    }
                }
                None => unconfirmed.extend(run),
            }
        }
        let again = unconfirmed.into_iter().map(|sent| self.publish_again(sent.outgoing));
        again.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// How many replies of a run no queue took; `None`: whether RabbitMQ has them is unknown.
    async fn flush(&self, run: &[Sent]) -> Option<usize> {
        let through = run.first()?.through.as_ref()?;
        tokio::time::timeout(self.give_up_after, through.flush()).await.ok()?.ok()
    }

    async fn publish_again(&self, outgoing: Outgoing) {
        let message = outgoing.message();
        let published = publish(&self.sessions, &message);
        let replies = outgoing.answers.len();
        match tokio::time::timeout(self.give_up_after, published).await {
            Ok(Routed::Yes) => drop(self.metrics.replies.inc_by(replies as u64)),
            Ok(Routed::Nowhere) => self.metrics.drop_answers("asker_gone", replies),
            Err(_) => self.metrics.drop_answers("no_queue", replies),
        }
        self.acknowledge(outgoing).await;
    }

    async fn acknowledge(&self, outgoing: Outgoing) {
        for (answer, came) in outgoing.answers {
            self.metrics.answered(came);
            answer.acknowledge().await;
        }
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

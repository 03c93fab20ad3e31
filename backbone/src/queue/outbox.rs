//! Requests on their way to the forward routers: several to a message where that is understood.
//!
//! Nothing lingers here: a message takes what has gathered while the one before was handed over. A single RPC goes
//! at once, and under load each message, which costs more than what is in it, carries many.

use super::{BulkPublisher, Message, QueueError};
use protocol::{CorrelationId, Turn, names::amqp};
use std::time::Duration;
use tokio::sync::mpsc;

/// A message carries so many requests at most.
const MOST_LINES: usize = 16;

/// A request that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: CorrelationId,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) turn: Turn,
}

/// Sends the requests of one session.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) requests: BulkPublisher,
    pub(super) reply_to: String,
}

impl Outbox {
    /// Sends what comes, several to a message, until the session is lost.
    pub(super) async fn run(&self, mut waiting: mpsc::Receiver<Outgoing>) -> QueueError {
        let mut gathered = Vec::with_capacity(MOST_LINES);
        while waiting.recv_many(&mut gathered, MOST_LINES).await > 0 {
            for alike in gathered.chunk_by(|one, next| one.is_like(next)) {
                if let Err(error) = self.send(alike).await {
                    return error;
                }
            }
            gathered.clear();
        }
        QueueError::Lost("the last asker is gone".to_owned())
    }

    async fn send(&self, alike: &[Outgoing]) -> Result<(), QueueError> {
        match alike {
            [] => Ok(()),
            [request] => self.send_one(request).await,
            [first, ..] => {
                let body: Vec<_> = alike.iter().map(|request| request.body.as_slice()).collect();
                let body = body.join(&b'\n');
                let message =
                    Message { routing_key: amqp::RPC_LINES, body: &body, ..self.message(first.timeout, first.turn) };
                self.requests.send(&message).await
            }
        }
    }

    async fn send_one(&self, request: &Outgoing) -> Result<(), QueueError> {
        self.send_alone(&request.id, &request.body, request.timeout, request.turn).await
    }

    /// Sends a request by itself, without the way through the outbox.
    pub(super) async fn send_alone(
        &self,
        id: &CorrelationId,
        body: &[u8],
        timeout: Duration,
        turn: Turn,
    ) -> Result<(), QueueError> {
        let message =
            Message { routing_key: amqp::RPC, body, correlation_id: Some(id.as_str()), ..self.message(timeout, turn) };
        self.requests.send(&message).await
    }

    fn message(&self, timeout: Duration, turn: Turn) -> Message<'_> {
        Message { reply_to: Some(&self.reply_to), expiration: Some(timeout), turn, ..Message::default() }
    }
}

impl Outgoing {
    /// Whether both can be in one message, whose properties they share.
    fn is_like(&self, other: &Self) -> bool {
        self.timeout.as_millis() == other.timeout.as_millis() && self.turn == other.turn
    }
}

//! Requests on their way to the forward routers: several to a message where that is understood.
//!
//! Nothing lingers here: a message takes what has gathered while the one before was handed over. A single RPC goes
//! at once, and under load each message, which costs more than what is in it, carries many.

use super::{BulkPublisher, Message, QueueError};
use protocol::{CorrelationId, names::amqp};
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
            for alike in gathered.chunk_by(|one, next| one.timeout.as_millis() == next.timeout.as_millis()) {
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
            [request] => self.send_one(&request.id, &request.body, request.timeout).await,
            [first, ..] => {
                let body: Vec<_> = alike.iter().map(|request| request.body.as_slice()).collect();
                let body = body.join(&b'\n');
                let message = Message { routing_key: amqp::RPC_LINES, body: &body, ..self.message(first.timeout) };
                self.requests.send(&message).await
            }
        }
    }

    /// Sends one request by itself.
    pub(super) async fn send_one(&self, id: &CorrelationId, body: &[u8], timeout: Duration) -> Result<(), QueueError> {
        let message =
            Message { routing_key: amqp::RPC, body, correlation_id: Some(id.as_str()), ..self.message(timeout) };
        self.requests.send(&message).await
    }

    fn message(&self, timeout: Duration) -> Message<'_> {
        Message { reply_to: Some(&self.reply_to), expiration: Some(timeout), ..Message::default() }
    }
}

//! The asker's side of an RPC: request, reply queue, correlation.

use super::{Broker, BulkPublisher, Delivery, Message, QueueError};
use protocol::{CorrelationId, LabelMac, Reply, Turn, names::amqp};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// A request: what is asked of which label.
#[derive(Debug)]
pub struct RpcRequest<'a> {
    /// The RPC's identity, also in the body.
    pub id: &'a CorrelationId,
    /// The label that must be named by the reply.
    pub label: LabelMac,
    /// The command as JSON.
    pub body: &'a [u8],
    /// How long the asker waits; the broker drops the request after that.
    pub timeout: Duration,
    /// Whose turn it is, where the gateway has few places.
    pub turn: Turn,
}

/// Why an RPC brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No reply within the timeout.
    #[error("no reply within the timeout")]
    Timeout,
    /// The connection, and with it the reply queue, is gone.
    #[error("the session with the broker is lost")]
    Session(#[from] QueueError),
}

type Pending = HashMap<CorrelationId, (LabelMac, oneshot::Sender<Reply>)>;

/// Makes RPCs over one session's own reply queue. Clones share it.
#[derive(Debug, Clone)]
pub struct RpcClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: BulkPublisher,
    reply_to: String,
    pending: Mutex<Pending>,
    stray: AtomicU64,
}

impl RpcClient {
    /// Declares the reply queue and begins to listen. The second part must be polled as long as RPCs are made; it
    /// ends with the error that ended the session.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open(broker: &Broker) -> Result<(Self, impl Future<Output = QueueError> + Send + use<>), QueueError> {
        let reply_to = amqp::reply_queue(Uuid::now_v7());
        let mut replies = broker.consume_replies(&reply_to).await?;
        let requests = broker.bulk_publisher().await?;
        let client = Self(Arc::new(Inner { requests, reply_to, pending: Mutex::default(), stray: AtomicU64::new(0) }));
        let inner = Arc::clone(&client.0);
        let listen = async move {
            loop {
                match replies.next().await {
                    Ok(delivery) => inner.take(&delivery),
                    Err(error) => return error,
                }
            }
        };
        Ok((client, listen))
    }

    /// Asks, and waits for the reply. Registered before it is published, so that no reply can come too early.
    ///
    /// # Errors
    /// When no reply comes in time or the session is lost.
    pub async fn call(&self, request: RpcRequest<'_>) -> Result<Reply, RpcError> {
        let (sender, receiver) = oneshot::channel();
        self.0.pending().insert(request.id.clone(), (request.label, sender));
        let _registered = Registered { inner: &self.0, id: request.id };
        let message = Message {
            routing_key: amqp::RPC,
            body: request.body,
            correlation_id: Some(request.id.as_str()),
            reply_to: Some(&self.0.reply_to),
            expiration: Some(request.timeout),
            turn: request.turn,
            ..Message::default()
        };
        let reply = async {
            // A request that gets lost with its connection ends with the session, which `listen` notices.
            self.0.requests.send(&message).await?;
            // The sender lives in `pending` until it is used or `_registered` is dropped.
            receiver.await.map_err(|_| RpcError::Session(QueueError::Lost("reply queue closed".to_owned())))
        };
        tokio::time::timeout(request.timeout, reply).await.map_err(|_| RpcError::Timeout)?
    }

    /// RPCs that wait for their reply.
    pub fn in_flight(&self) -> usize {
        self.0.pending().len()
    }

    /// Replies that no RPC waits for, or that name another label than the RPC did, since the session began.
    pub fn stray_replies(&self) -> u64 {
        self.0.stray.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, delivery: &Delivery) {
        if self.credit(delivery).is_none() {
            self.stray.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(rpc.id = delivery.correlation_id, "reply dropped: no such RPC waits");
        }
    }

    fn credit(&self, delivery: &Delivery) -> Option<()> {
        let id: CorrelationId = delivery.correlation_id.as_deref()?.parse().ok()?;
        let reply: Reply = serde_json::from_slice(&delivery.body).ok()?;
        let mut pending = self.pending();
        pending.get(&id).filter(|(label, _)| *label == reply.label)?;
        let (_, sender) = pending.remove(&id)?;
        sender.send(reply).ok()
    }
}

/// Takes the RPC off the list however the call ends.
struct Registered<'a> {
    inner: &'a Inner,
    id: &'a CorrelationId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.inner.pending().remove(self.id);
    }
}

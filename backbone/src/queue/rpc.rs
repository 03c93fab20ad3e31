//! The asker's side of an RPC: request, reply queue, correlation.

use super::{
    Broker, Delivery, QueueError,
    outbox::{Outbox, Outgoing},
    rabbitmq::Audience,
};
use protocol::{CorrelationId, LabelMac, Reply, Turn, names::amqp};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// So many requests may wait to be sent.
const OUTBOX: usize = 256;
/// Replies that are taken in one go.
const CHUNK: usize = 64;
/// How often the client looks whether a forward router takes several requests in one message.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    outbox: Outbox,
    waiting: mpsc::Sender<Outgoing>,
    /// A forward router takes several requests in one message.
    together: AtomicBool,
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
        let outbox = Outbox { requests: broker.bulk_publisher().await?, reply_to };
        let audience = broker.audience(amqp::RPC_LINES).await?;
        let (waiting, to_send) = mpsc::channel(OUTBOX);
        let client = Self(Arc::new(Inner {
            outbox,
            waiting,
            together: AtomicBool::new(false),
            pending: Mutex::default(),
            stray: AtomicU64::new(0),
        }));
        let inner = Arc::clone(&client.0);
        let listen = async move {
            let take = async {
                loop {
                    match replies.next_chunk(CHUNK).await {
                        Ok(deliveries) => deliveries.iter().for_each(|delivery| inner.take(delivery)),
                        Err(error) => return error,
                    }
                }
            };
            tokio::select! {
                error = take => error,
                error = inner.outbox.run(to_send) => error,
                error = inner.watch(audience) => error,
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
        let reply = async {
            // A request that gets lost with its connection ends with the session, which `listen` notices.
            self.0.send(&request).await?;
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

    async fn send(&self, request: &RpcRequest<'_>) -> Result<(), QueueError> {
        let RpcRequest { id, body, timeout, turn, .. } = *request;
        if !self.together.load(Ordering::Relaxed) {
            return self.outbox.send_alone(id, body, timeout, turn).await;
        }
        let outgoing = Outgoing { id: id.clone(), body: body.to_vec(), timeout, turn };
        self.waiting.send(outgoing).await.map_err(|_| QueueError::Lost("nobody listens for replies".to_owned()))
    }

    /// Watches whether a forward router takes several requests in one message, until the session is lost.
    async fn watch(&self, audience: Option<Audience>) -> QueueError {
        let Some(audience) = audience else { return std::future::pending().await };
        loop {
            match audience.count().await {
                Ok(consumers) => self.together.store(consumers > 0, Ordering::Relaxed),
                Err(error) => return error,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes the reply of a message, or several of one that names no RPC: those name theirs, each on a line.
    fn take(&self, delivery: &Delivery) {
        let credited = match delivery.correlation_id.as_deref() {
            Some(id) => vec![self.credit(&delivery.body, |_| id.parse().ok())],
            None => {
                let lines = delivery.body.split(|byte| *byte == b'\n');
                lines.map(|line| self.credit(line, |reply| reply.id.take())).collect()
            }
        };
        for _ in credited.iter().filter(|credited| credited.is_none()) {
            self.stray.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(rpc.id = delivery.correlation_id, "reply dropped: no such RPC waits");
        }
    }

    fn credit(&self, body: &[u8], id: impl FnOnce(&mut Reply) -> Option<CorrelationId>) -> Option<()> {
        let mut reply: Reply = serde_json::from_slice(body).ok()?;
        let id = id(&mut reply)?;
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

//! Whoever makes RPCs besides the workers, to choose what is asked, and when, and under which ID.

use crate::Story;
use anyhow::Result;
use backbone::queue::{AmqpUrl, Broker, QueueError, RpcClient, RpcError, RpcRequest};
use protocol::{Action, Command, CorrelationId, Fields, LabelMac, Reply, Turn};
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Makes RPCs over a reply queue of its own.
pub struct Asker {
    broker: Broker,
    rpc: RpcClient,
    listening: JoinHandle<QueueError>,
}

impl Asker {
    /// Connects to the story's RabbitMQ.
    pub async fn connect(story: &Story) -> Result<Self> {
        Self::connect_to(&story.stack.servers.amqp_url.parse()?).await
    }

    /// Connects to this RabbitMQ.
    pub async fn connect_to(url: &AmqpUrl) -> Result<Self> {
        let broker = Broker::connect(url, "asker").await?;
        let (rpc, listen) = RpcClient::open(&broker).await?;
        #[expect(clippy::disallowed_methods, reason = "aborted on drop")]
        let listening = tokio::spawn(listen);
        Ok(Self { broker, rpc, listening })
    }

    /// Leaves: when this returns, RabbitMQ has deleted the reply queue.
    pub async fn leave(&self) {
        self.broker.close().await;
    }

    /// Replies that came for nobody who waited.
    pub fn stray_replies(&self) -> u64 {
        self.rpc.stray_replies()
    }

    /// Asks a label to answer, and nothing more.
    pub async fn ping(&self, label: LabelMac, timeout: Duration) -> Result<Reply, RpcError> {
        self.ping_as(&CorrelationId::from_uuid(Uuid::now_v7()), label, timeout).await
    }

    /// As [`ping`](Self::ping), under an ID of one's own choice.
    pub async fn ping_as(&self, id: &CorrelationId, label: LabelMac, timeout: Duration) -> Result<Reply, RpcError> {
        self.ping_with(id, label, "", timeout).await
    }

    /// As [`ping_as`](Self::ping_as), with this in a field of the command that nobody knows.
    pub async fn ping_with(
        &self,
        id: &CorrelationId,
        label: LabelMac,
        more: &str,
        timeout: Duration,
    ) -> Result<Reply, RpcError> {
        let command = Command { id: id.clone(), label, action: Action::Ping, version: None, fields: Fields::default() };
        let mut body = serde_json::to_value(&command).expect("a command can be written");
        if !more.is_empty() {
            body["more"] = more.into();
        }
        let body = body.to_string().into_bytes();
        self.rpc.call(RpcRequest { id, label, body: &body, timeout, turn: Turn::Newcomer }).await
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

//! Whoever makes RPCs besides the workers, to choose what is asked, and when, and under which ID.

use crate::Story;
use anyhow::Result;
use backbone::queue::{AmqpUrl, Broker, RpcClient, RpcError, RpcRequest};
use protocol::{Action, Command, CorrelationId, Fields, LabelMac, Reply, Turn};
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Makes RPCs over a reply queue of its own.
pub struct Asker {
    rpc: RpcClient,
    listening: JoinHandle<()>,
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
        let listening = tokio::spawn(async move {
            listen.await;
            drop(broker);
        });
        Ok(Self { rpc, listening })
    }

    /// Asks a label to answer, and nothing more.
    pub async fn ping(&self, label: LabelMac, timeout: Duration) -> Result<Reply, RpcError> {
        self.ping_as(&CorrelationId::from_uuid(Uuid::now_v7()), label, timeout).await
    }

    /// As [`ping`](Self::ping), under an ID of one's own choice.
    pub async fn ping_as(&self, id: &CorrelationId, label: LabelMac, timeout: Duration) -> Result<Reply, RpcError> {
        let command = Command { id: id.clone(), label, action: Action::Ping, version: None, fields: Fields::default() };
        let body = serde_json::to_vec(&command).expect("a command can be written");
        self.rpc.call(RpcRequest { id, label, body: &body, timeout, turn: Turn::Newcomer }).await
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

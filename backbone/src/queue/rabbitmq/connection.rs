//! One connection to RabbitMQ.

use super::{BulkPublisher, Consumer, Publisher, RabbitMqUrl, topology, url::Node};
use crate::{
    queue::{Prefetch, QueueError, error::Doing},
    service::advice,
};
use futures::StreamExt;
use lapin::{ConnectionProperties, Event, runtime, tcp::OwnedTLSConfig};
use protocol::names::amqp;
use std::time::Duration;

/// Seconds between heartbeats: a broker that went away in silence is noticed within twice that.
const HEARTBEAT_SECONDS: u16 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection to RabbitMQ (lapin sets TCP_NODELAY on it).
#[derive(Debug)]
pub(in crate::queue) struct Connection {
    connection: lapin::Connection,
}

impl Connection {
    /// Connects to the first node that takes us.
    pub(in crate::queue) async fn open(url: &RabbitMqUrl, name: &str) -> Result<Self, QueueError> {
        let nodes = url.nodes();
        let patience = CONNECT_TIMEOUT / u32::try_from(nodes.len()).unwrap_or(1);
        let mut failed = None;
        for node in nodes {
            let authorities = url.authorities().map_err(|error| QueueError::Lost(format!("{url}: {error}")))?;
            match Self::open_at(&node, authorities, name, patience).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::debug!(%node, %error, "not connected");
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| QueueError::Lost(format!("no node in {url}"))))
    }

    async fn open_at(
        node: &Node<'_>,
        authorities: Option<String>,
        name: &str,
        patience: Duration,
    ) -> Result<Self, QueueError> {
        let mut uri = node.read().map_err(QueueError::Lost)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig { cert_chain: authorities, ..OwnedTLSConfig::default() };
        let runtime = runtime::default_runtime().doing("connecting to RabbitMQ")?;
        let connect = lapin::Connection::connect_uri_with_config(uri, properties, tls, runtime);
        let connected = tokio::time::timeout(patience, connect)
            .await
            .map_err(|_| QueueError::Lost(format!("{node} did not answer within {patience:?}")))?;
        let connection = connected.map_err(|source| match advice(&source) {
            Some(advice) => QueueError::Tls { server: node.to_string(), advice },
            None => QueueError::Client { doing: "connecting to RabbitMQ", source },
        })?;
        Ok(Self { connection })
    }

    pub(in crate::queue) async fn declare(&self) -> Result<(), QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_tasks(&channel).await?;
        topology::declare_waiting(&channel).await?;
        topology::declare_results(&channel).await?;
        self.declare_requests().await?;
        channel.close(200, "done".into()).await.doing("closing a channel")
    }

    pub(in crate::queue) async fn declare_tasks(&self) -> Result<(), QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_tasks(&channel).await?;
        channel.close(200, "done".into()).await.doing("closing a channel")
    }

    pub(in crate::queue) async fn declare_requests(&self) -> Result<(), QueueError> {
        for queue in [amqp::RPC, amqp::RPC_LINES] {
            let channel = self.plain_channel().await?;
            match topology::declare_requests(&channel, queue).await {
                Ok(()) => channel.close(200, "done".into()).await.doing("closing a channel")?,
                // As an older version or somebody else made it: as good, but for a cluster. The channel is closed already.
                Err(error) if topology::is_there_otherwise(&error) => tracing::debug!(queue, "a durable queue"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in crate::queue) async fn consume(&self, queue: &str, prefetch: Prefetch) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        Consumer::start(channel, queue, prefetch).await
    }

    pub(in crate::queue) async fn consume_results(
        &self,
        queue: &str,
        pattern: &str,
        prefetch: u16,
    ) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_results_queue(&channel, queue, pattern).await?;
        Consumer::start(channel, queue, Prefetch::Together(prefetch)).await
    }

    pub(in crate::queue) async fn consume_replies(&self, queue: &str) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_reply_queue(&channel, queue).await?;
        Consumer::start(channel, queue, Prefetch::Unacknowledged).await
    }

    pub(in crate::queue) async fn publisher(&self) -> Result<Publisher, QueueError> {
        Publisher::open(&self.connection).await
    }

    pub(in crate::queue) async fn bulk_publisher(&self) -> Result<BulkPublisher, QueueError> {
        Ok(BulkPublisher::new(self.plain_channel().await?))
    }

    async fn plain_channel(&self) -> Result<lapin::Channel, QueueError> {
        self.connection.create_channel().await.doing("opening a channel")
    }

    pub(in crate::queue) async fn backlog(&self, queue: &str) -> Result<u32, QueueError> {
        let channel = self.plain_channel().await?;
        Ok(topology::counts(&channel, queue).await?.0)
    }

    pub(in crate::queue) async fn audience(&self, queue: &'static str) -> Result<Audience, QueueError> {
        Ok(Audience { channel: self.plain_channel().await?, queue })
    }

    pub(in crate::queue) async fn waiting(&self) -> Result<u32, QueueError> {
        let mut waiting = 0_u32;
        for (priority, seconds) in amqp::waiting_queues() {
            // A queue that was never needed does not exist, and to ask for it closes the channel.
            let channel = self.plain_channel().await?;
            let Ok((messages, _)) = topology::counts(&channel, &amqp::waiting_queue(priority, seconds)).await else {
                continue;
            };
            waiting = waiting.saturating_add(messages);
            channel.close(200, "done".into()).await.doing("closing a channel")?;
        }
        Ok(waiting)
    }

    pub(in crate::queue) async fn lost(&self) -> QueueError {
        let mut events = std::pin::pin!(self.connection.events_listener());
        loop {
            if !self.connection.status().connected() {
                return QueueError::Lost("closed".to_owned());
            }
            match events.next().await {
                Some(Event::Error(error)) => return QueueError::Lost(error.to_string()),
                Some(_) => {}
                None => return QueueError::Lost("closed".to_owned()),
            }
        }
    }

    pub(in crate::queue) async fn close(&self) {
        // The session ends either way: a failed close only means that the broker was faster.
        let _ = self.connection.close(200, "stopped".into()).await;
    }
}

/// Tells how many consumers a queue has.
#[derive(Debug)]
pub(in crate::queue) struct Audience {
    channel: lapin::Channel,
    queue: &'static str,
}

impl Audience {
    pub(in crate::queue) async fn count(&self) -> Result<u32, QueueError> {
        Ok(topology::counts(&self.channel, self.queue).await?.1)
    }
}

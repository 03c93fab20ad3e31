//! One connection to RabbitMQ.

use super::{BulkPublisher, Consumer, Prefetch, Publisher, QueueError, error::Doing, topology};
use crate::service::{SecretUrl, url_type};
use futures::StreamExt;
use lapin::{Connection, ConnectionProperties, Event, uri::AMQPUri};
use std::time::Duration;
use url::Host;

/// Seconds between heartbeats: a broker that went away in silence is noticed within twice that.
const HEARTBEAT_SECONDS: u16 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

url_type! {
    /// Where RabbitMQ is: `amqp://user:password@host:port/vhost`, or `amqps://`.
    AmqpUrl, "amqp", "amqps"; read
}

fn read(url: &SecretUrl) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = url.expose().as_str().parse()?;
    // The client library takes an IPv6 address for no host, and connects to localhost.
    if let Some(Host::Ipv6(address)) = url.expose().host() {
        uri.authority.host = address.to_string();
    }
    Ok(uri)
}

/// Where RabbitMQ is, as every process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct AmqpArgs {
    /// RabbitMQ: amqp://user:password@host:port/vhost, or amqps://
    #[arg(long, env = "AMQP_URL", default_value = "amqp://127.0.0.1:5672/%2f", hide_env_values = true)]
    pub amqp_url: AmqpUrl,
}

/// One connection to RabbitMQ (lapin sets TCP_NODELAY on it).
#[derive(Debug)]
pub struct Broker {
    connection: Connection,
}

impl Broker {
    /// Connects; `name` is what the broker's operator sees.
    ///
    /// # Errors
    /// When the broker can't be reached within 10 s or refuses.
    pub async fn connect(url: &AmqpUrl, name: &str) -> Result<Self, QueueError> {
        let mut uri = read(url.secret()).map_err(QueueError::Lost)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connect = Connection::connect_uri(uri, properties);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| QueueError::Lost(format!("{url} did not answer within {CONNECT_TIMEOUT:?}")))?
            .doing("connecting to RabbitMQ")?;
        Ok(Self { connection })
    }

    /// Declares the queues and the exchange of the backbone, as they must be.
    ///
    /// # Errors
    /// When one exists with other properties, or the connection is lost.
    pub async fn declare(&self) -> Result<(), QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare(&channel).await?;
        channel.close(200, "done".into()).await.doing("closing a channel")
    }

    /// Consumes a queue.
    ///
    /// # Errors
    /// When the queue does not exist or the connection is lost.
    pub async fn consume(&self, queue: &str, prefetch: Prefetch) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        Consumer::start(channel, queue, prefetch).await
    }

    /// Declares a durable queue for results and consumes it: what a store backend does. `pattern` is a routing key in
    /// which `*` stands for a word, such as `sp-014.*`, or `#` for everything.
    ///
    /// # Errors
    /// When the queue exists with other properties, or the connection is lost.
    pub async fn consume_results(&self, queue: &str, pattern: &str, prefetch: u16) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_results_queue(&channel, queue, pattern).await?;
        Consumer::start(channel, queue, Prefetch::Together(prefetch)).await
    }

    /// Declares this session's own reply queue, exclusive and gone with the session, and consumes it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn consume_replies(&self, queue: &str) -> Result<Consumer, QueueError> {
        let channel = self.plain_channel().await?;
        topology::declare_reply_queue(&channel, queue).await?;
        Consumer::start(channel, queue, Prefetch::Unacknowledged).await
    }

    async fn plain_channel(&self) -> Result<lapin::Channel, QueueError> {
        self.connection.create_channel().await.doing("opening a channel")
    }

    /// A channel to publish on.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn publisher(&self) -> Result<Publisher, QueueError> {
        Publisher::open(&self.connection).await
    }

    /// A channel to publish on what need not survive the broker, such as requests, whose reply is their confirmation.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn bulk_publisher(&self) -> Result<BulkPublisher, QueueError> {
        BulkPublisher::open(&self.connection).await
    }

    /// How many messages wait in a queue, not counting those that were delivered and not yet acknowledged.
    ///
    /// # Errors
    /// When the queue does not exist or the connection is lost.
    pub async fn backlog(&self, queue: &str) -> Result<u32, QueueError> {
        let channel = self.plain_channel().await?;
        topology::backlog(&channel, queue).await
    }

    /// Resolves when the connection is lost, with the reason.
    pub async fn lost(&self) -> QueueError {
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

    /// Closes the connection in order.
    pub async fn close(&self) {
        // The session ends either way: a failed close only means that the broker was faster.
        let _ = self.connection.close(200, "stopped".into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_host_is_where_it_connects_to() {
        let host = |url: &str| read(url.parse::<AmqpUrl>().unwrap().secret()).unwrap().authority.host;
        assert_eq!(host("amqp://rabbit"), "rabbit");
        assert_eq!(host("amqp://10.0.0.7:5672/%2f"), "10.0.0.7");
        assert_eq!(host("amqps://u:p@[2001:db8::7]:5671"), "2001:db8::7");
    }

    #[test]
    fn an_option_that_the_client_library_does_not_know_is_no_url() {
        assert!("amqp://h/v?heartbeat=often".parse::<AmqpUrl>().is_err());
    }
}

//! One session with whatever carries the messages.

use super::{BulkPublisher, Consumer, Prefetch, Publisher, QueueError, consumer, embedded, publisher, rabbitmq};
use crate::service::{TlsArgs, UrlError};
use std::{fmt, str::FromStr};

/// What carries the messages: RabbitMQ by its URL, or queues inside this process.
///
/// Configuration can only name RabbitMQ; the embedded queues are a handle that code passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmqpUrl {
    /// `amqp://user:password@host:port,host:port/vhost`, or `amqps://`.
    RabbitMq(rabbitmq::RabbitMqUrl),
    /// Queues in this process, those of tasks and results in its data folder.
    Embedded(embedded::EmbeddedQueues),
}

impl AmqpUrl {
    /// The same server, known by these authorities; what is inside this process needs none.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        match self {
            Self::RabbitMq(url) => Self::RabbitMq(url.trusting(tls.tls_ca_file.clone())),
            embedded @ Self::Embedded(_) => embedded,
        }
    }
}

impl FromStr for AmqpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        text.parse().map(Self::RabbitMq)
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RabbitMq(url) => fmt::Display::fmt(url, f),
            Self::Embedded(queues) => fmt::Display::fmt(queues, f),
        }
    }
}

/// Where RabbitMQ is, as every process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct AmqpArgs {
    /// RabbitMQ: amqp://user:password@host:port/vhost, or amqps://; of a cluster several host:port with commas between
    #[arg(long, env = "AMQP_URL", default_value = "amqp://127.0.0.1:5672/%2f", hide_env_values = true)]
    pub amqp_url: AmqpUrl,
}

impl AmqpArgs {
    /// The same server, known by these authorities.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        Self { amqp_url: self.amqp_url.trusting(tls) }
    }
}

/// One connection to RabbitMQ, or one session with the embedded queues. What it has not settled is delivered again
/// when it ends.
#[derive(Debug)]
pub struct Broker(Link);

#[derive(Debug)]
enum Link {
    RabbitMq(Box<rabbitmq::Connection>),
    Embedded(embedded::Session),
}

impl Broker {
    /// Connects; `name` is what the broker's operator sees.
    ///
    /// # Errors
    /// When the broker can't be reached within 10 s or refuses.
    pub async fn connect(url: &AmqpUrl, name: &str) -> Result<Self, QueueError> {
        Ok(Self(match url {
            AmqpUrl::RabbitMq(url) => Link::RabbitMq(Box::new(rabbitmq::Connection::open(url, name).await?)),
            AmqpUrl::Embedded(queues) => Link::Embedded(embedded::Session::begin(queues)),
        }))
    }

    /// Declares the queues and the exchange of the backbone, as they must be.
    ///
    /// # Errors
    /// When one exists with other properties, or the connection is lost.
    pub async fn declare(&self) -> Result<(), QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.declare().await,
            Link::Embedded(session) => session.declare().await,
        }
    }

    /// Declares only the queues of tasks and of dead letters: for whoever enqueues, and may do no more.
    ///
    /// # Errors
    /// When one exists with other properties, or the connection is lost.
    pub async fn declare_tasks(&self) -> Result<(), QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.declare_tasks().await,
            Link::Embedded(session) => session.declare().await,
        }
    }

    /// Declares only the queues of RPC requests: for whoever takes them, and may do no more.
    ///
    /// # Errors
    /// When one exists with other properties, or the connection is lost.
    pub async fn declare_requests(&self) -> Result<(), QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.declare_requests().await,
            Link::Embedded(session) => session.declare().await,
        }
    }

    /// Consumes a queue.
    ///
    /// # Errors
    /// When the queue does not exist or the connection is lost.
    pub async fn consume(&self, queue: &str, prefetch: Prefetch) -> Result<Consumer, QueueError> {
        Ok(Consumer(match &self.0 {
            Link::RabbitMq(connection) => {
                consumer::Link::RabbitMq(Box::new(connection.consume(queue, prefetch).await?))
            }
            Link::Embedded(session) => consumer::Link::Embedded(session.consume(queue, prefetch)?),
        }))
    }

    /// Declares a quorum queue for results and consumes it: what a store backend does. `pattern` is a routing key in
    /// which `*` stands for a word, such as `sp-014.*`, or `#` for everything.
    ///
    /// # Errors
    /// When the queue exists with other properties, or the connection is lost.
    pub async fn consume_results(&self, queue: &str, pattern: &str, prefetch: u16) -> Result<Consumer, QueueError> {
        Ok(Consumer(match &self.0 {
            Link::RabbitMq(connection) => {
                consumer::Link::RabbitMq(Box::new(connection.consume_results(queue, pattern, prefetch).await?))
            }
            Link::Embedded(session) => {
                consumer::Link::Embedded(session.consume_results(queue, pattern, prefetch).await?)
            }
        }))
    }

    /// Declares this session's own reply queue, exclusive and gone with the session, and consumes it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn consume_replies(&self, queue: &str) -> Result<Consumer, QueueError> {
        Ok(Consumer(match &self.0 {
            Link::RabbitMq(connection) => consumer::Link::RabbitMq(Box::new(connection.consume_replies(queue).await?)),
            Link::Embedded(session) => consumer::Link::Embedded(session.consume_replies(queue)?),
        }))
    }

    /// What to publish with.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn publisher(&self) -> Result<Publisher, QueueError> {
        Ok(Publisher(match &self.0 {
            Link::RabbitMq(connection) => publisher::Link::RabbitMq(connection.publisher().await?),
            Link::Embedded(session) => publisher::Link::Embedded(session.publisher()),
        }))
    }

    /// What to publish with what need not survive the broker, such as requests, whose reply is their confirmation.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn bulk_publisher(&self) -> Result<BulkPublisher, QueueError> {
        Ok(BulkPublisher(match &self.0 {
            Link::RabbitMq(connection) => publisher::BulkLink::RabbitMq(connection.bulk_publisher().await?),
            Link::Embedded(session) => publisher::BulkLink::Embedded(session.bulk_publisher()),
        }))
    }

    /// How many messages wait in a queue, not counting those that were delivered and not yet acknowledged.
    ///
    /// # Errors
    /// When the queue does not exist or the connection is lost.
    pub async fn backlog(&self, queue: &str) -> Result<u32, QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.backlog(queue).await,
            Link::Embedded(session) => session.backlog(queue),
        }
    }

    /// Tells whether anybody consumes a queue; `None`: the queues are in this process, and it does not matter.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn audience(&self, queue: &'static str) -> Result<Option<rabbitmq::Audience>, QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.audience(queue).await.map(Some),
            Link::Embedded(_) => Ok(None),
        }
    }

    /// How many tasks wait to come to their queues later: no backlog of theirs.
    ///
    /// # Errors
    /// When a queue does not exist or the connection is lost.
    pub async fn waiting(&self) -> Result<u32, QueueError> {
        match &self.0 {
            Link::RabbitMq(connection) => connection.waiting().await,
            Link::Embedded(session) => Ok(session.waiting()),
        }
    }

    /// Resolves when the connection is lost, with the reason.
    pub async fn lost(&self) -> QueueError {
        match &self.0 {
            Link::RabbitMq(connection) => connection.lost().await,
            Link::Embedded(session) => session.lost().await,
        }
    }

    /// Closes the connection in order.
    pub async fn close(&self) {
        match &self.0 {
            Link::RabbitMq(connection) => connection.close().await,
            Link::Embedded(session) => session.end(),
        }
    }
}

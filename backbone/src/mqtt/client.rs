//! A router's connection to one broker, across reconnects.

use super::{BrokerName, MqttUrl, connection, embedded, url::Place};
use rumqttc::{AsyncClient, ManualAck, PublishOptions, PublishResult, mqttbytes::v5::PublishProperties};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How a router uses one broker.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where the broker is.
    pub url: MqttUrl,
    /// Unique among all clients of the broker.
    pub client_id: String,
    /// What to listen to, and how.
    pub subscription: Option<Subscription>,
    /// At most so many messages in either direction wait for their acknowledgement.
    pub receive_maximum: u16,
}

/// A subscription of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter; one that begins with `$share/` is shared among the replicas.
    pub filter: &'static str,
    /// Each message is acknowledged by whoever handled it, not on arrival.
    pub manual_acks: bool,
}

/// A message to publish at QoS 1, never retained.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The topic.
    pub topic: String,
    /// The body.
    pub payload: Vec<u8>,
    /// The broker drops it when it has waited so long; rounded up to whole seconds.
    pub expiry: Duration,
    /// Where the answer is expected.
    pub response_topic: String,
    /// What the answer is matched by.
    pub correlation: String,
}

/// Why a message was not published, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection: it was not sent.
    #[error("no connection to the broker")]
    NotConnected,
    /// The broker took it, but no client listens to the topic.
    #[error("no client listens to the topic")]
    NobodyListens,
    /// The broker refused it.
    #[error("the broker refused it: {0}")]
    Refused(String),
    /// The connection was lost before the broker acknowledged it: whether the broker has it is unknown.
    #[error("the connection was lost before the broker acknowledged it")]
    Unknown,
}

/// Why a client can't work with its broker, ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Routers are useless without shared subscriptions.
    #[error("the MQTT broker {0} does not offer shared subscriptions, which the routers need; use one that does")]
    NoSharedSubscriptions(BrokerName),
}

/// A message that came in.
#[derive(Debug)]
pub struct Incoming {
    /// The broker that it came from.
    pub broker: BrokerName,
    /// The topic.
    pub topic: String,
    /// The body.
    pub payload: Vec<u8>,
    /// MQTT 5 correlation data.
    pub correlation: Option<Vec<u8>>,
    pub(super) ack: Option<Ack>,
}

/// What is owed for a message that came in.
#[derive(Debug)]
pub(super) enum Ack {
    /// An acknowledgement on the connection that it came by.
    Remote(AsyncClient, ManualAck),
    /// Room for another; gone with this.
    InHand(#[expect(dead_code, reason = "counts by being held")] OwnedSemaphorePermit),
}

impl Incoming {
    /// Tells the broker that this message is dealt with, which makes room for another. On a connection that is gone, nothing happens: the broker
    /// has given the message up, or delivers it again.
    pub async fn acknowledge(self) {
        if let Some(Ack::Remote(client, ack)) = self.ack {
            // Each connection has its own client, so this can't reach a later connection and break it.
            let _ = client.manual_ack(ack).await;
        }
    }
}

/// What the connection is at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    /// Connected: messages can be published.
    pub client: Option<Publisher>,
    /// The subscription holds.
    pub subscribed: bool,
    /// It will never work.
    pub failed: Option<ClientError>,
}

/// What publishes while there is a connection.
#[derive(Debug, Clone)]
pub(super) enum Publisher {
    Remote(AsyncClient),
    Embedded(embedded::Local),
}

/// A router's connection to one broker, across reconnects. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    name: BrokerName,
    subscription: Option<Subscription>,
    link: watch::Receiver<Link>,
    closing: CancellationToken,
}

impl Client {
    /// Begins to connect, in a task of `tracker`, until [`close`](Self::close). What is subscribed to arrives in
    /// `inbox`.
    pub fn start(options: ClientOptions, inbox: mpsc::Sender<Incoming>, tracker: &TaskTracker) -> Self {
        let (sender, link) = watch::channel(Link::default());
        let closing = CancellationToken::new();
        let client = Self {
            name: options.url.broker_name(),
            subscription: options.subscription,
            link,
            closing: closing.clone(),
        };
        match options.url.place().clone() {
            Place::Server { .. } => tracker.spawn(connection::run(options, inbox, sender, closing)),
            Place::Embedded(broker) => tracker.spawn(embedded::run(broker, options, inbox, sender, closing)),
        };
        client
    }

    /// The broker's name in the route table.
    pub fn broker(&self) -> &BrokerName {
        &self.name
    }

    /// What it subscribes to.
    pub fn subscription(&self) -> Option<Subscription> {
        self.subscription
    }

    /// Connected, and subscribed where it subscribes.
    pub fn is_ready(&self) -> bool {
        let link = self.link.borrow();
        link.client.is_some() && (link.subscribed || self.subscription.is_none())
    }

    /// Waits until it [is ready](Self::is_ready).
    ///
    /// # Errors
    /// When it can never be.
    pub async fn ready(&self) -> Result<(), ClientError> {
        let mut link = self.link.clone();
        let subscribes = self.subscription.is_some();
        let settled = |link: &Link| link.failed.is_some() || link.client.is_some() && (link.subscribed || !subscribes);
        match link.wait_for(settled).await.map(|link| link.failed.clone()) {
            Ok(Some(error)) => Err(error),
            // The sender is gone only after `close`.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Resolves when the client can never work with its broker.
    pub async fn failed(&self) -> ClientError {
        let mut link = self.link.clone();
        match link.wait_for(|link| link.failed.is_some()).await.map(|link| link.failed.clone()) {
            Ok(Some(error)) => error,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        let _ = self.link.clone().wait_for(|link| link.client.is_some()).await;
    }

    /// Publishes, and waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// When the broker did not take it, or may not have taken it.
    pub async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let publisher = self.link.borrow().client.clone();
        let client = match publisher {
            Some(Publisher::Remote(client)) => client,
            Some(Publisher::Embedded(local)) => return Box::pin(local.publish(publication)).await,
            None => return Err(PublishError::NotConnected),
        };
        publish(&client, publication).await
    }

    /// Takes part in the subscription no more; what was received can still be acknowledged.
    pub async fn unsubscribe(&self) {
        let client = self.link.borrow().client.clone();
        match (client, self.subscription) {
            (Some(Publisher::Remote(client)), Some(subscription)) => {
                if let Ok(notice) = client.unsubscribe_tracked(subscription.filter).await {
                    let _ = notice.wait_async().await;
                }
            }
            (Some(Publisher::Embedded(local)), _) => local.leave(),
            _ => {}
        }
    }

    /// Disconnects in order, after what was queued before.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Publishes over a connection, and waits for the broker's acknowledgement.
pub(super) async fn publish(client: &AsyncClient, publication: Publication) -> Result<(), PublishError> {
    let seconds = publication.expiry.as_millis().div_ceil(1000);
    let properties = PublishProperties {
        message_expiry_interval: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
        response_topic: Some(publication.response_topic),
        correlation_data: Some(publication.correlation.into()),
        ..PublishProperties::default()
    };
    let options = PublishOptions::at_least_once().properties(properties);
    let notice = client
        .publish_tracked(publication.topic, publication.payload, options)
        .await
        .map_err(|_| PublishError::NotConnected)?;
    match notice.wait_async().await {
        Ok(PublishResult::Qos1(ack)) => match ack.reason {
            rumqttc::mqttbytes::v5::PubAckReason::Success => Ok(()),
            rumqttc::mqttbytes::v5::PubAckReason::NoMatchingSubscribers => Err(PublishError::NobodyListens),
            reason => Err(PublishError::Refused(format!("{reason:?}"))),
        },
        Ok(_) => Ok(()),
        Err(rumqttc::PublishNoticeError::V5PubAck(reason)) => Err(PublishError::Refused(format!("{reason:?}"))),
        Err(_) => Err(PublishError::Unknown),
    }
}

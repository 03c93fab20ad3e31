//! One connection to a broker that hears everything about a gateway as it was published: for whoever puts it to the test.
//!
//! A router must not see how a message was published, only what it says. An observer is there to see it. It lives for
//! one connection: when that is lost, what was said meanwhile is unknown, and so is what the gateway does right.

use super::{MqttUrl, Publication, PublishError, client, connection::describe};
use rumqttc::{
    AsyncClient, Event, EventLoop, SubscribeFilterInput,
    mqttbytes::{
        QoS,
        v5::{Packet, Publish, SubscribeReasonCode},
    },
};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Larger than any report that a router takes, so that one which is too large is seen.
const MAX_PACKET_BYTES: u32 = 16 * 1024 * 1024;
const MAX_IN_FLIGHT: u16 = 512;
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A message as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The topic.
    pub topic: String,
    /// The body.
    pub payload: Vec<u8>,
    /// It came at QoS 0: it was published so. At QoS 1 it was published at that or more.
    pub at_most_once: bool,
    /// It was published to be retained.
    pub retained: bool,
    /// MQTT 5 correlation data.
    pub correlation: Option<Vec<u8>>,
    /// When it came.
    pub at: Instant,
}

/// Why nothing can be observed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserverError {
    /// There is no connection; the text says why.
    #[error("no connection to the MQTT broker: {0}")]
    NotConnected(String),
    /// The broker refused a subscription.
    #[error(
        "the MQTT broker refuses a subscription to {0}: it must let this client subscribe to what gateways publish"
    )]
    Refused(String),
}

/// A connection that observes and publishes, until it is closed or dropped.
#[derive(Debug)]
pub struct Observer {
    client: AsyncClient,
    closing: CancellationToken,
}

impl Observer {
    /// Connects and subscribes, and then drives the connection in a task of `tracker`. What comes arrives in `inbox`,
    /// which is closed when the connection is lost.
    ///
    /// # Errors
    /// When there is no connection, or the broker refuses a subscription.
    pub async fn connect(
        url: &MqttUrl,
        client_id: &str,
        filters: &[String],
        inbox: mpsc::Sender<Observed>,
        tracker: &TaskTracker,
    ) -> Result<Self, ObserverError> {
        let mut options = url.options(client_id).map_err(|error| ObserverError::NotConnected(error.to_string()))?;
        options
            .set_clean_start(true)
            .set_session_expiry_interval(Some(0))
            .set_max_packet_size(Some(MAX_PACKET_BYTES))
            .set_receive_maximum(Some(MAX_IN_FLIGHT))
            .set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT)
            .set_request_channel_capacity(usize::from(MAX_IN_FLIGHT));
        let (client, events) = AsyncClient::builder(options).build();
        let closing = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let connection =
            Connection { client: client.clone(), filters: filters.to_vec(), inbox, closing: closing.clone() };
        tracker.spawn(connection.live(events, ready));
        let observer = Self { client, closing };
        match is_ready.await {
            Ok(Ok(())) => Ok(observer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ObserverError::NotConnected("it was closed".to_owned())),
        }
    }

    /// Publishes at QoS 1, and waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// When the broker did not take it, or may not have taken it.
    pub async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        client::publish(&self.client, publication).await
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

struct Connection {
    client: AsyncClient,
    filters: Vec<String>,
    inbox: mpsc::Sender<Observed>,
    closing: CancellationToken,
}

type Ready = oneshot::Sender<Result<(), ObserverError>>;

impl Connection {
    async fn live(self, mut events: EventLoop, ready: Ready) {
        let mut ready = Some(ready);
        let mut tell = |result| ready.take().map(|ready| ready.send(result));
        let mut disconnecting = false;
        loop {
            let event = tokio::select! {
                biased;
                () = self.closing.cancelled(), if !disconnecting => {
                    disconnecting = true;
                    if self.client.disconnect_with_timeout(DISCONNECT_TIMEOUT).await.is_err() {
                        return;
                    }
                    continue;
                }
                event = events.poll() => event,
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if let Err(error) = self.subscribe() {
                        tell(Err(error));
                        return;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    let verdict = self.subscribed(&ack.return_codes);
                    let refused = verdict.is_err();
                    tell(verdict);
                    if refused {
                        return;
                    }
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => drop(self.inbox.send(observed(publish)).await),
                Ok(_) => {}
                Err(error) => {
                    tell(Err(ObserverError::NotConnected(describe(&error))));
                    return;
                }
            }
        }
    }

    fn subscribe(&self) -> Result<(), ObserverError> {
        // The broker hands retained messages on with their flag also where it has just been published.
        let filter =
            |filter: &String| SubscribeFilterInput::new(filter.as_str(), QoS::AtLeastOnce).preserve_retain(true);
        let queued = self.client.try_subscribe_many(self.filters.iter().map(filter));
        queued.map_err(|error| ObserverError::NotConnected(error.to_string()))
    }

    fn subscribed(&self, codes: &[SubscribeReasonCode]) -> Result<(), ObserverError> {
        let refused = codes.iter().position(|code| !matches!(code, SubscribeReasonCode::Success(_)));
        match refused.and_then(|at| self.filters.get(at)) {
            Some(filter) => Err(ObserverError::Refused(filter.clone())),
            None => Ok(()),
        }
    }
}

fn observed(publish: Publish) -> Observed {
    Observed {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.into(),
        at_most_once: publish.qos == QoS::AtMostOnce,
        retained: publish.retain,
        correlation: publish.properties.and_then(|properties| properties.correlation_data).map(Into::into),
        at: Instant::now(),
    }
}

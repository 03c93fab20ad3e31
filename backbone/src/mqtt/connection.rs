//! The task that keeps one connection to a broker, one after the other.

use super::{
    ClientError, ClientOptions, Incoming,
    client::{Ack, Link, Publisher, Subscription},
    coalesce::Coalesced,
};
use crate::service::{Backoff, advice};
use rumqttc::{
    AckMode, AsyncClient, ConnectionError, Event, EventLoop, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{ConnAck, ConnectReturnCode, Packet, Publish, SubscribeReasonCode},
    },
};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Requests and acknowledgements that may wait for the event loop, beyond the receive maximum.
const REQUEST_QUEUE: usize = 64;
/// The broker delivers no larger packet than this; a report of 4,000 labels has 256 KiB.
const MAX_PACKET_BYTES: u32 = 300 * 1024;
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn run(
    options: ClientOptions,
    inbox: mpsc::Sender<Incoming>,
    link: watch::Sender<Link>,
    closing: CancellationToken,
) {
    let broker = options.url.broker_name();
    let mut backoff = Backoff::for_connections();
    let mut reported = false;
    while !closing.is_cancelled() {
        // A client and event loop for each connection: what belongs to an old one can never reach a new one. A late
        // acknowledgement that did would make the broker close the new connection.
        let (was_up, ended) = match mqtt_options(&options) {
            Ok(mqtt) => {
                let (client, events) = AsyncClient::builder(mqtt).build();
                let mut connection = Connection { options: &options, client, events, inbox: &inbox, link: &link };
                let ended = connection.live(&closing).await;
                // Before the event loop goes, and whoever waits for an acknowledgement hears that none will come: to
                // send again, he must not find this connection.
                disconnected(&link);
                ended
            }
            Err(error) => (false, error),
        };
        if closing.is_cancelled() {
            return;
        }
        if was_up {
            backoff.reset();
            reported = false;
        }
        if !std::mem::replace(&mut reported, true) {
            tracing::warn!(mqtt.broker = %broker, error = ended, "no connection to the MQTT broker; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = closing.cancelled() => {}
        }
    }
}

fn disconnected(link: &watch::Sender<Link>) {
    link.send_modify(|link| (link.client, link.subscribed) = (None, false));
}

fn mqtt_options(options: &ClientOptions) -> Result<MqttOptions, String> {
    let mut mqtt = options.url.options(&options.client_id)?;
    let manual = options.subscription.is_some_and(|subscription| subscription.manual_acks);
    mqtt.set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_receive_maximum(Some(options.receive_maximum))
        .set_max_packet_size(Some(MAX_PACKET_BYTES))
        .set_outgoing_inflight_upper_limit(options.receive_maximum)
        .set_request_channel_capacity(usize::from(options.receive_maximum) + REQUEST_QUEUE)
        .set_max_request_batch(64)
        .set_socket_connector(|host, network| async move {
            Ok(Coalesced::new(rumqttc::default_socket_connect(host, network).await?))
        })
        .set_ack_mode(if manual { AckMode::Manual } else { AckMode::Automatic });
    Ok(mqtt)
}

struct Connection<'a> {
    options: &'a ClientOptions,
    client: AsyncClient,
    events: EventLoop,
    inbox: &'a mpsc::Sender<Incoming>,
    link: &'a watch::Sender<Link>,
}

impl Connection<'_> {
    /// Until the connection ends: whether it was ever up, and why it ended.
    async fn live(&mut self, closing: &CancellationToken) -> (bool, String) {
        let mut was_up = false;
        let mut disconnecting = false;
        loop {
            // `poll` is dropped only to queue the disconnect once; the event loop is not used for anything after it.
            let event = tokio::select! {
                biased;
                () = closing.cancelled(), if !disconnecting => {
                    disconnecting = true;
                    if !was_up || self.client.disconnect_with_timeout(DISCONNECT_TIMEOUT).await.is_err() {
                        return (was_up, "closed".to_owned());
                    }
                    continue;
                }
                event = self.events.poll() => event,
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    was_up = true;
                    self.connected(&ack);
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => self.receive(publish).await,
                Ok(Event::Incoming(Packet::SubAck(ack))) => self.subscribed(&ack.return_codes),
                Ok(Event::Incoming(Packet::Disconnect(reason))) => {
                    return (was_up, format!("the broker disconnected: {:?}", reason.reason_code));
                }
                Ok(_) => {}
                Err(error) => return (was_up, describe(&error)),
            }
        }
    }

    fn connected(&self, ack: &ConnAck) {
        let broker = self.options.url.broker_name();
        let shared = self.options.subscription.is_some_and(|subscription| subscription.filter.starts_with("$share/"));
        let offered = ack.properties.as_ref().and_then(|properties| properties.shared_subscription_available);
        if shared && offered == Some(0) {
            self.link.send_modify(|link| link.failed = Some(ClientError::NoSharedSubscriptions(broker)));
            return;
        }
        tracing::info!(mqtt.broker = %broker, mqtt.client = self.options.client_id, "connected to the MQTT broker");
        if let Some(Subscription { filter, .. }) = self.options.subscription
            && let Err(error) = self.client.try_subscribe(filter, QoS::AtLeastOnce)
        {
            // Impossible on a new connection, whose request queue is empty.
            tracing::error!(mqtt.filter = filter, "subscribing: {error}");
        }
        self.link.send_modify(|link| link.client = Some(Publisher::Remote(self.client.clone())));
    }

    fn subscribed(&self, codes: &[SubscribeReasonCode]) {
        let broker = self.options.url.broker_name();
        match codes.first() {
            Some(SubscribeReasonCode::Success(_)) => self.link.send_modify(|link| link.subscribed = true),
            Some(SubscribeReasonCode::SharedSubscriptionsNotSupported) => {
                self.link.send_modify(|link| link.failed = Some(ClientError::NoSharedSubscriptions(broker)));
            }
            code => {
                tracing::warn!(mqtt.broker = %broker, ?code, "subscription refused; connecting again");
                let _ = self.client.try_disconnect();
            }
        }
    }

    async fn receive(&self, publish: Publish) {
        let manual = self.options.subscription.is_some_and(|subscription| subscription.manual_acks);
        let ack = if manual {
            self.client.prepare_ack(&publish).map(|ack| Ack::Remote(self.client.clone(), ack))
        } else {
            None
        };
        let incoming = Incoming {
            broker: self.options.url.broker_name(),
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.into(),
            correlation: publish.properties.and_then(|properties| properties.correlation_data).map(Into::into),
            ack,
        };
        // The inbox holds as much as the receive maximum allows to be unacknowledged. Where messages need no
        // acknowledgement, a full inbox holds up this connection, and TCP the broker.
        let _ = self.inbox.send(incoming).await;
    }
}

pub(super) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) if *code != ConnectReturnCode::Success => {
            format!("the broker refused the connection: {code:?}")
        }
        error => advice(error).unwrap_or_else(|| error.to_string()),
    }
}

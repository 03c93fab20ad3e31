//! One connection in MQTT 5 or MQTT 3.1.1: where the two differ.

use super::{GatewayCommand, GatewayOptions, Message, MqttVersion, session::NothingKept};
use crate::{mqtt::MqttUrl, service::advice};
use protocol::names::mqtt::{Channel, topic};
use rumqttc::mqttbytes::{QoS, v5};
use rumqttc_v4::mqttbytes::{QoS as QoS311, v4};
use std::time::Duration;

/// How long a broker keeps the session of a gateway that is away.
pub(super) const SESSION_EXPIRY_SECONDS: u32 = 3600;
/// A command has at most so many bytes.
const MAX_COMMAND_BYTES: u32 = 256 * 1024;
/// Answers on their way that the broker has not acknowledged.
pub(super) const MAX_UNACKNOWLEDGED: u16 = 512;
const OFFLINE: &str = r#"{"online":false}"#;

/// What publishes on a connection.
#[derive(Clone)]
pub(super) enum Publisher {
    V5(rumqttc::AsyncClient),
    V311(rumqttc_v4::AsyncClient),
}

/// What drives a connection: to be polled all the time.
pub(super) enum Link {
    V5(Box<rumqttc::EventLoop>),
    V311(Box<rumqttc_v4::EventLoop>),
}

pub(super) enum LinkEvent {
    Connected,
    /// Whether the broker accepted the subscription.
    Subscribed(bool),
    Command(GatewayCommand),
    Other,
}

/// How the broker took an answer.
pub(super) enum Taken {
    Yes,
    /// For good: to send it again would not help.
    Refused(String),
    /// The connection is gone, or about to be.
    Unknown,
}

/// A new connection for each attempt: what belongs to an old one can never reach a new one.
pub(super) fn open(options: &GatewayOptions, broker: &MqttUrl) -> Result<(Publisher, Link), String> {
    let broker = broker.of_gateway(options.mac);
    match options.version {
        MqttVersion::V5 => open_v5(options, &broker),
        MqttVersion::V311 => open_v311(options, &broker),
    }
}

fn client_id(options: &GatewayOptions) -> String {
    // At most 23 characters, the most that every MQTT 3.1.1 broker takes (section 3.1.3.1).
    format!("gw-{}", options.mac)
}

fn open_v5(options: &GatewayOptions, broker: &MqttUrl) -> Result<(Publisher, Link), String> {
    let id = client_id(options);
    let mut mqtt = broker.options(&id)?;
    let will = v5::LastWill::new(topic(options.mac, Channel::Status), OFFLINE, QoS::AtLeastOnce, false, None);
    mqtt.set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_EXPIRY_SECONDS))
        .set_session_store(NothingKept)
        .set_last_will(will)
        .set_max_packet_size(Some(MAX_COMMAND_BYTES))
        .set_outgoing_inflight_upper_limit(MAX_UNACKNOWLEDGED)
        .set_request_channel_capacity(usize::from(MAX_UNACKNOWLEDGED))
        .set_max_request_batch(64);
    let (client, events) = rumqttc::AsyncClient::builder(mqtt).build();
    Ok((Publisher::V5(client), Link::V5(Box::new(events))))
}

fn open_v311(options: &GatewayOptions, broker: &MqttUrl) -> Result<(Publisher, Link), String> {
    let (host, port) = broker.host_and_port();
    let mut mqtt = rumqttc_v4::MqttOptions::new(client_id(options), rumqttc_v4::Broker::tcp(host, port));
    if let Some((user, password)) = broker.credentials() {
        mqtt.set_credentials(user, password);
    }
    if let Some(tls) = broker.tls()? {
        mqtt.set_transport(rumqttc_v4::Transport::tls_with_config(tls));
    }
    let will = v4::LastWill::new(topic(options.mac, Channel::Status), OFFLINE, QoS311::AtLeastOnce, false);
    let limit = MAX_COMMAND_BYTES as usize;
    mqtt.set_clean_session(false)
        .set_session_store(NothingKept)
        .set_last_will(will)
        .set_keep_alive(10)
        .set_max_packet_size(limit, limit)
        .set_inflight(MAX_UNACKNOWLEDGED)
        .set_request_channel_capacity(usize::from(MAX_UNACKNOWLEDGED))
        .set_max_request_batch(64);
    let (client, mut events) = rumqttc_v4::AsyncClient::builder(mqtt).build();
    let mut network = rumqttc_v4::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    Ok((Publisher::V311(client), Link::V311(Box::new(events))))
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    advice(error).unwrap_or_else(|| error.to_string())
}

impl Link {
    /// What happens next on the connection.
    pub(super) async fn next(&mut self) -> Result<LinkEvent, String> {
        match self {
            Self::V5(events) => match events.poll().await.map_err(|error| told(&error))? {
                rumqttc::Event::Incoming(v5::Packet::ConnAck(_)) => {
                    // The store was needed for the ConnAck. Left in place, it would copy all unacknowledged answers
                    // with each packet.
                    events.options.clear_session_store();
                    Ok(LinkEvent::Connected)
                }
                rumqttc::Event::Incoming(packet) => event_v5(packet),
                _ => Ok(LinkEvent::Other),
            },
            Self::V311(events) => match events.poll().await.map_err(|error| told(&error))? {
                rumqttc_v4::Event::Incoming(v4::Packet::ConnAck(_)) => {
                    events.mqtt_options.clear_session_store();
                    Ok(LinkEvent::Connected)
                }
                rumqttc_v4::Event::Incoming(packet) => Ok(event_v311(packet)),
                _ => Ok(LinkEvent::Other),
            },
        }
    }
}

fn event_v5(packet: v5::Packet) -> Result<LinkEvent, String> {
    Ok(match packet {
        v5::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            LinkEvent::Command(GatewayCommand {
                payload: publish.payload.into(),
                correlation: properties.correlation_data.map(Into::into),
                response_topic: properties.response_topic,
                expiry: properties.message_expiry_interval.map(|seconds| Duration::from_secs(seconds.into())),
                retained: publish.retain,
            })
        }
        v5::Packet::SubAck(ack) => {
            LinkEvent::Subscribed(matches!(ack.return_codes.first(), Some(v5::SubscribeReasonCode::Success(_))))
        }
        v5::Packet::Disconnect(reason) => return Err(format!("the broker disconnected: {:?}", reason.reason_code)),
        _ => LinkEvent::Other,
    })
}

fn event_v311(packet: v4::Packet) -> LinkEvent {
    match packet {
        v4::Packet::Publish(publish) => LinkEvent::Command(GatewayCommand {
            payload: publish.payload.into(),
            correlation: None,
            response_topic: None,
            expiry: None,
            retained: publish.retain,
        }),
        v4::Packet::SubAck(ack) => {
            LinkEvent::Subscribed(matches!(ack.return_codes.first(), Some(v4::SubscribeReasonCode::Success(_))))
        }
        _ => LinkEvent::Other,
    }
}

impl Publisher {
    /// Queues the subscription to the gateway's commands; false when it can't be queued.
    pub(super) fn subscribe(&self, options: &GatewayOptions) -> bool {
        let filter = topic(options.mac, Channel::Action);
        match self {
            Self::V5(client) => client.try_subscribe(filter, QoS::AtLeastOnce).is_ok(),
            Self::V311(client) => client.try_subscribe(filter, QoS311::AtLeastOnce).is_ok(),
        }
    }

    /// Publishes at QoS 0; what can't be sent is lost.
    pub(super) async fn tell(&self, message: Message) {
        let Message { topic, payload, .. } = message;
        match self {
            Self::V5(client) => drop(client.publish(topic, payload, rumqttc::PublishOptions::at_most_once()).await),
            Self::V311(client) => {
                drop(client.publish(topic, payload, rumqttc_v4::PublishOptions::at_most_once()).await);
            }
        }
    }

    /// Publishes at QoS 1; resolves when it is queued, to what resolves when the broker took it.
    pub(super) async fn publish(&self, message: &Message) -> impl Future<Output = Taken> + use<> {
        let (topic, payload) = (message.topic.clone(), message.payload.clone());
        let notice = match self {
            Self::V5(client) => {
                let mut options = rumqttc::PublishOptions::at_least_once();
                if let Some(correlation) = &message.correlation {
                    options = options.properties(v5::PublishProperties {
                        correlation_data: Some(correlation.clone().into()),
                        ..v5::PublishProperties::default()
                    });
                }
                Notice::V5(client.publish_tracked(topic, payload, options).await.ok())
            }
            Self::V311(client) => {
                let options = rumqttc_v4::PublishOptions::at_least_once();
                Notice::V311(client.publish_tracked(topic, payload, options).await.ok())
            }
        };
        notice.taken()
    }

    pub(super) async fn disconnect(&self, timeout: Duration) {
        match self {
            Self::V5(client) => drop(client.disconnect_with_timeout(timeout).await),
            Self::V311(client) => drop(client.disconnect_with_timeout(timeout).await),
        }
    }
}

enum Notice {
    V5(Option<rumqttc::PublishNotice>),
    V311(Option<rumqttc_v4::PublishNotice>),
}

impl Notice {
    async fn taken(self) -> Taken {
        match self {
            // An acknowledgement may say that the broker took nothing.
            Self::V5(Some(notice)) => match notice.wait_completion_async().await {
                Ok(()) => Taken::Yes,
                Err(rumqttc::PublishNoticeError::V5PubAck(reason)) => Taken::Refused(format!("{reason:?}")),
                Err(_) => Taken::Unknown,
            },
            Self::V311(Some(notice)) => match notice.wait_async().await {
                Ok(_) => Taken::Yes,
                Err(_) => Taken::Unknown,
            },
            _ => Taken::Unknown,
        }
    }
}

//! A gateway's side of MQTT: what gateways do with a broker, for those that are emulated.
//!
//! One connection at a time, in a persistent session, to one of several brokers; when it is lost, to the next of
//! them. Answers that the broker has not acknowledged are sent again on the next connection, as gateways do; so they
//! may arrive twice.

mod connection;
mod link;
mod session;

use super::MqttUrl;
use protocol::GatewayMac;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// Answers that wait for their turn, or for a connection. Many, because whoever has one for us can't wait: while it did,
/// commands would fill the inbox and hold up the connection, and with it the acknowledgements that make room.
const ANSWER_QUEUE: usize = 32_768;
/// Reports that wait; they are sent only when no answer waits.
const REPORT_QUEUE: usize = 16;

/// Which MQTT a gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1, which has no properties: no correlation data, no expiry that the receiver sees.
    V311,
    /// MQTT 5.
    V5,
}

/// How a gateway uses its brokers.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The gateway.
    pub mac: GatewayMac,
    /// The brokers that it may connect to; at least one.
    pub brokers: Vec<MqttUrl>,
    /// Which of them comes first; counted round.
    pub first_broker: usize,
    /// Which MQTT it speaks.
    pub version: MqttVersion,
}

/// A command as it came. Its body is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayCommand {
    /// The body.
    pub payload: Vec<u8>,
    /// MQTT 5 correlation data.
    pub correlation: Option<Vec<u8>>,
    /// MQTT 5 response topic.
    pub response_topic: Option<String>,
    /// What the broker left of the MQTT 5 message expiry.
    pub expiry: Option<Duration>,
    /// The broker had kept it for whoever subscribes: no command should ever be.
    pub retained: bool,
}

/// The gateway's own state as the broker sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Connected, subscribed, and `{"online":true}` published.
    pub online: bool,
    /// Which of the brokers it is connected to, or tries next.
    pub broker: usize,
    /// How often it was online.
    pub connections: u64,
    /// How many messages the broker refused, for good; MQTT 3.1.1 does not tell.
    pub refused: u64,
}

/// Too many answers wait already; this one was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{ANSWER_QUEUE} answers wait already")]
pub struct AnswersFull;

/// What the connection is wanted to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Online,
    /// Leaves as gateways do that are switched off in order: `{"online":false}`, then DISCONNECT.
    Offline,
    /// The connection is cut without a word; the broker publishes the last will.
    Cut,
    /// As `Offline`, after what waits, and for good.
    Closed,
}

#[derive(Debug)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    correlation: Option<Vec<u8>>,
    /// On the next connection, where this one ends before the broker acknowledges it.
    again: bool,
}

/// A gateway's connection, across reconnects and brokers.
#[derive(Debug)]
pub struct Gateway {
    mac: GatewayMac,
    answers: mpsc::Sender<Message>,
    reports: mpsc::Sender<Message>,
    wanted: watch::Sender<Wanted>,
    status: watch::Receiver<GatewayStatus>,
}

impl Gateway {
    /// Begins to connect, in a task of `tracker`, until [`close`](Self::close). Commands arrive in `inbox`. While it
    /// is full, the connection stands still, and TCP holds up the broker: whoever empties it must not wait for this
    /// gateway meanwhile.
    pub fn start(options: GatewayOptions, inbox: mpsc::Sender<GatewayCommand>, tracker: &TaskTracker) -> Self {
        let (answers, answers_out) = mpsc::channel(ANSWER_QUEUE);
        let (reports, reports_out) = mpsc::channel(REPORT_QUEUE);
        let (wanted, wanted_now) = watch::channel(Wanted::Online);
        let (status_now, status) = watch::channel(GatewayStatus::default());
        let gateway = Self { mac: options.mac, answers, reports, wanted, status };
        let outbox = connection::Outbox::new(answers_out, reports_out, wanted_now);
        tracker.spawn(connection::run(options, outbox, connection::Inbox { inbox, status: status_now }));
        gateway
    }

    /// Queues an answer for the gateway's own response topic, QoS 1, without waiting. While there is no connection it
    /// waits for the next one.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn answer(&self, payload: Vec<u8>, correlation: Option<Vec<u8>>) -> Result<(), AnswersFull> {
        self.answer_as(self.mac, payload, correlation)
    }

    /// As [`answer`](Self::answer), on another gateway's response topic: what no honest gateway does.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn answer_as(
        &self,
        gateway: GatewayMac,
        payload: Vec<u8>,
        correlation: Option<Vec<u8>>,
    ) -> Result<(), AnswersFull> {
        let topic = protocol::names::mqtt::topic(gateway, protocol::names::mqtt::Channel::Response);
        let message = Message { topic, payload, correlation, again: true };
        self.answers.try_send(message).map_err(|_| AnswersFull)
    }

    /// Publishes on the gateway's status topic, QoS 0 (now and then 1, to notice a broker that hangs), after the answers that wait; holds the caller up while too many
    /// reports wait.
    pub async fn report(&self, payload: Vec<u8>) {
        let topic = protocol::names::mqtt::topic(self.mac, protocol::names::mqtt::Channel::Status);
        // Fails only after `close`, when nobody cares for reports.
        let _ = self.reports.send(Message { topic, payload, correlation: None, again: false }).await;
    }

    /// Disconnects until [`go_online`](Self::go_online): in order, or by cutting the connection.
    pub fn go_offline(&self, cut: bool) {
        self.want(if cut { Wanted::Cut } else { Wanted::Offline });
    }

    /// Connects again.
    pub fn go_online(&self) {
        self.want(Wanted::Online);
    }

    /// Publishes what waits, disconnects in order, and ends.
    pub fn close(&self) {
        self.want(Wanted::Closed);
    }

    /// Whether it is meant to be online.
    pub fn is_wanted_online(&self) -> bool {
        *self.wanted.borrow() == Wanted::Online
    }

    /// The connection's state, as it changes.
    pub fn status(&self) -> watch::Receiver<GatewayStatus> {
        self.status.clone()
    }

    fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| *now != Wanted::Closed && std::mem::replace(now, wanted) != wanted);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(tracker: &TaskTracker) -> Gateway {
        let options = GatewayOptions {
            mac: GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]),
            brokers: vec!["mqtt://127.0.0.1:1".parse().unwrap()],
            first_broker: 5,
            version: MqttVersion::V5,
        };
        Gateway::start(options, mpsc::channel(1).0, tracker)
    }

    #[tokio::test]
    async fn it_ends_when_closed_or_dropped_even_without_a_broker() {
        let tracker = TaskTracker::new();
        let (closed, dropped) = (unreachable(&tracker), unreachable(&tracker));
        closed.close();
        closed.go_online();
        assert!(!closed.is_wanted_online());
        drop(dropped);
        tracker.close();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn answers_without_a_broker_are_bounded() {
        let gateway = unreachable(&TaskTracker::new());
        for _ in 0..ANSWER_QUEUE {
            assert_eq!(gateway.answer(Vec::new(), None), Ok(()));
        }
        assert_eq!(gateway.answer(Vec::new(), None), Err(AnswersFull));
    }
}

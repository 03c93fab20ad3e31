//! A broker of either kind, and who uses it.

use backbone::mqtt::{
    Client, ClientOptions, EmbeddedBroker, EmbeddedOptions, Incoming, MqttUrl, Publication, Subscription,
    gateway::{Gateway, GatewayCommand, GatewayOptions, MqttVersion},
};
use protocol::{
    GatewayMac,
    names::mqtt::{Channel, SHARED_RESPONSES, SHARED_STATUS, topic},
};
use std::{net::SocketAddr, time::Duration};
use testbed::{Mosquitto, MosquittoOptions};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::TaskTracker;

pub(crate) const ANSWERS: Subscription = Subscription { filter: SHARED_RESPONSES, manual_acks: true };
pub(crate) const REPORTS: Subscription = Subscription { filter: SHARED_STATUS, manual_acks: false };
pub(crate) const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
pub(crate) const OTHER: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 2]);
const PATIENCE: Duration = Duration::from_secs(20);
/// Within which what should not come would have.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy)]
pub(crate) enum BackEnd {
    Mosquitto,
    Embedded,
}

pub(crate) struct Fixture {
    pub(crate) url: MqttUrl,
    pub(crate) address: SocketAddr,
    tracker: TaskTracker,
    mosquitto: Option<Mosquitto>,
    embedded: Option<(EmbeddedBroker, TempDir)>,
}

/// Removed when dropped.
pub(crate) type TempDir = tempfile::TempDir;

impl Fixture {
    pub(crate) async fn on(back_end: BackEnd) -> Self {
        let tracker = TaskTracker::new();
        match back_end {
            BackEnd::Mosquitto => {
                let mosquitto = Mosquitto::start(MosquittoOptions::default()).await.unwrap();
                let url = mosquitto.url();
                let address = url.trim_start_matches("mqtt://").parse().unwrap();
                Self { url: url.parse().unwrap(), address, tracker, mosquitto: Some(mosquitto), embedded: None }
            }
            BackEnd::Embedded => {
                let folder = tempfile::tempdir().unwrap();
                let broker = EmbeddedBroker::start(embedded_options(&folder), &tracker).await.unwrap();
                let (url, address) = (broker.clone().into(), broker.address().unwrap());
                Self { url, address, tracker, mosquitto: None, embedded: Some((broker, folder)) }
            }
        }
    }

    /// A router's connection, ready to be used.
    pub(crate) async fn client(&self, subscription: Option<Subscription>) -> (Client, mpsc::Receiver<Incoming>) {
        self.client_with_room(subscription, 100).await
    }

    pub(crate) async fn client_with_room(
        &self,
        subscription: Option<Subscription>,
        room: u16,
    ) -> (Client, mpsc::Receiver<Incoming>) {
        let (sender, inbox) = mpsc::channel(room.into());
        let options = ClientOptions {
            url: self.url.clone(),
            client_id: format!("router-{}", uuid::Uuid::new_v4().simple()),
            subscription,
            receive_maximum: room,
        };
        let client = Client::start(options, sender, &self.tracker);
        timeout(PATIENCE, client.ready()).await.unwrap().unwrap();
        (client, inbox)
    }

    /// A gateway that is online.
    pub(crate) async fn gateway(&self, version: MqttVersion) -> (Gateway, mpsc::Receiver<GatewayCommand>) {
        let (sender, inbox) = mpsc::channel(100);
        let options = GatewayOptions { mac: GATEWAY, brokers: vec![self.url.clone()], first_broker: 0, version };
        let gateway = Gateway::start(options, sender, &self.tracker);
        online(&gateway, true).await;
        (gateway, inbox)
    }

    /// Ends the broker in order, where it is inside the process, and everyone with it.
    pub(crate) async fn end(self) {
        if let Some((broker, _folder)) = self.embedded {
            broker.close();
            self.tracker.close();
            timeout(PATIENCE, self.tracker.wait()).await.unwrap();
        }
        drop(self.mosquitto);
    }
}

pub(crate) fn embedded_options(folder: &TempDir) -> EmbeddedOptions {
    EmbeddedOptions { listen: Some(([127, 0, 0, 1], 0).into()), ..EmbeddedOptions::new(folder.path()) }
}

pub(crate) async fn online(gateway: &Gateway, online: bool) {
    timeout(PATIENCE, gateway.status().wait_for(|status| status.online == online)).await.unwrap().unwrap();
}

/// What comes next.
pub(crate) async fn next<T>(inbox: &mut mpsc::Receiver<T>) -> T {
    timeout(PATIENCE, inbox.recv()).await.expect("nothing came").unwrap()
}

/// The body of what comes next on this channel of the gateway.
pub(crate) async fn next_on(inbox: &mut mpsc::Receiver<Incoming>, channel: Channel) -> String {
    loop {
        let incoming = next(inbox).await;
        if incoming.topic == topic(GATEWAY, channel) {
            return String::from_utf8(incoming.payload).unwrap();
        }
    }
}

/// A command to the gateway.
pub(crate) fn command(body: &str, expiry: Duration) -> Publication {
    Publication {
        topic: topic(GATEWAY, Channel::Action),
        payload: body.into(),
        expiry,
        response_topic: topic(GATEWAY, Channel::Response),
        correlation: format!("id-of-{body}"),
    }
}

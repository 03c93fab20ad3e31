//! A TCP port between a gateway and its broker, which sees how the gateway connects, and can cut its connection.
//!
//! Neither side notices it: every byte is passed on as it came. Only without TLS.

use super::{MqttUrl, gateway::MqttVersion};
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{Error as Unreadable, v5};
use rumqttc_v4::mqttbytes::v4;
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is read of one packet at most. A gateway's larger ones are passed on, and not looked at.
const MAX_PACKET_BYTES: usize = 1024 * 1024;
/// Connections are remembered up to this number: a gateway that comes and goes all the time needs no more to be found.
const MAX_HANDSHAKES: usize = 1000;

/// How a client connected and what it subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Which MQTT it speaks.
    pub version: MqttVersion,
    /// Its client ID.
    pub client_id: String,
    /// It asks the broker for the session that it had, and to keep it while it is away.
    pub keeps_session: bool,
    /// Its last will.
    pub will: Option<Will>,
    /// What it subscribed to since.
    pub subscriptions: Vec<Subscribed>,
}

/// A last will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The body.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// To be retained.
    pub retained: bool,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// The topic filter.
    pub filter: String,
    /// 0, 1 or 2.
    pub qos: u8,
}

/// The port, until it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    handshakes: watch::Receiver<Vec<Handshake>>,
    cut: watch::Sender<bool>,
    closing: CancellationToken,
}

impl Tap {
    /// Listens, in tasks of `tracker`, and passes each connection on to the broker.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn open(listen: SocketAddr, broker: &MqttUrl, tracker: &TaskTracker) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (handshakes_now, handshakes) = watch::channel(Vec::new());
        let (cut, is_cut) = watch::channel(false);
        let closing = CancellationToken::new();
        let line =
            Line { broker: broker.host_and_port(), handshakes: handshakes_now, cut: is_cut, closing: closing.clone() };
        let tasks = tracker.clone();
        tracker.spawn(async move {
            while let Some(gateway) = line.accept(&listener).await {
                tasks.spawn(line.clone().pass_on(gateway));
            }
        });
        Ok(Self { address, handshakes, cut, closing })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All connections that were made through it, the latest last.
    pub fn handshakes(&self) -> watch::Receiver<Vec<Handshake>> {
        self.handshakes.clone()
    }

    /// Cuts all connections without a word, and those that come, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

#[derive(Clone)]
struct Line {
    broker: (String, u16),
    handshakes: watch::Sender<Vec<Handshake>>,
    cut: watch::Receiver<bool>,
    closing: CancellationToken,
}

impl Line {
    async fn accept(&self, listener: &TcpListener) -> Option<TcpStream> {
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return None,
                accepted = listener.accept() => match accepted {
                    Ok((gateway, _)) if !*self.cut.borrow() => return Some(gateway),
                    // Cut, or gone before it was accepted.
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    async fn pass_on(mut self, gateway: TcpStream) {
        let Ok(broker) = TcpStream::connect((self.broker.0.as_str(), self.broker.1)).await else { return };
        // Small packets, and latency is measured.
        let _ = (gateway.set_nodelay(true), broker.set_nodelay(true));
        let (mut from_gateway, mut to_gateway) = gateway.into_split();
        let (mut from_broker, mut to_broker) = broker.into_split();
        let mut reader = Reader::new(self.handshakes.clone());
        let upwards = async {
            let mut bytes = BytesMut::with_capacity(16 * 1024);
            while from_gateway.read_buf(&mut bytes).await? > 0 {
                reader.read(&bytes);
                to_broker.write_all_buf(&mut bytes).await?;
            }
            to_broker.shutdown().await
        };
        let downwards = tokio::io::copy(&mut from_broker, &mut to_gateway);
        tokio::select! {
            _ = upwards => {}
            _ = downwards => {}
            _ = self.cut.wait_for(|cut| *cut) => {}
            () = self.closing.cancelled() => {}
        }
    }
}

/// Reads along what a gateway sends.
struct Reader {
    handshakes: watch::Sender<Vec<Handshake>>,
    buffer: BytesMut,
    /// Of this connection among all, once it has said CONNECT.
    connection: Option<(usize, MqttVersion)>,
    /// It has said what can't be read: from there on nobody knows where a packet begins.
    lost: bool,
}

enum Said {
    Connect(Handshake),
    Subscribe(Vec<Subscribed>),
    Other,
}

impl Reader {
    fn new(handshakes: watch::Sender<Vec<Handshake>>) -> Self {
        Self { handshakes, buffer: BytesMut::new(), connection: None, lost: false }
    }

    fn read(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        while let Some(said) = self.next() {
            match (said, self.connection) {
                (Said::Connect(handshake), None) => self.note(handshake),
                (Said::Subscribe(subscriptions), Some((at, _))) => self.handshakes.send_modify(|handshakes| {
                    handshakes[at].subscriptions.extend(subscriptions);
                }),
                _ => {}
            }
        }
        self.lost |= self.buffer.len() > MAX_PACKET_BYTES;
    }

    fn note(&mut self, handshake: Handshake) {
        let version = handshake.version;
        let at = self.handshakes.borrow().len();
        self.lost = at >= MAX_HANDSHAKES;
        if !self.lost {
            self.connection = Some((at, version));
            self.handshakes.send_modify(|handshakes| handshakes.push(handshake));
        }
    }

    fn next(&mut self) -> Option<Said> {
        if self.lost || self.buffer.is_empty() {
            return None;
        }
        let said = match self.connection {
            Some((_, MqttVersion::V5)) => said_v5(&mut self.buffer),
            Some((_, MqttVersion::V311)) => said_v311(&mut self.buffer),
            // A CONNECT of the one can't be read as the other.
            None => match said_v5(&mut self.buffer.clone()) {
                Ok(_) => said_v5(&mut self.buffer),
                Err(incomplete @ Unreadable::InsufficientBytes(_)) => Err(incomplete),
                Err(_) => said_v311(&mut self.buffer),
            },
        };
        match said {
            Ok(said) => Some(said),
            Err(Unreadable::InsufficientBytes(_)) => None,
            Err(_) => {
                self.lost = true;
                None
            }
        }
    }
}

fn said_v5(buffer: &mut BytesMut) -> Result<Said, Unreadable> {
    Ok(match v5::Packet::read(buffer, None)? {
        v5::Packet::Connect(connect, will, _) => {
            let kept = connect.properties.and_then(|properties| properties.session_expiry_interval).unwrap_or(0);
            let will = will.map(|will| Will {
                topic: text(&will.topic),
                payload: will.message.into(),
                qos: will.qos as u8,
                retained: will.retain,
            });
            let keeps_session = !connect.clean_start && kept > 0;
            let (version, client_id) = (MqttVersion::V5, connect.client_id);
            Said::Connect(Handshake { version, client_id, keeps_session, will, subscriptions: Vec::new() })
        }
        v5::Packet::Subscribe(subscribe) => {
            let subscribed = |filter: v5::SubscribeFilter| Subscribed { filter: filter.path, qos: filter.qos as u8 };
            Said::Subscribe(subscribe.filters.into_iter().map(subscribed).collect())
        }
        _ => Said::Other,
    })
}

fn said_v311(buffer: &mut BytesMut) -> Result<Said, Unreadable> {
    let packet = v4::Packet::read(buffer, MAX_PACKET_BYTES).map_err(|error| match error {
        rumqttc_v4::mqttbytes::Error::InsufficientBytes(bytes) => Unreadable::InsufficientBytes(bytes),
        _ => Unreadable::MalformedPacket,
    })?;
    Ok(match packet {
        v4::Packet::Connect(connect) => {
            let will = connect.last_will.map(|will| Will {
                topic: will.topic,
                payload: will.message.into(),
                qos: will.qos as u8,
                retained: will.retain,
            });
            let (version, client_id) = (MqttVersion::V311, connect.client_id);
            let keeps_session = !connect.clean_session;
            Said::Connect(Handshake { version, client_id, keeps_session, will, subscriptions: Vec::new() })
        }
        v4::Packet::Subscribe(subscribe) => {
            let subscribed = |filter: v4::SubscribeFilter| Subscribed { filter: filter.path, qos: filter.qos as u8 };
            Said::Subscribe(subscribe.filters.into_iter().map(subscribed).collect())
        }
        _ => Said::Other,
    })
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

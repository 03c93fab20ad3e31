//! A client that says exactly what it is told to, and acknowledges nothing: MQTT 3.1.1 and 5 by hand.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Protocol levels (section 3.1.2.2).
pub(crate) const V311: u8 = 4;
pub(crate) const V5: u8 = 5;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Wire<S = TcpStream> {
    stream: S,
    level: u8,
}

/// How to connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello<'a> {
    pub(crate) level: u8,
    pub(crate) client_id: &'a str,
    pub(crate) clean: bool,
    pub(crate) will: Option<(&'a str, &'a str)>,
    pub(crate) login: Option<(&'a str, &'a str)>,
}

impl<'a> Hello<'a> {
    pub(crate) const fn new(level: u8, client_id: &'a str) -> Self {
        Self { level, client_id, clean: true, will: None, login: None }
    }
}

/// A packet that came: its first byte, and what follows its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) head: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    pub(crate) const fn kind(&self) -> u8 {
        self.head >> 4
    }

    pub(crate) const fn is_duplicate(&self) -> bool {
        self.head & 8 != 0
    }

    /// Whether its body ends like this, as a PUBLISH with this payload does.
    pub(crate) fn ends_with(&self, payload: &str) -> bool {
        self.body.ends_with(payload.as_bytes())
    }
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr, hello: Hello<'_>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::connect(stream, hello).await.unwrap()
    }

    /// Connects, or says the return code by which it was refused.
    pub(crate) async fn try_open(address: SocketAddr, hello: Hello<'_>) -> Result<Self, Option<u8>> {
        Self::connect(TcpStream::connect(address).await.unwrap(), hello).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) async fn connect(stream: S, hello: Hello<'_>) -> Result<Self, Option<u8>> {
        let mut body = text("MQTT");
        let will = if hello.will.is_some() { 0b0000_1100 } else { 0 };
        let login = if hello.login.is_some() { 0b1100_0000 } else { 0 };
        body.extend([hello.level, u8::from(hello.clean) << 1 | will | login, 0, 60]);
        if hello.level == V5 {
            body.extend([5, 0x11, 0, 0, 0, 200]); // session expiry of 200 s
        }
        body.extend(text(hello.client_id));
        if let Some((topic, payload)) = hello.will {
            if hello.level == V5 {
                body.push(0);
            }
            body.extend(text(topic).into_iter().chain(text(payload)));
        }
        if let Some((user, password)) = hello.login {
            body.extend(text(user).into_iter().chain(text(password)));
        }
        let mut wire = Self { stream, level: hello.level };
        wire.send(0x10, &body).await;
        let answer = wire.read().await.ok_or(None)?;
        assert_eq!(answer.kind(), 2, "{answer:?}");
        if answer.body[1] == 0 { Ok(wire) } else { Err(Some(answer.body[1])) }
    }

    /// Subscribes at QoS 1: the return code, 1 where it was granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 1];
        self.no_properties(&mut body);
        body.extend(text(filter));
        body.push(1);
        self.send(0x82, &body).await;
        *self.expect(9).await.body.last().unwrap()
    }

    /// Publishes at QoS 1; the answer is not waited for.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut body = text(topic);
        body.extend([0, 7]);
        self.no_properties(&mut body);
        body.extend(payload);
        self.send(0x32, &body).await;
    }

    /// Publishes at QoS 0.
    pub(crate) async fn tell(&mut self, topic: &str, payload: &[u8]) {
        let mut body = text(topic);
        self.no_properties(&mut body);
        body.extend(payload);
        self.send(0x30, &body).await;
    }

    /// Waits for a PUBACK: its reason, 0 where it has none.
    pub(crate) async fn puback(&mut self) -> u8 {
        self.expect(4).await.body.get(2).copied().unwrap_or_default()
    }

    /// Leaves in order.
    pub(crate) async fn disconnect(mut self) {
        self.send(0xe0, &[]).await;
        while self.read().await.is_some() {}
    }

    /// Waits for a packet of this kind, past all others.
    pub(crate) async fn expect(&mut self, kind: u8) -> Packet {
        loop {
            let packet = self.read().await.expect("the connection is gone");
            if packet.kind() == kind {
                return packet;
            }
        }
    }

    /// Whether nothing comes for so long.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        timeout(time, self.stream.read_u8()).await.is_err()
    }

    /// The next packet, or that the connection has ended.
    pub(crate) async fn read(&mut self) -> Option<Packet> {
        timeout(PATIENCE, self.read_packet()).await.expect("nothing came")
    }

    async fn read_packet(&mut self) -> Option<Packet> {
        let head = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Packet { head, body })
    }

    async fn send(&mut self, head: u8, body: &[u8]) {
        let mut packet = vec![head];
        let mut length = body.len();
        loop {
            let more = u8::from(length > 127) << 7;
            packet.push(more | (length & 127) as u8);
            length >>= 7;
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        // Fails where the broker has cut the connection: what is read next says so.
        let _ = self.stream.write_all(&packet).await;
    }

    fn no_properties(&self, body: &mut Vec<u8>) {
        if self.level == V5 {
            body.push(0);
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    length.into_iter().chain(text.bytes()).collect()
}

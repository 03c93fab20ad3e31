//! A TCP proxy between a client and a server that can delay, swallow or cut what passes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS_UNDER_WAY: usize = 1_024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a [`Proxy`] does to connections, those that exist included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything at once.
    Pass,
    /// Forwards everything this much later, in each direction.
    Delay(Duration),
    /// Accepts connections and forwards nothing. What was sent arrives once the mode changes, as TCP
    /// does when a network comes back.
    BlackHole,
    /// As a black hole, but for what clients send: that arrives, and the server's answers don't.
    HalfOpen,
    /// The other way round: what the server sends arrives, and what clients send doesn't.
    Mute,
    /// Resets every connection, and each new one as soon as it is accepted.
    Cut,
}

/// A TCP proxy on a port of 127.0.0.1, in [`Mode::Pass`] at first. Dropping it resets its connections.
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    _acceptor: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy in front of `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("binding the proxy's port")?;
        let address = listener.local_addr().context("reading the proxy's port")?;
        let (mode, observer) = watch::channel(Mode::Pass);
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, server, observer));
        Ok(Self { address, mode, _acceptor: acceptor })
    }

    /// Starts a proxy in front of the server on `port` of 127.0.0.1.
    pub async fn to_port(port: u16) -> Result<Self> {
        Self::start((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// The address to connect to instead of the server's.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port to put into a URL instead of the server's.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Switches what happens to connections, from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new(); // aborts them all when we are aborted
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(serve(client, server, mode.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await, // out of file descriptors, most likely
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, server: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut client = Connection::new(client);
    let mut cut = mode.clone();
    tokio::select! {
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
        _ = forward(&mut client, server, mode) => {}
    }
}

/// Forwards both directions until both have ended. After an error both connections are to be reset.
async fn forward(client: &mut Connection, server: SocketAddr, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    passable(&mut mode, Direction::ToServer).await?;
    let mut server = Connection::new(TcpStream::connect(server).await?);
    // Borrowed halves: an owned one, dropped, would end its direction in order before the reset.
    let (from_client, to_client) = client.stream.split();
    let (from_server, to_server) = server.stream.split();
    tokio::try_join!(
        pump(from_client, to_server, mode.clone(), Direction::ToServer),
        pump(from_server, to_client, mode, Direction::ToClient),
    )?;
    client.ended_in_order = true;
    server.ended_in_order = true;
    Ok(())
}

/// Forwards one direction until its end, and then ends it on the other side as well.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mode: watch::Receiver<Mode>,
    direction: Direction,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let mut read_mode = mode.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            passable(&mut read_mode, direction).await?;
            let length = from.read(&mut buffer).await?;
            let due = Instant::now() + delay(*read_mode.borrow());
            if length == 0 || sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut write_mode = mode;
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            passable(&mut write_mode, direction).await?;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// A connection that is reset when dropped, unless it has ended in order.
struct Connection {
    stream: TcpStream,
    ended_in_order: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        // Without it a proxy would add 40 ms to small messages. An error only costs that.
        let _ = stream.set_nodelay(true);
        Self { stream, ended_in_order: false }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.ended_in_order {
            let _ = self.stream.set_zero_linger(); // fails only if there is no connection any more
        }
    }
}

/// Waits while nothing passes in this direction. Fails if the proxy is gone.
async fn passable(mode: &mut watch::Receiver<Mode>, direction: Direction) -> io::Result<()> {
    let stuck = |mode: &Mode| match mode {
        // What was held back is lost with the connection.
        Mode::BlackHole | Mode::Cut => true,
        Mode::HalfOpen => direction == Direction::ToClient,
        Mode::Mute => direction == Direction::ToServer,
        Mode::Pass | Mode::Delay(_) => false,
    };
    let passed = mode.wait_for(|mode| !stuck(mode)).await;
    passed.map(drop).map_err(io::Error::other)
}

fn delay(mode: Mode) -> Duration {
    match mode {
        Mode::Delay(delay) => delay,
        Mode::Pass | Mode::BlackHole | Mode::HalfOpen | Mode::Mute | Mode::Cut => Duration::ZERO,
    }
}

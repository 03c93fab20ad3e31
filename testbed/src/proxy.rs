//! A TCP proxy between a client and a server that can delay, swallow or cut what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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

async fn serve(client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    // Zero linger: whatever ends this connection early is seen as a reset at both ends.
    let _ = client.set_zero_linger();
    let _ = client.set_nodelay(true);
    let mut cut = mode.clone();
    let forward = async {
        if !passable(&mut mode).await {
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = server.set_zero_linger();
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(pump(from_client, to_server, mode.clone()), pump(from_server, to_client, mode.clone()),);
    };
    tokio::select! {
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
        () = forward => {}
    }
}

/// Forwards one direction until its end, and then ends it on the other side as well.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: watch::Receiver<Mode>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let mut read_mode = mode.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while passable(&mut read_mode).await {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { break };
            let due = Instant::now() + delay(*read_mode.borrow());
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let mut write_mode = mode;
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if !passable(&mut write_mode).await || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// Waits while the mode is a black hole. `false`: the proxy is gone.
async fn passable(mode: &mut watch::Receiver<Mode>) -> bool {
    mode.wait_for(|mode| *mode != Mode::BlackHole).await.is_ok()
}

fn delay(mode: Mode) -> Duration {
    match mode {
        Mode::Delay(delay) => delay,
        Mode::Pass | Mode::BlackHole | Mode::Cut => Duration::ZERO,
    }
}

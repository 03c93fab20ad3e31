//! A TCP balancer before several replicas.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Deals connections on a port of 127.0.0.1 to several servers in turn, as a Service of Kubernetes does at random.
/// Dropping it ends them.
pub struct Balancer {
    address: SocketAddr,
    _acceptor: JoinSet<()>,
}

impl Balancer {
    /// Starts a balancer before these servers, inside a tokio runtime.
    pub fn start(servers: Vec<SocketAddr>) -> Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the balancer's port")?;
        listener.set_nonblocking(true).context("binding the balancer's port")?;
        let address = listener.local_addr().context("reading the balancer's port")?;
        let listener = TcpListener::from_std(listener).context("binding the balancer's port")?;
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, servers));
        Ok(Self { address, _acceptor: acceptor })
    }

    /// The address to connect to instead of one server's.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, servers: Vec<SocketAddr>) {
    let mut connections = JoinSet::new(); // aborts them all when we are aborted
    let mut turns = servers.iter().cycle();
    loop {
        tokio::select! {
            accepted = listener.accept() => match (accepted, turns.next()) {
                (Ok((client, _)), Some(server)) => drop(connections.spawn(join(client, *server))),
                (_, None) => return,
                (Err(_), _) => tokio::time::sleep(ACCEPT_PAUSE).await, // out of file descriptors, most likely
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Passes on both directions until both have ended. A server that is away ends the connection.
async fn join(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Without it the balancer would add 40 ms to small messages. An error only costs that.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

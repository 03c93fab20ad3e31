//! The proxy's modes, in front of an echo server.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use testbed::{Mode, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(150);

async fn proxy_of_echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Proxy::start(address).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn echo(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(b"hello").await?;
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

#[tokio::test]
async fn passes_both_ways_and_the_end_too() {
    let proxy = proxy_of_echo().await;
    let mut socket = connect(&proxy).await;
    let sent = vec![7; 1_000_000];
    let (mut read, mut write) = socket.split();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (read, ()) = timeout(SOON, async { tokio::join!(read.read_to_end(&mut received), send) }).await.unwrap();
    read.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn delays_each_way() {
    let proxy = proxy_of_echo().await;
    let mut socket = connect(&proxy).await;
    proxy.set_mode(Mode::Delay(Duration::from_millis(100)));
    let began = Instant::now();
    timeout(SOON, echo(&mut socket)).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_gives_it_back_later() {
    let proxy = proxy_of_echo().await;
    let mut old = connect(&proxy).await;
    echo(&mut old).await.unwrap();
    proxy.set_mode(Mode::BlackHole);
    let mut new = connect(&proxy).await;
    for socket in [&mut old, &mut new] {
        socket.write_all(b"hello").await.unwrap();
        assert!(timeout(A_WHILE, socket.read_u8()).await.is_err(), "nothing comes back");
    }
    proxy.set_mode(Mode::Pass);
    for socket in [&mut old, &mut new] {
        let mut answer = [0; 5];
        timeout(SOON, socket.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[tokio::test]
async fn half_open_takes_what_clients_send_and_keeps_the_answers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut client = connect(&proxy).await;
    let (mut server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    proxy.set_mode(Mode::HalfOpen);
    client.write_all(b"x").await.unwrap();
    assert_eq!(timeout(SOON, server.read_u8()).await.unwrap().unwrap(), b'x');
    server.write_all(b"y").await.unwrap();
    assert!(timeout(A_WHILE, client.read_u8()).await.is_err(), "an answer came through");
    proxy.set_mode(Mode::Pass);
    assert_eq!(timeout(SOON, client.read_u8()).await.unwrap().unwrap(), b'y');
}

#[tokio::test]
async fn cut_resets_old_and_new_connections_until_it_passes_again() {
    let proxy = proxy_of_echo().await;
    let mut old = connect(&proxy).await;
    echo(&mut old).await.unwrap();
    proxy.set_mode(Mode::Cut);
    let lost = timeout(SOON, old.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
    let mut new = connect(&proxy).await;
    assert!(timeout(SOON, echo(&mut new)).await.unwrap().is_err());
    proxy.set_mode(Mode::Pass);
    let mut fresh = connect(&proxy).await;
    timeout(SOON, echo(&mut fresh)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_held_back_is_lost_when_it_is_cut() {
    for mode in [Mode::BlackHole, Mode::HalfOpen, Mode::Mute] {
        let proxy = proxy_of_echo().await;
        let mut socket = connect(&proxy).await;
        echo(&mut socket).await.unwrap();
        proxy.set_mode(mode);
        socket.write_all(b"hello").await.unwrap();
        assert!(timeout(A_WHILE, socket.read_u8()).await.is_err(), "{mode:?}: an answer came through");
        proxy.set_mode(Mode::Cut);
        assert!(timeout(SOON, socket.read_u8()).await.unwrap().is_err(), "{mode:?}");
    }
}

#[tokio::test]
async fn a_dropped_proxy_resets_its_connections() {
    let proxy = proxy_of_echo().await;
    let mut socket = connect(&proxy).await;
    echo(&mut socket).await.unwrap();
    drop(proxy);
    assert!(timeout(SOON, socket.read_u8()).await.unwrap().is_err());
}

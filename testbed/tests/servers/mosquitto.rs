//! Mosquitto keeps sessions over a stop.

use std::net::Ipv4Addr;

use testbed::{Mosquitto, MosquittoOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::leftovers::Footprint;

/// Connects (MQTT 3.1.1, client `t`, persistent session); returns whether the broker knew the session.
async fn session_present(port: u16) -> bool {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01t").await.unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[3]), (0x20, 0), "CONNACK, accepted");
    // Subscribe at QoS 1: a session without a subscription is not worth saving.
    socket.write_all(b"\x82\x06\x00\x01\x00\x01a\x01").await.unwrap();
    let mut subscribed = [0; 5];
    socket.read_exact(&mut subscribed).await.unwrap();
    socket.write_all(b"\xe0\x00").await.unwrap();
    answer[2] & 1 == 1
}

#[tokio::test]
async fn a_session_survives_a_stop() {
    let mut server = Mosquitto::start(MosquittoOptions::default()).await.unwrap();
    assert!(!session_present(server.port()).await);
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    assert!(session_present(server.port()).await);
}

#[tokio::test]
async fn it_starts_again_after_a_kill_and_leaves_nothing() {
    let mut server = Mosquitto::start(MosquittoOptions::default()).await.unwrap();
    server.kill().unwrap();
    server.start_again().await.unwrap();
    assert!(!session_present(server.port()).await);
    let footprint = Footprint::of(&server);
    drop(server);
    footprint.assert_gone().await;
}

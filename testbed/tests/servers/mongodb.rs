//! MongoDB keeps its data over a stop and a kill.

use std::net::Ipv4Addr;

use testbed::{MongoDb, MongoDbOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::leftovers::Footprint;

// {insert: "c", documents: [{}], writeConcern: {j: true}, $db: "d"} and
// {count: "c", query: {_id: {$exists: true}}, $db: "d"} as BSON: two commands by hand are cheaper than
// building the driver for this crate. A count without a query may be wrong after a kill (so says its manual).
fn insert() -> Vec<u8> {
    let mut body = b"\x02insert\0\x02\0\0\0c\0\x04documents\0".to_vec();
    body.extend(document(&[b"\x030\0".as_slice(), &document(&[])].concat()));
    body.extend(b"\x03writeConcern\0");
    body.extend(document(b"\x08j\0\x01"));
    body.extend(b"\x02$db\0\x02\0\0\0d\0");
    document(&body)
}

fn count() -> Vec<u8> {
    let exists = document(b"\x08$exists\0\x01");
    let query = document(&[b"\x03_id\0".as_slice(), &exists].concat());
    let mut body = b"\x02count\0\x02\0\0\0c\0\x03query\0".to_vec();
    body.extend(query);
    body.extend(b"\x02$db\0\x02\0\0\0d\0");
    document(&body)
}

fn document(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 5).unwrap();
    [&length.to_le_bytes(), body, b"\0"].concat()
}

/// Sends a command as OP_MSG, and returns the number in the answer's field `n`.
async fn command(port: u16, document: Vec<u8>) -> i32 {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let length = i32::try_from(16 + 4 + 1 + document.len()).unwrap();
    let header = [length, 1, 0, 2013, 0].map(i32::to_le_bytes).concat();
    socket.write_all(&[&header[..], b"\0", &document].concat()).await.unwrap();
    let length = socket.read_i32_le().await.unwrap();
    let mut answer = vec![0; usize::try_from(length).unwrap() - 4];
    socket.read_exact(&mut answer).await.unwrap();
    let field = answer.windows(3).position(|window| window == b"\x10n\0").expect("a field n");
    i32::from_le_bytes(answer[field + 3..field + 7].try_into().unwrap())
}

#[tokio::test]
async fn data_survives_a_stop_and_a_kill_and_nothing_is_left() {
    let mut server = MongoDb::start(MongoDbOptions::default()).await.unwrap();
    assert_eq!(command(server.port(), insert()).await, 1);
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    assert_eq!(command(server.port(), insert()).await, 1);
    server.kill().unwrap();
    server.start_again().await.unwrap();
    assert_eq!(command(server.port(), count()).await, 2);
    let footprint = Footprint::of(&server);
    drop(server);
    footprint.assert_gone().await;
}

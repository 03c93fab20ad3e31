//! From gateways to the routers.

use super::{
    fixture::{ANSWERS, BackEnd, Fixture, GATEWAY, QUIET, REPORTS, command, next, next_on, online},
    wire::{Hello, V5, V311, Wire},
};
use backbone::mqtt::gateway::MqttVersion;
use protocol::names::mqtt::{Channel, topic};
use std::{collections::BTreeSet, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

pub(crate) async fn an_answer_goes_to_one_member_of_the_group(back_end: BackEnd) {
    const ANSWERS_SENT: usize = 40;
    let fixture = Fixture::on(back_end).await;
    let (one, mut ones) = fixture.client(Some(ANSWERS)).await;
    let (two, mut twos) = fixture.client(Some(ANSWERS)).await;
    let (reports, _reports) = fixture.client(Some(REPORTS)).await;
    let (gateway, _inbox) = fixture.gateway(MqttVersion::V311).await;
    let sent: BTreeSet<_> = (0..ANSWERS_SENT).map(|number| format!("answer {number}")).collect();
    for answer in &sent {
        gateway.answer(answer.as_bytes().to_vec(), None).unwrap();
    }
    let (mut got, mut counts) = (Vec::new(), [0, 0]);
    while got.len() < ANSWERS_SENT {
        let (member, answer) = tokio::select! {
            answer = next(&mut ones) => (0, answer),
            answer = next(&mut twos) => (1, answer),
        };
        counts[member] += 1;
        assert_eq!(answer.topic, topic(GATEWAY, Channel::Response));
        got.push(String::from_utf8(answer.payload.clone()).unwrap());
        answer.acknowledge().await;
    }
    assert!(
        timeout(QUIET, async {
            tokio::select! { _ = ones.recv() => {}, _ = twos.recv() => {} }
        })
        .await
        .is_err()
    );
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), sent);
    assert!(counts.iter().all(|count| *count >= ANSWERS_SENT / 4), "{counts:?}");
    one.close();
    two.close();
    reports.close();
    gateway.close();
    fixture.end().await;
}

pub(crate) async fn an_answer_has_its_correlation_data(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, mut inbox) = fixture.client(Some(ANSWERS)).await;
    let (gateway, _inbox) = fixture.gateway(MqttVersion::V5).await;
    gateway.answer(b"one".to_vec(), Some(b"id".to_vec())).unwrap();
    let answer = next(&mut inbox).await;
    assert_eq!((&answer.payload[..], answer.correlation.as_deref()), (&b"one"[..], Some(&b"id"[..])));
    assert_eq!(&answer.broker, router.broker());
    answer.acknowledge().await;
    router.close();
    gateway.close();
    fixture.end().await;
}

pub(crate) async fn a_member_that_left_gets_nothing_more(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (leaving, mut left) = fixture.client(Some(ANSWERS)).await;
    let (staying, mut inbox) = fixture.client(Some(ANSWERS)).await;
    let (gateway, _inbox) = fixture.gateway(MqttVersion::V5).await;
    leaving.unsubscribe().await;
    for number in 0..4_u8 {
        gateway.answer(vec![number], None).unwrap();
    }
    for number in 0..4_u8 {
        let answer = next(&mut inbox).await;
        assert_eq!(answer.payload, [number]);
        answer.acknowledge().await;
    }
    assert!(left.try_recv().is_err());
    leaving.close();
    staying.close();
    gateway.close();
    fixture.end().await;
}

pub(crate) async fn a_connection_that_is_cut_leaves_its_will(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, mut inbox) = fixture.client(Some(REPORTS)).await;
    let status = topic(GATEWAY, Channel::Status);
    for level in [V311, V5] {
        let will = Some((status.as_str(), r#"{"online":false}"#));
        let gateway = Wire::open(fixture.address, Hello { will, ..Hello::new(level, "gw-with-will") }).await;
        assert!(timeout(QUIET, inbox.recv()).await.is_err(), "while it lives");
        drop(gateway);
        assert_eq!(next_on(&mut inbox, Channel::Status).await, r#"{"online":false}"#);
    }
    let (gateway, _inbox) = fixture.gateway(MqttVersion::V5).await;
    assert_eq!(next_on(&mut inbox, Channel::Status).await, r#"{"online":true}"#);
    gateway.report(b"report".to_vec()).await;
    assert_eq!(next_on(&mut inbox, Channel::Status).await, "report");
    gateway.go_offline(true);
    assert_eq!(next_on(&mut inbox, Channel::Status).await, r#"{"online":false}"#);
    router.close();
    gateway.close();
    fixture.end().await;
}

pub(crate) async fn a_gateway_that_leaves_in_order_leaves_no_will(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, mut inbox) = fixture.client(Some(REPORTS)).await;
    let (gateway, _inbox) = fixture.gateway(MqttVersion::V311).await;
    assert_eq!(next_on(&mut inbox, Channel::Status).await, r#"{"online":true}"#);
    gateway.go_offline(false);
    online(&gateway, false).await;
    assert_eq!(next_on(&mut inbox, Channel::Status).await, r#"{"online":false}"#, "it says so itself");
    assert!(timeout(QUIET, inbox.recv()).await.is_err(), "once");
    router.close();
    gateway.close();
    fixture.end().await;
}

pub(crate) async fn garbage_on_the_port_harms_nobody(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, _) = fixture.client(None).await;
    let (gateway, mut inbox) = fixture.gateway(MqttVersion::V5).await;
    let mut silent = TcpStream::connect(fixture.address).await.unwrap();
    silent.write_all(&[0x10]).await.unwrap();
    for seed in 0..40_u8 {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        let noise: Vec<u8> = (0..600_u32).map(|at| ((at * 31 + u32::from(seed) * 97) >> (at % 5)) as u8).collect();
        // Some of it begins like a packet.
        let head = [0x10, 0x30, 0x32, 0x82, 0xf0, seed];
        let _ = stream.write_all(&head[usize::from(seed) % 6..]).await;
        let _ = stream.write_all(&noise).await;
        let mut wire = Wire::open(fixture.address, Hello::new(V5, "noisy")).await;
        wire.publish("", &noise).await;
    }
    router.publish(command("one", Duration::from_secs(60))).await.unwrap();
    assert_eq!(next(&mut inbox).await.payload, b"one");
    router.close();
    gateway.close();
    fixture.end().await;
}

//! From a router to a gateway.

use super::{
    fixture::{BackEnd, Fixture, GATEWAY, QUIET, command, next, online},
    wire::{Hello, V5, V311, Wire},
};
use backbone::mqtt::{PublishError, gateway::MqttVersion};
use protocol::names::mqtt::{Channel, topic};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn a_command_reaches_its_gateway_with_all_that_belongs_to_it(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, _) = fixture.client(None).await;
    let (gateway, mut inbox) = fixture.gateway(MqttVersion::V5).await;
    router.publish(command("one", MINUTE)).await.unwrap();
    let got = next(&mut inbox).await;
    assert_eq!((got.payload, got.correlation), (b"one".to_vec(), Some(b"id-of-one".to_vec())));
    assert_eq!(got.response_topic, Some(topic(GATEWAY, Channel::Response)));
    assert!(got.expiry.is_some_and(|left| left <= MINUTE && left > MINUTE / 2), "{:?}", got.expiry);
    assert!(!got.retained);
    gateway.close();
    let (gateway, mut inbox) = fixture.gateway(MqttVersion::V311).await;
    router.publish(command("two", MINUTE)).await.unwrap();
    let got = next(&mut inbox).await;
    assert_eq!((got.payload, got.retained), (b"two".to_vec(), false));
    gateway.close();
    router.close();
    fixture.end().await;
}

pub(crate) async fn a_command_to_nobody_is_noticed(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, _) = fixture.client(None).await;
    assert_eq!(router.publish(command("one", MINUTE)).await, Err(PublishError::NobodyListens));
    let mut gateway = Wire::open(fixture.address, Hello::new(V311, "gw")).await;
    assert_eq!(gateway.subscribe(&topic(GATEWAY, Channel::Action)).await, 1);
    assert_eq!(router.publish(command("two", MINUTE)).await, Ok(()));
    assert!(gateway.expect(3).await.ends_with("two"));
    gateway.disconnect().await;
    // It had no session. The broker may take a moment to see that it has left.
    while router.publish(command("three", MINUTE)).await != Err(PublishError::NobodyListens) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    router.close();
    fixture.end().await;
}

pub(crate) async fn a_command_waits_for_a_gateway_that_is_away(back_end: BackEnd) {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let fixture = Fixture::on(back_end).await;
        let (router, _) = fixture.client(None).await;
        let (gateway, mut inbox) = fixture.gateway(version).await;
        gateway.go_offline(true);
        online(&gateway, false).await;
        router.publish(command("one", MINUTE)).await.unwrap();
        gateway.go_online();
        assert_eq!(next(&mut inbox).await.payload, b"one");
        gateway.close();
        router.close();
        fixture.end().await;
    }
}

pub(crate) async fn a_command_that_waited_too_long_is_dropped(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let (router, _) = fixture.client(None).await;
    let (gateway, mut inbox) = fixture.gateway(MqttVersion::V311).await;
    gateway.go_offline(false);
    online(&gateway, false).await;
    router.publish(command("short", Duration::from_secs(1))).await.unwrap();
    router.publish(command("long", MINUTE)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    gateway.go_online();
    assert_eq!(next(&mut inbox).await.payload, b"long");
    gateway.close();
    router.close();
    fixture.end().await;
}

pub(crate) async fn a_command_that_was_not_acknowledged_comes_again(back_end: BackEnd) {
    for level in [V311, V5] {
        let fixture = Fixture::on(back_end).await;
        let (router, _) = fixture.client(None).await;
        let hello = Hello { clean: false, ..Hello::new(level, "gw-persistent") };
        let mut gateway = Wire::open(fixture.address, hello).await;
        gateway.subscribe(&topic(GATEWAY, Channel::Action)).await;
        router.publish(command("one", MINUTE)).await.unwrap();
        assert!(!gateway.expect(3).await.is_duplicate());
        drop(gateway);
        let mut gateway = Wire::open(fixture.address, hello).await;
        let again = gateway.expect(3).await;
        assert!(again.ends_with("one") && again.is_duplicate(), "{again:?}");
        assert!(gateway.is_quiet_for(QUIET).await, "once");
        drop(gateway);
        router.close();
        fixture.end().await;
    }
}

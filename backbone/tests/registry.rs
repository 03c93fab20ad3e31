//! Routes and RPCs in flight on a real Redis: every rule of `start.lua`, `finish.lua` and `abort.lua`.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]

use backbone::registry::{Finish, Finished, Registry, RouteEntry, RpcPolicy, Start, Started};
use backbone::service::now;
use protocol::{CorrelationId, GatewayMac, LabelMac, Rssi, Timestamp, Version};
use std::time::Duration;
use testbed::{Redis, RedisOptions};

const LABEL: LabelMac = LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, 1]);
const NEAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
const FAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 2]);
const MINUTE: Duration = Duration::from_secs(60);
/// So short that a test can wait for it to pass.
const SHORT: Duration = Duration::from_millis(150);

struct Fixture {
    registry: Registry,
    policy: RpcPolicy,
    redis: Redis,
}

impl Fixture {
    /// A label that `NEAR` hears at -50 dBm and `FAR` at -70.
    async fn new() -> Self {
        let redis = Redis::start(RedisOptions::default()).await.unwrap();
        let registry = Registry::connect(&redis.url().parse().unwrap()).unwrap();
        let fixture = Self { registry, policy: RpcPolicy::default(), redis };
        fixture.hear(NEAR, -50, now()).await;
        fixture.hear(FAR, -70, now()).await;
        fixture
    }

    async fn hear(&self, gateway: GatewayMac, dbm: i64, at: Timestamp) {
        let entry = RouteEntry { label: LABEL, gateway, rssi: Rssi::try_from(dbm).unwrap(), at };
        self.registry.write_routes(&[entry], MINUTE).await.unwrap();
    }

    async fn start(&self, id: &str, version: u64, time_left: Duration) -> Started {
        self.start_without(id, version, time_left, &[]).await
    }

    async fn start_without(&self, id: &str, version: u64, time_left: Duration, offline: &[GatewayMac]) -> Started {
        let version = Version::try_from(version).ok();
        let (id, reply_to) = (correlation(id), format!("to-{id}"));
        let start = Start { id, label: LABEL, version, reply_to, time_left, again: true };
        self.registry.start(&[start], &self.policy, offline).await.unwrap()[0]
    }

    /// An answer that echoes `id`, or only names the label.
    async fn answer(&self, gateway: GatewayMac, id: Option<&str>, carried_out: bool) -> Finished {
        let id = id.map(correlation);
        let finish = Finish { gateway, label: LABEL, id, carried_out, refused_for_now: !carried_out };
        self.registry.finish(&[finish]).await.unwrap().remove(0)
    }

    /// Starts as soon as nothing else holds the label.
    async fn start_when_free(&self, id: &str, version: u64) -> Started {
        loop {
            match self.start(id, version, MINUTE).await {
                Started::Busy => tokio::time::sleep(Duration::from_millis(5)).await,
                started => return started,
            }
        }
    }
}

fn correlation(id: &str) -> CorrelationId {
    id.parse().unwrap()
}

fn reply(id: &str) -> Finished {
    Finished::Reply { id: correlation(id), reply_to: format!("to-{id}") }
}

#[tokio::test]
async fn an_answer_takes_the_rpc_once() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.answer(FAR, Some("a"), true).await, Finished::WrongGateway);
    assert_eq!(fixture.answer(NEAR, Some("a"), true).await, reply("a"));
    assert_eq!(fixture.answer(NEAR, Some("a"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Unknown);
}

#[tokio::test]
async fn one_command_is_in_flight_per_label() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Busy);
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR), "a redelivered request goes out again");
    assert_eq!(fixture.answer(NEAR, None, true).await, reply("a"), "the label's MAC is unambiguous");
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Done, "redelivered after its answer");
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Send(NEAR));
}

#[tokio::test]
async fn a_version_older_than_the_newest_started_is_not_sent() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.start("a", 6, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Superseded, "while the newer is in flight");
    fixture.answer(NEAR, Some("a"), true).await;
    assert_eq!(fixture.start("c", 5, MINUTE).await, Started::Superseded);
    assert_eq!(fixture.start("d", 6, MINUTE).await, Started::Send(NEAR), "the same version again is no step back");
}

#[tokio::test]
async fn a_late_answer_is_credited_to_nobody_and_tells_that_the_label_went_back() {
    let fixture = Fixture::new().await;
    // The gateway has echoed before, so there is no quarantine.
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    assert_eq!(fixture.start("b", 5, SHORT).await, Started::Send(NEAR));
    assert_eq!(fixture.start_when_free("c", 6).await, Started::Send(FAR), "the one that did not fail");
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Late { gone_back: true });
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(FAR, Some("c"), true).await, reply("c"));
}

#[tokio::test]
async fn a_late_refusal_or_the_same_version_is_no_step_back() {
    let fixture = Fixture::new().await;
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    fixture.start("b", 5, SHORT).await;
    assert_eq!(fixture.start_when_free("c", 5).await, Started::Send(FAR));
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Late { gone_back: false });
    let fixture = Fixture::new().await;
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    fixture.start("b", 5, SHORT).await;
    fixture.start_when_free("c", 6).await;
    assert_eq!(fixture.answer(NEAR, Some("b"), false).await, Finished::Late { gone_back: false });
}

#[tokio::test]
async fn a_quarantine_keeps_a_late_answer_from_the_next_rpc() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.start("a", 5, SHORT).await, Started::Send(NEAR));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(fixture.start("b", 6, MINUTE).await, Started::Busy, "NEAR has never echoed an ID for this label");
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Late { gone_back: false });
    assert_eq!(fixture.start("b", 6, MINUTE).await, Started::Send(FAR), "the late answer ended the quarantine");
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(FAR, None, true).await, reply("b"));
}

#[tokio::test]
async fn a_quarantine_ends_by_itself() {
    let mut fixture = Fixture::new().await;
    fixture.policy.quarantine = SHORT;
    let began = tokio::time::Instant::now();
    fixture.start("a", 5, SHORT).await;
    assert_eq!(fixture.start_when_free("b", 6).await, Started::Send(FAR));
    assert!(began.elapsed() >= SHORT * 2, "{:?}", began.elapsed());
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Late { gone_back: true });
}

#[tokio::test]
async fn a_command_that_was_not_sent_frees_the_label() {
    let fixture = Fixture::new().await;
    fixture.start("a", 5, MINUTE).await;
    fixture.registry.abort(LABEL, &correlation("other")).await.unwrap();
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Busy, "only the RPC itself gives its lease back");
    fixture.registry.abort(LABEL, &correlation("a")).await.unwrap();
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Send(FAR));
}

#[tokio::test]
async fn the_strongest_fresh_gateway_is_taken() {
    let fixture = Fixture::new().await;
    let old = Timestamp::from_unix_millis(now().unix_millis() - 61_000);
    assert_eq!(fixture.start_without("a", 1, MINUTE, &[NEAR]).await, Started::Send(FAR), "NEAR is offline");
    fixture.answer(FAR, Some("a"), true).await;
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Send(NEAR), "stronger by more than the hysteresis");
    fixture.answer(NEAR, Some("b"), true).await;
    fixture.hear(FAR, -46, now()).await;
    assert_eq!(fixture.start("c", 3, MINUTE).await, Started::Send(NEAR), "not clearly stronger");
    fixture.answer(NEAR, Some("c"), true).await;
    fixture.hear(FAR, -43, now()).await;
    assert_eq!(fixture.start("d", 4, MINUTE).await, Started::Send(FAR));
    fixture.answer(FAR, Some("d"), true).await;
    fixture.hear(FAR, -43, old).await;
    assert_eq!(fixture.start("e", 5, MINUTE).await, Started::Send(NEAR), "FAR has not heard it for a minute");
    fixture.answer(NEAR, Some("e"), true).await;
    fixture.hear(NEAR, -50, old).await;
    assert_eq!(fixture.start("f", 6, MINUTE).await, Started::NoRoute);
}

#[tokio::test]
async fn a_gateway_that_refused_comes_after_the_others() {
    let fixture = Fixture::new().await;
    fixture.start("a", 1, MINUTE).await;
    assert_eq!(fixture.answer(NEAR, Some("a"), false).await, reply("a"), "a refusal is a reply");
    assert_eq!(fixture.start("b", 1, MINUTE).await, Started::Send(FAR));
    fixture.answer(FAR, Some("b"), false).await;
    assert_eq!(fixture.start("c", 1, MINUTE).await, Started::Send(NEAR), "both refused once: the stronger");
}

#[tokio::test]
async fn state_is_bounded_and_what_is_forgotten_is_unknown() {
    let fixture = Fixture::new().await;
    for number in 0..20 {
        let id = format!("id-{number}");
        fixture.start(&id, number, MINUTE).await;
        assert_eq!(fixture.answer(NEAR, Some(&id), true).await, reply(&id));
    }
    assert_eq!(fixture.answer(NEAR, Some("id-19"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(NEAR, Some("id-2"), true).await, Finished::Unknown);
}

#[tokio::test]
async fn scripts_are_loaded_again_whenredis_has_lost_them() {
    let mut fixture = Fixture::new().await;
    fixture.start("a", 1, MINUTE).await;
    assert_eq!(fixture.registry.epoch("before").await.unwrap(), "before");
    assert_eq!(fixture.registry.epoch("later").await.unwrap(), "before");
    fixture.redis.kill().unwrap();
    fixture.redis.start_again().await.unwrap();
    let began = tokio::time::Instant::now();
    while fixture.registry.ping().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.hear(NEAR, -50, now()).await;
    assert_eq!(fixture.start("b", 1, MINUTE).await, Started::Send(NEAR), "the lease is lost, too");
    assert_eq!(fixture.registry.epoch("after").await.unwrap(), "after");
}

//! Routes and RPCs in flight, on a real Redis and in memory: every rule of the scripts.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]

#[path = "registry/answers.rs"]
mod answers;
#[path = "registry/differential.rs"]
mod differential;
#[path = "registry/windows.rs"]
mod windows;

use answers::{answers_are_those_of_all_workers_of_late, it_is_remembered_who_was_asked};
use backbone::registry::{
    Finish, Finished, GatewayState, MemoryRegistry, NotSent, RedisUrl, Registry, RouteEntry, RpcPolicy, Start, Started,
};
use backbone::service::now;
use protocol::{CorrelationId, GatewayMac, LabelMac, Rssi, Timestamp, Version};
use std::time::Duration;
use testbed::{Redis, RedisOptions};
use windows::{
    a_lost_answer_frees_its_place_and_opens_the_breaker, a_place_is_taken_once_and_given_back,
    gateways_do_not_share_a_window,
};

const LABEL: LabelMac = LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, 1]);
const NEAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
const FAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 2]);
const MINUTE: Duration = Duration::from_secs(60);
/// So short that a test can wait for it to pass.
const SHORT: Duration = Duration::from_millis(150);

/// Runs each of these on every back-end.
macro_rules! on_every_back_end {
    ($($test:ident),+ $(,)?) => {
        mod on_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::BackEnd::Redis).await;
            })+
        }
        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::BackEnd::Memory).await;
            })+
        }
    };
}

on_every_back_end! {
    an_answer_takes_the_rpc_once,
    one_command_is_in_flight_per_label,
    a_version_older_than_the_newest_started_is_not_sent,
    a_late_answer_is_credited_to_nobody_and_tells_that_the_label_went_back,
    a_late_refusal_or_the_same_version_is_no_step_back,
    a_quarantine_keeps_a_late_answer_from_the_next_rpc,
    a_quarantine_ends_by_itself,
    a_command_that_was_not_sent_frees_the_label,
    the_strongest_fresh_gateway_is_taken,
    a_gateway_that_refused_comes_after_the_others,
    state_is_bounded_and_what_is_forgotten_is_unknown,
    routes_are_forgotten_together,
    a_battery_is_kept_per_label_and_takes_no_part_in_routing,
    signal_strengths_are_kept_for_a_day,
    gateways_are_where_they_last_reported,
    answers_are_those_of_all_workers_of_late,
    it_is_remembered_who_was_asked,
    a_place_is_taken_once_and_given_back,
    a_lost_answer_frees_its_place_and_opens_the_breaker,
    gateways_do_not_share_a_window,
}

#[derive(Debug, Clone, Copy)]
enum BackEnd {
    Redis,
    Memory,
}

struct Fixture {
    registry: Registry,
    policy: RpcPolicy,
    redis: Option<Redis>,
}

impl Fixture {
    /// A label that `NEAR` hears at -50 dBm and `FAR` at -70.
    async fn on(back_end: BackEnd) -> Self {
        let redis = match back_end {
            BackEnd::Redis => Some(Redis::start(RedisOptions::default()).await.unwrap()),
            BackEnd::Memory => None,
        };
        let memory = || RedisUrl::from(MemoryRegistry::new());
        let url = redis.as_ref().map_or_else(memory, |redis| redis.url().parse().unwrap());
        let registry = Registry::connect(&url).unwrap();
        let fixture = Self { registry, policy: RpcPolicy::default(), redis };
        fixture.hear(NEAR, -50, now()).await;
        fixture.hear(FAR, -70, now()).await;
        fixture
    }

    async fn hear(&self, gateway: GatewayMac, dbm: i64, at: Timestamp) {
        let entry = RouteEntry { label: LABEL, gateway, rssi: Rssi::try_from(dbm).unwrap(), at, battery_mv: None };
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

async fn an_answer_takes_the_rpc_once(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.answer(FAR, Some("a"), true).await, Finished::WrongGateway);
    assert_eq!(fixture.answer(NEAR, Some("a"), true).await, reply("a"));
    assert_eq!(fixture.answer(NEAR, Some("a"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Unknown);
}

async fn one_command_is_in_flight_per_label(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Busy);
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR), "a redelivered request goes out again");
    assert_eq!(fixture.answer(NEAR, None, true).await, reply("a"), "the label's MAC is unambiguous");
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Done, "redelivered after its answer");
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Send(NEAR));
}

async fn a_version_older_than_the_newest_started_is_not_sent(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    assert_eq!(fixture.start("a", 6, MINUTE).await, Started::Send(NEAR));
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Superseded, "while the newer is in flight");
    fixture.answer(NEAR, Some("a"), true).await;
    assert_eq!(fixture.start("c", 5, MINUTE).await, Started::Superseded);
    assert_eq!(fixture.start("d", 6, MINUTE).await, Started::Send(NEAR), "the same version again is no step back");
}

async fn a_late_answer_is_credited_to_nobody_and_tells_that_the_label_went_back(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    // The gateway has echoed before, so there is no quarantine.
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    assert_eq!(fixture.start("b", 5, SHORT).await, Started::Send(NEAR));
    assert_eq!(fixture.start_when_free("c", 6).await, Started::Send(FAR), "the one that did not fail");
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Late { gone_back: true });
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(FAR, Some("c"), true).await, reply("c"));
}

async fn a_late_refusal_or_the_same_version_is_no_step_back(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    fixture.start("b", 5, SHORT).await;
    assert_eq!(fixture.start_when_free("c", 5).await, Started::Send(FAR));
    assert_eq!(fixture.answer(NEAR, Some("b"), true).await, Finished::Late { gone_back: false });
    let fixture = Fixture::on(back_end).await;
    fixture.start("a", 1, MINUTE).await;
    fixture.answer(NEAR, Some("a"), true).await;
    fixture.start("b", 5, SHORT).await;
    fixture.start_when_free("c", 6).await;
    assert_eq!(fixture.answer(NEAR, Some("b"), false).await, Finished::Late { gone_back: false });
}

async fn a_quarantine_keeps_a_late_answer_from_the_next_rpc(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    assert_eq!(fixture.start("a", 5, SHORT).await, Started::Send(NEAR));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(fixture.start("b", 6, MINUTE).await, Started::Busy, "NEAR has never echoed an ID for this label");
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Late { gone_back: false });
    assert_eq!(fixture.start("b", 6, MINUTE).await, Started::Send(FAR), "the late answer ended the quarantine");
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(FAR, None, true).await, reply("b"));
}

async fn a_quarantine_ends_by_itself(back_end: BackEnd) {
    let mut fixture = Fixture::on(back_end).await;
    fixture.policy.quarantine = SHORT;
    let began = tokio::time::Instant::now();
    fixture.start("a", 5, SHORT).await;
    assert_eq!(fixture.start_when_free("b", 6).await, Started::Send(FAR));
    // The registry counts whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(1) >= SHORT * 2, "{:?}", began.elapsed());
    assert_eq!(fixture.answer(NEAR, None, true).await, Finished::Late { gone_back: true });
}

async fn a_command_that_was_not_sent_frees_the_label(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    fixture.start("a", 5, MINUTE).await;
    fixture.registry.abort(&[(LABEL, correlation("other"))], NotSent::Failed).await.unwrap();
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Busy, "only the RPC itself gives its lease back");
    fixture.registry.abort(&[(LABEL, correlation("a"))], NotSent::Failed).await.unwrap();
    assert_eq!(fixture.start("b", 5, MINUTE).await, Started::Send(FAR));
    fixture.registry.abort(&[(LABEL, correlation("b"))], NotSent::NoPlace).await.unwrap();
    assert_eq!(fixture.start("c", 5, MINUTE).await, Started::Send(FAR), "having no place is no failure");
}

async fn the_strongest_fresh_gateway_is_taken(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
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

async fn a_gateway_that_refused_comes_after_the_others(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    fixture.start("a", 1, MINUTE).await;
    assert_eq!(fixture.answer(NEAR, Some("a"), false).await, reply("a"), "a refusal is a reply");
    assert_eq!(fixture.start("b", 1, MINUTE).await, Started::Send(FAR));
    fixture.answer(FAR, Some("b"), false).await;
    assert_eq!(fixture.start("c", 1, MINUTE).await, Started::Send(NEAR), "both refused once: the stronger");
}

async fn state_is_bounded_and_what_is_forgotten_is_unknown(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    for number in 0..20 {
        let id = format!("id-{number}");
        fixture.start(&id, number, MINUTE).await;
        assert_eq!(fixture.answer(NEAR, Some(&id), true).await, reply(&id));
    }
    assert_eq!(fixture.answer(NEAR, Some("id-19"), true).await, Finished::Duplicate);
    assert_eq!(fixture.answer(NEAR, Some("id-2"), true).await, Finished::Unknown);
}

async fn routes_are_forgotten_together(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let heard: Vec<_> = fixture.registry.routes(LABEL).await.unwrap().iter().map(|route| route.gateway).collect();
    assert_eq!(heard, [NEAR, FAR]);
    let rssi = Rssi::try_from(-40).unwrap();
    let entry = RouteEntry { label: LABEL, gateway: FAR, rssi, at: now(), battery_mv: None };
    fixture.registry.write_routes(&[entry], SHORT).await.unwrap();
    assert_eq!(fixture.registry.routes(LABEL).await.unwrap()[1], entry);
    let began = tokio::time::Instant::now();
    while !fixture.registry.routes(LABEL).await.unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() + Duration::from_millis(50) >= SHORT, "{:?}", began.elapsed());
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::NoRoute);
}

async fn a_battery_is_kept_per_label_and_takes_no_part_in_routing(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let batteries = async || {
        let routes = fixture.registry.routes(LABEL).await.unwrap();
        routes.iter().map(|route| (route.gateway, route.battery_mv)).collect::<Vec<_>>()
    };
    assert_eq!(batteries().await, [(NEAR, None), (FAR, None)]);
    let entry = |gateway, dbm, battery_mv| RouteEntry {
        label: LABEL,
        gateway,
        rssi: Rssi::try_from(dbm).unwrap(),
        at: now(),
        battery_mv,
    };
    for (written, kept) in [(Some(2950), 2950), (None, 2950), (Some(0), 2950), (Some(2890), 2890)] {
        fixture.registry.write_routes(&[entry(FAR, -70, written)], MINUTE).await.unwrap();
        assert_eq!(batteries().await, [(NEAR, Some(kept)), (FAR, Some(kept))], "{written:?}");
    }
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(batteries().await, [(NEAR, Some(2890)), (FAR, Some(2890))], "still there after an RPC");
    fixture.registry.write_routes(&[entry(NEAR, -50, None)], SHORT).await.unwrap();
    while !batteries().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fixture.hear(NEAR, -50, now()).await;
    assert_eq!(batteries().await, [(NEAR, None)], "it is forgotten with the routes");
}

async fn signal_strengths_are_kept_for_a_day(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let heard = |gateway, dbm, hours: i64| RouteEntry {
        label: LABEL,
        gateway,
        rssi: Rssi::try_from(dbm).unwrap(),
        at: Timestamp::from_unix_millis(now().unix_millis() - hours * 3_600_000),
        battery_mv: None,
    };
    let written =
        [heard(NEAR, -127, 25), heard(NEAR, -50, 23), heard(NEAR, -60, 1), heard(NEAR, 20, 0), heard(FAR, -90, 2)];
    fixture.registry.write_signals(&written).await.unwrap();
    let seen = fixture.registry.signals(LABEL, &[FAR, NEAR]).await.unwrap();
    let dbm: Vec<Vec<i8>> = seen.iter().map(|one| one.iter().map(|signal| signal.rssi.dbm()).collect()).collect();
    assert_eq!(dbm, [vec![-90], vec![-50, -60, 20]], "in the order that was asked for, the oldest first");
    let unheard = LabelMac::from_octets([9; 6]);
    assert_eq!(fixture.registry.signals(unheard, &[NEAR]).await.unwrap(), [vec![]]);
    assert!(fixture.registry.signals(LABEL, &[]).await.unwrap().is_empty());
}

async fn gateways_are_where_they_last_reported(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let state = |online, broker: &str| GatewayState { online, broker: broker.into(), at: now() };
    let written = [(NEAR, state(true, "a:1883")), (FAR, state(true, "b:1883")), (NEAR, state(false, "b:1883"))];
    fixture.registry.write_gateways(&written).await.unwrap();
    let gateways = fixture.registry.gateways().await.unwrap();
    assert_eq!(gateways.len(), 2);
    assert_eq!((&gateways[&NEAR], &gateways[&FAR]), (&written[2].1, &written[1].1));
    assert_eq!(fixture.registry.gateway(FAR).await.unwrap().as_ref(), Some(&written[1].1));
    assert_eq!(fixture.registry.gateway(GatewayMac::from_octets([0; 6])).await.unwrap(), None);
    for gone in [&[][..], &[NEAR]] {
        fixture.registry.forget_gateways(gone).await.unwrap();
        assert_eq!(fixture.registry.gateway(NEAR).await.unwrap().is_some(), gone.is_empty());
    }
    assert_eq!(fixture.registry.epoch("before").await.unwrap(), "before");
    assert_eq!(fixture.registry.epoch("later").await.unwrap(), "before", "nothing was lost");
}

#[tokio::test]
async fn scripts_are_loaded_again_when_redis_has_lost_them() {
    let mut fixture = Fixture::on(BackEnd::Redis).await;
    fixture.start("a", 1, MINUTE).await;
    assert_eq!(fixture.registry.epoch("before").await.unwrap(), "before");
    assert_eq!(fixture.registry.epoch("later").await.unwrap(), "before");
    let redis = fixture.redis.as_mut().unwrap();
    redis.kill().unwrap();
    redis.start_again().await.unwrap();
    let began = tokio::time::Instant::now();
    while fixture.registry.ping().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.hear(NEAR, -50, now()).await;
    assert_eq!(fixture.start("b", 1, MINUTE).await, Started::Send(NEAR), "the lease is lost, too");
    assert_eq!(fixture.registry.epoch("after").await.unwrap(), "after");
}

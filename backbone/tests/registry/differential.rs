//! Redis and memory give the same answers to the same random sequences of steps.
//!
//! No time has to be hit: every span that is given is either nothing, and surely over by the next step, or hours, and
//! surely not. So an RPC is overdue at once or never, a quarantine is over with its RPC or outlasts the test, and a
//! sighting is fresh, stale, or old enough to be dropped.

use super::{BackEnd, Fixture};
use backbone::registry::{Finish, NotSent, RouteEntry, RpcPolicy, Start};
use backbone::service::now;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use protocol::{CorrelationId, GatewayMac, LabelMac, Rssi, Timestamp};
use std::time::Duration;
use tokio::runtime::Runtime;

const HOUR: Duration = Duration::from_secs(3600);
/// The clocks count milliseconds: after two, what had no time left is overdue.
const NEXT_STEP: Duration = Duration::from_millis(2);
const STEPS: usize = 60;
const CASES: u32 = 40;

#[derive(Debug, Clone)]
enum Step {
    Start { label: u8, id: u8, version: Option<u8>, overdue: bool, policy: Policy, offline: Vec<u8> },
    Finish { label: u8, gateway: u8, id: Option<u8>, carried_out: bool, refused_for_now: bool },
    Abort { label: u8, id: u8, failed: bool },
    Hear { label: u8, gateway: u8, dbm: i8, age_hours: u8, battery_mv: Option<u16> },
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    quarantine: bool,
    avoid: bool,
    hysteresis_db: u8,
}

/// Few of each, so that they meet.
fn step() -> impl Strategy<Value = Step> {
    let policy = (any::<bool>(), prop::bool::weighted(0.8), 0..12_u8)
        .prop_map(|(quarantine, avoid, hysteresis_db)| Policy { quarantine, avoid, hysteresis_db });
    let version = prop::option::weighted(0.8, 0..8_u8);
    let start = (0..2_u8, 0..12_u8, version, any::<bool>(), policy, vec(0..3_u8, 0..2)).prop_map(
        |(label, id, version, overdue, policy, offline)| Step::Start { label, id, version, overdue, policy, offline },
    );
    let id = prop::option::weighted(0.6, 0..12_u8);
    let finish = (0..2_u8, 0..3_u8, id, any::<bool>(), any::<bool>()).prop_map(
        |(label, gateway, id, carried_out, refused_for_now)| Step::Finish {
            label,
            gateway,
            id,
            carried_out,
            refused_for_now,
        },
    );
    let abort = (0..2_u8, 0..12_u8, any::<bool>()).prop_map(|(label, id, failed)| Step::Abort { label, id, failed });
    let ages = prop_oneof![8 => Just(0_u8), 1 => Just(2), 1 => Just(20)];
    let battery = prop::option::of(0..4_u16);
    let hear =
        (0..2_u8, 0..3_u8, -70..-40_i8, ages, battery).prop_map(|(label, gateway, dbm, age_hours, battery_mv)| {
            Step::Hear { label, gateway, dbm, age_hours, battery_mv }
        });
    prop_oneof![5 => start, 5 => finish, 1 => abort, 2 => hear]
}

#[test]
fn redis_and_memory_agree() {
    let runtime = Runtime::new().unwrap();
    let redis = runtime.block_on(Fixture::on(BackEnd::Redis));
    let memory = runtime.block_on(Fixture::on(BackEnd::Memory));
    // Each case has labels of its own.
    let case = std::cell::Cell::new(0);
    // Seeds of failures belong into tests of their own, not into files.
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(step(), STEPS), |steps| {
            case.set(case.get() + 1);
            runtime.block_on(compare(&redis, &memory, case.get(), &steps))
        })
        .unwrap();
}

async fn compare(redis: &Fixture, memory: &Fixture, case: u32, steps: &[Step]) -> Result<(), TestCaseError> {
    let first = [0, 1].into_iter().flat_map(|label| {
        let hear = move |(dbm, gateway)| Step::Hear { label, gateway, dbm, age_hours: 0, battery_mv: None };
        [-50, -60].into_iter().zip(0..).map(hear)
    });
    for (number, step) in first.chain(steps.iter().cloned()).enumerate() {
        let at = now();
        let (expected, found) = (carry_out(redis, case, &step, at).await, carry_out(memory, case, &step, at).await);
        prop_assert_eq!(expected, found, "at step {}: {:?}", number, step);
        tokio::time::sleep(NEXT_STEP).await;
    }
    Ok(())
}

/// What a step comes to, and the label's routes after it.
async fn carry_out(fixture: &Fixture, case: u32, step: &Step, at: Timestamp) -> String {
    let registry = &fixture.registry;
    let (label, result) = match step {
        Step::Start { label, id, version, overdue, policy, offline } => {
            let label = label_mac(case, *label);
            let request = Start {
                id: correlation(*id),
                label,
                version: version.and_then(|version| u64::from(version).try_into().ok()),
                reply_to: format!("to-{id}"),
                time_left: if *overdue { Duration::ZERO } else { HOUR },
                again: true,
            };
            let offline: Vec<_> = offline.iter().copied().map(gateway_mac).collect();
            (label, format!("{:?}", registry.start(&[request], &policy.of(), &offline).await.unwrap()))
        }
        Step::Finish { label, gateway, id, carried_out, refused_for_now } => {
            let label = label_mac(case, *label);
            let finish = Finish {
                gateway: gateway_mac(*gateway),
                label,
                id: id.map(correlation),
                carried_out: *carried_out,
                refused_for_now: *refused_for_now,
            };
            (label, format!("{:?}", registry.finish(&[finish]).await.unwrap()))
        }
        Step::Abort { label, id, failed } => {
            let label = label_mac(case, *label);
            let why = if *failed { NotSent::Failed } else { NotSent::NoPlace };
            registry.abort(&[(label, correlation(*id))], why).await.unwrap();
            (label, String::new())
        }
        Step::Hear { label, gateway, dbm, age_hours, battery_mv } => {
            let label = label_mac(case, *label);
            let at = Timestamp::from_unix_millis(at.unix_millis() - i64::from(*age_hours) * 3_600_000);
            let rssi = Rssi::try_from(i64::from(*dbm)).unwrap();
            let entry = RouteEntry { label, gateway: gateway_mac(*gateway), rssi, at, battery_mv: *battery_mv };
            registry.write_routes(&[entry], HOUR).await.unwrap();
            (label, String::new())
        }
    };
    format!("{result}, routes {:?}", registry.routes(label).await.unwrap())
}

impl Policy {
    fn of(self) -> RpcPolicy {
        let span = |on| if on { HOUR } else { Duration::ZERO };
        RpcPolicy {
            quarantine: span(self.quarantine),
            avoid_for: span(self.avoid),
            hysteresis_db: self.hysteresis_db,
            stale_after: HOUR,
            keep: HOUR,
        }
    }
}

fn label_mac(case: u32, label: u8) -> LabelMac {
    let [a, b, c, d] = case.to_be_bytes();
    LabelMac::from_octets([a, b, c, d, 0, label])
}

fn gateway_mac(gateway: u8) -> GatewayMac {
    GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 1, gateway])
}

fn correlation(id: u8) -> CorrelationId {
    // Some as the backbone makes them, some as others might.
    match id % 2 {
        0 => CorrelationId::from_uuid(uuid(id)),
        _ => format!("id-{id}").parse().unwrap(),
    }
}

fn uuid(id: u8) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(id))
}

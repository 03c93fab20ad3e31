//! Redis and memory come to the same windows and the same answers by the same random history. The time is an argument
//! here, so that hours pass in no time; that Redis takes its own otherwise is for the conformance tests.

use super::{Acquire, Ask, Claim, Ended, Release, Turn, Window, WindowPolicy};
use crate::registry::{
    Registry,
    connection::{Backend, RedisRegistry},
    memory::Millis,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use protocol::{CorrelationId, GatewayMac};
use std::{cell::Cell, collections::HashMap, time::Duration};
use testbed::{Redis, RedisOptions};
use tokio::runtime::Runtime;

const BEGIN: Millis = 1_800_000_000_000;
const STEPS: usize = 80;
const CASES: u32 = 60;

#[derive(Debug, Clone)]
struct Step {
    /// How long after the step before, in ms.
    after: u32,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Acquire(Vec<(u8, Claim, u16)>),
    Release(Vec<(u8, Ended, bool)>),
}

/// Few IDs, so that they meet; spans from nothing to longer than any breaker is open.
fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![4 => 0..20_u32, 4 => 0..2_000_u32, 1 => 0..150_000_u32];
    let turn = prop_oneof![Just(Turn::Newcomer), Just(Turn::Waited), Just(Turn::Urgent)].prop_map(Claim::Asks);
    let claim = prop_oneof![3 => turn, 1 => Just(Claim::Sent)];
    let how = prop_oneof![
        6 => Just(Ended::Acknowledged),
        1 => Just(Ended::Refused),
        2 => Just(Ended::PushedBack),
        1 => Just(Ended::Failed),
        1 => Just(Ended::NotSent),
    ];
    let acquire = vec((0..40_u8, claim, 0..15_000_u16), 1..12).prop_map(What::Acquire);
    let release = vec((0..40_u8, how, any::<bool>()), 1..12).prop_map(What::Release);
    (after, prop_oneof![acquire, release]).prop_map(|(after, what)| Step { after, what })
}

fn policy() -> impl Strategy<Value = WindowPolicy> {
    (1..20_u16, 0..20_u16, 1..6_u16).prop_map(|(initial, more, breaker_after)| WindowPolicy {
        initial,
        most: initial + more,
        breaker_after,
        ..WindowPolicy::default()
    })
}

#[test]
fn redis_and_memory_agree() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Redis::start(RedisOptions::default())).unwrap();
    let registry = runtime.block_on(async { Registry::connect(&server.url().parse().unwrap()).unwrap() });
    let Backend::Redis(redis) = &registry.0 else { unreachable!("the URL is a server's") };
    // Each case has a gateway of its own.
    let case = Cell::new(0);
    // Seeds of failures belong into tests of their own, not into files.
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(policy(), vec(step(), STEPS)), |(policy, steps)| {
            case.set(case.get() + 1);
            runtime.block_on(compare(redis, case.get(), &policy, &steps))
        })
        .unwrap();
}

async fn compare(redis: &RedisRegistry, case: u32, policy: &WindowPolicy, steps: &[Step]) -> Result<(), TestCaseError> {
    let [a, b, c, d] = case.to_be_bytes();
    let gateway = GatewayMac::from_octets([0, 0xfa, a, b, c, d]);
    let mut window: Option<Window> = None;
    let mut now = BEGIN;
    for (number, Step { after, what }) in steps.iter().enumerate() {
        now += Millis::from(*after);
        match what {
            What::Acquire(asks) => {
                let rpcs: Vec<_> = asks.iter().map(ask).collect();
                let expected = window.get_or_insert_with(|| Window::new(policy)).acquire(&rpcs, policy, now);
                let found = redis.acquire(&[Acquire { gateway, rpcs }], policy, Some(now)).await.unwrap();
                prop_assert_eq!(&found, &[expected], "at step {}", number);
            }
            What::Release(ends) => {
                let release = |&(number, how, was_sent): &_| Release { gateway, id: id(number), how, was_sent };
                let rpcs: Vec<_> = ends.iter().map(release).collect();
                if let Some(window) = &mut window {
                    window.release(rpcs.iter(), policy, now);
                }
                redis.release(&rpcs, policy, Some(now)).await.unwrap();
            }
        }
        let (_, found) = redis.windows(&[gateway]).await.unwrap();
        // Nobody reads those that ended early from outside: what the next steps come to shows them.
        let expected = window.clone().map(|window| Window { early: HashMap::new(), ..window });
        prop_assert_eq!(&found[0], &expected, "at step {}: {:?}", number, what);
    }
    Ok(())
}

fn ask(&(number, claim, time_left): &(u8, Claim, u16)) -> Ask {
    Ask { id: id(number), claim, time_left: Duration::from_millis(time_left.into()) }
}

fn id(number: u8) -> CorrelationId {
    format!("id-{number}").parse().unwrap()
}

//! Gateways' windows in Redis or in memory.

use super::{Acquire, Acquired, Admission, Claim, Ended, KEEP, Release, Turn, Window, WindowPolicy, WindowState};
use crate::registry::{
    Registry, RegistryError,
    connection::{Backend, RedisRegistry},
    error::Doing,
    memory::{Millis, millis},
};
use protocol::{
    CorrelationId, GatewayMac,
    names::redis::{GatewayKey, gateway_key},
};
use redis::{Cmd, FromRedisValue, Value};
use std::{collections::BTreeMap, time::Duration};

impl Registry {
    /// Asks for places in gateways' windows, all in one round trip. Results are in the order of what was asked.
    ///
    /// # Errors
    /// When Redis does not answer. Asking again is safe: an RPC finds the place that it has.
    pub async fn acquire(&self, gateways: &[Acquire], policy: &WindowPolicy) -> Result<Vec<Acquired>, RegistryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.acquire(gateways, policy)),
            Backend::Redis(redis) => redis.acquire(gateways, policy, None).await,
        }
    }

    /// Gives places of RPCs back that have ended, all in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer; the places are then free after the RPCs' deadlines, and count as failures.
    pub async fn release(&self, rpcs: &[Release], policy: &WindowPolicy) -> Result<(), RegistryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.release(rpcs, policy);
                Ok(())
            }
            Backend::Redis(redis) => redis.release(rpcs, policy, None).await,
        }
    }

    /// The windows of these gateways, all in one round trip and in their order; `None` where a gateway was not used
    /// for long. Only reads.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn windows(
        &self,
        gateways: &[GatewayMac],
        policy: &WindowPolicy,
    ) -> Result<Vec<Option<WindowState>>, RegistryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.windows(gateways, policy)),
            Backend::Redis(redis) => {
                let (now, windows) = redis.windows(gateways).await?;
                Ok(windows.into_iter().map(|window| Some(window?.view(policy, now))).collect())
            }
        }
    }
}

impl RedisRegistry {
    /// `at` is for tests that compare with the memory; else Redis has the time.
    pub(super) async fn acquire(
        &self,
        gateways: &[Acquire],
        policy: &WindowPolicy,
        at: Option<Millis>,
    ) -> Result<Vec<Acquired>, RegistryError> {
        let script = &self.scripts.acquire;
        // Nothing to ask for is no call: commands of Redis take no empty lists.
        let asking = || gateways.iter().filter(|asking| !asking.rpcs.is_empty());
        let calls: Vec<_> = asking()
            .map(|Acquire { gateway, rpcs }| {
                let mut call = call(script.get_hash(), *gateway, policy, at);
                for ask in rpcs {
                    call.arg(ask.id.as_str()).arg(letter(ask.claim)).arg(millis(ask.time_left));
                }
                call
            })
            .collect();
        let answers: Vec<Vec<String>> =
            self.run_script(script, calls.into_iter(), "asking for places in gateways' windows").await?;
        let mut answers = asking().zip(answers).map(|(asking, answer)| read_acquired(asking.rpcs.len(), &answer));
        let results = gateways.iter().map(|asking| match asking.rpcs.len() {
            0 => Ok(Acquired::default()),
            _ => answers.next().unwrap_or_else(|| Err(RegistryError::Answer("too few results".to_owned()))),
        });
        results.collect()
    }

    pub(super) async fn release(
        &self,
        rpcs: &[Release],
        policy: &WindowPolicy,
        at: Option<Millis>,
    ) -> Result<(), RegistryError> {
        let script = &self.scripts.release;
        // One call per gateway: most of a call's time goes into reading and writing the window.
        let mut calls: BTreeMap<GatewayMac, Cmd> = BTreeMap::new();
        for Release { gateway, id, how, was_sent } in rpcs {
            let call = calls.entry(*gateway).or_insert_with(|| call(script.get_hash(), *gateway, policy, at));
            call.arg(id.as_str()).arg(how.letter(*was_sent));
        }
        let _: Vec<Vec<String>> =
            self.run_script(script, calls.into_values(), "giving places in gateways' windows back").await?;
        Ok(())
    }

    /// The windows as they are stored, and Redis' time.
    pub(super) async fn windows(
        &self,
        gateways: &[GatewayMac],
    ) -> Result<(Millis, Vec<Option<Window>>), RegistryError> {
        let doing = "reading gateways' windows";
        let mut pipeline = redis::Pipeline::with_capacity(1 + gateways.len() * 2);
        pipeline.cmd("TIME");
        for &gateway in gateways {
            pipeline.get(gateway_key(GatewayKey::Window, gateway));
            pipeline.zrange_withscores(gateway_key(GatewayKey::InFlight, gateway), 0, -1);
        }
        let mut values = self.query::<Vec<Value>>(&pipeline).await.doing(doing)?.into_iter();
        let mut next = || values.next().unwrap_or(Value::Nil);
        let (seconds, micros): (Millis, Millis) = read(next()).doing(doing)?;
        let mut windows = Vec::with_capacity(gateways.len());
        for _ in gateways {
            let state: Option<String> = read(next()).doing(doing)?;
            let in_flight: Vec<(String, f64)> = read(next()).doing(doing)?;
            let in_flight =
                in_flight.into_iter().filter_map(|(id, at)| Some((id.parse::<CorrelationId>().ok()?, at as Millis)));
            windows.push(state.and_then(|state| Window::read(&state, in_flight.collect())));
        }
        Ok((seconds * 1000 + micros / 1000, windows))
    }
}

fn read<T: FromRedisValue>(value: Value) -> redis::RedisResult<T> {
    Ok(redis::from_redis_value(value)?)
}

fn call(script: &str, gateway: GatewayMac, policy: &WindowPolicy, at: Option<Millis>) -> Cmd {
    let key = |what| gateway_key(what, gateway);
    let mut call = redis::cmd("EVALSHA");
    call.arg(script).arg(3).arg(key(GatewayKey::Window)).arg(key(GatewayKey::InFlight)).arg(key(GatewayKey::Early));
    match at {
        Some(at) => call.arg(at),
        None => call.arg(""),
    };
    call.arg(policy.initial).arg(policy.most).arg(policy.breaker_after);
    for span in [policy.open_for, policy.open_for_at_most, policy.wait_at_most, KEEP] {
        call.arg(millis(span));
    }
    call
}

fn read_acquired(count: usize, answer: &[String]) -> Result<Acquired, RegistryError> {
    let read = || {
        let (left, admissions) = answer.split_last().filter(|(_, admissions)| admissions.len() == count)?;
        let admissions: Option<Vec<_>> = admissions.iter().map(|word| read_admission(word)).collect();
        Some(Acquired { admissions: admissions?, left: left.parse().ok()? })
    };
    read().ok_or_else(|| RegistryError::Answer(answer.join(" ")))
}

fn read_admission(word: &str) -> Option<Admission> {
    if word == "a" {
        return Some(Admission::Admitted);
    }
    let (what, millis) = word.split_at_checked(1)?;
    let retry_after = Duration::from_millis(millis.parse().ok()?);
    match what {
        "f" => Some(Admission::Full { retry_after }),
        "b" => Some(Admission::Failing { retry_after }),
        _ => None,
    }
}

const fn letter(claim: Claim) -> &'static str {
    match claim {
        Claim::Asks(Turn::Newcomer) => "n",
        Claim::Asks(Turn::Waited) => "w",
        Claim::Asks(Turn::Urgent) => "u",
        Claim::Sent => "s",
    }
}

impl Ended {
    const fn letter(self, was_sent: bool) -> &'static str {
        match (self, was_sent) {
            (Self::Acknowledged, false) => "a",
            (Self::Acknowledged, true) => "A",
            (Self::Refused, false) => "r",
            (Self::Refused, true) => "R",
            (Self::PushedBack, false) => "p",
            (Self::PushedBack, true) => "P",
            (Self::Failed, false) => "f",
            (Self::Failed, true) => "F",
            (Self::NotSent, false) => "n",
            (Self::NotSent, true) => "N",
        }
    }
}

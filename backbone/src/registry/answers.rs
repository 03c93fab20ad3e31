//! How gateways have answered of late, as workers count it: for whoever looks. Nothing depends on it.
//!
//! A worker counts in its memory, and now and then writes all that it has counted of a gateway in the present span of
//! time, as one field of its own. So an RPC costs no round trip, a write that is lost is made good by the next, and
//! nothing is written of gateways that nobody asks.

use super::{Registry, RegistryError, connection::Backend, error::Doing};
use crate::service::now;
use protocol::{
    CorrelationId, GatewayMac, LabelMac, Timestamp,
    names::redis::{LabelKey, answers_key, label_key},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// What is counted together.
const SPAN_MS: i64 = 5 * 60 * 1000;
/// So many spans are read, the present one among them.
const SPANS: i64 = 3;
/// A span is kept so long after its last write.
const KEEP: Duration = Duration::from_millis(((SPANS + 1) * SPAN_MS) as u64);
/// Gateways make up names of errors: what is more than so many kinds is counted as [`OTHER`].
const MAX_KINDS: usize = 16;
const OTHER: &str = "other";
/// Where the RPCs are in a label's state, as start.lua describes it.
const RPCS: &[&str] = &["lease", "e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"];
/// Upper ends, in ms, of the classes that latencies are counted in.
#[rustfmt::skip]
const ENDS: [u64; 46] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400, 500, 600, 800,
    1_000, 1_200, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 12_000, 15_000, 20_000, 25_000,
    30_000, 40_000, 60_000, u64::MAX,
];

/// How a gateway has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCounts {
    /// How often it answered what: [`ACK`](Self::ACK), the name of an error, or [`TIMEOUT`](Self::TIMEOUT).
    pub kinds: BTreeMap<String, u64>,
    /// How many answers took how long, by the number of the class.
    took: BTreeMap<u8, u64>,
}

impl AnswerCounts {
    /// The kind of what was done.
    pub const ACK: &str = "ack";
    /// The kind of what was not answered in time.
    pub const TIMEOUT: &str = "timeout";

    /// Counts an answer that took so long, or one that did not come.
    pub fn count(&mut self, kind: &str, took: Option<Duration>) {
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                let kind = if self.kinds.len() < MAX_KINDS { kind } else { OTHER };
                *self.kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
        if let Some(took) = took {
            let class = ENDS.partition_point(|end| u128::from(*end) < took.as_millis());
            *self.took.entry(class.min(ENDS.len() - 1) as u8).or_default() += 1;
        }
    }

    /// How many answers took how long: the upper ends of classes in ms, in ascending order.
    pub fn latencies(&self) -> impl Iterator<Item = (u64, u64)> {
        self.took.iter().filter_map(|(class, count)| Some((*ENDS.get(usize::from(*class))?, *count)))
    }

    fn add(&mut self, other: &Self) {
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
        for (class, count) in &other.took {
            *self.took.entry(*class).or_default() += count;
        }
    }

    /// All of these together.
    pub(super) fn sum<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        counts.into_iter().for_each(|counts| sum.add(counts));
        sum
    }
}

/// The number of the span that this time lies in.
pub fn answer_span(at: Timestamp) -> i64 {
    at.unix_millis().div_euclid(SPAN_MS)
}

/// The spans that are read now.
pub(super) fn spans() -> std::ops::RangeInclusive<i64> {
    let present = answer_span(now());
    present - SPANS + 1..=present
}

impl Registry {
    /// Writes all that a worker has counted of gateways in a span, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn write_answers(
        &self,
        worker: Uuid,
        span: i64,
        counted: &[(GatewayMac, AnswerCounts)],
    ) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                memory.write_answers(worker, span, counted);
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        if counted.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::Pipeline::with_capacity(counted.len() * 2);
        for (gateway, counts) in counted {
            let key = answers_key(*gateway, span);
            // Counts have nothing that JSON can't hold.
            let counts = serde_json::to_string(counts).unwrap_or_default();
            pipeline.hset(&key, worker.simple().to_string(), counts).ignore();
            pipeline.pexpire(&key, KEEP.as_millis() as i64).ignore();
        }
        redis.query(&pipeline).await.doing("writing how gateways answer")
    }

    /// How these gateways have answered in the last 10 to 15 minutes, in one round trip and in their order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn answers(&self, gateways: &[GatewayMac]) -> Result<Vec<AnswerCounts>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.answers(gateways)),
            Backend::Redis(redis) => redis,
        };
        if gateways.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(gateways.len() * SPANS as usize);
        for gateway in gateways {
            for span in spans() {
                pipeline.hgetall(answers_key(*gateway, span));
            }
        }
        let found: Vec<BTreeMap<String, String>> = redis.query(&pipeline).await.doing("reading how gateways answer")?;
        let read = |counts: &String| serde_json::from_str::<AnswerCounts>(counts).ok();
        let of = |spans: &[BTreeMap<String, String>]| {
            AnswerCounts::sum(&spans.iter().flat_map(BTreeMap::values).filter_map(read).collect::<Vec<_>>())
        };
        Ok(found.chunks(SPANS as usize).map(of).collect())
    }

    /// The gateways that commands of these RPCs were sent to, as far as that is remembered, in one round trip and in their
    /// order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn asked(&self, rpcs: &[(LabelMac, CorrelationId)]) -> Result<Vec<Option<GatewayMac>>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(rpcs.iter().map(|(label, id)| memory.asked(*label, id)).collect()),
            Backend::Redis(redis) => redis,
        };
        if rpcs.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(rpcs.len());
        for (label, _) in rpcs {
            pipeline.cmd("HMGET").arg(label_key(LabelKey::Rpc, *label)).arg(RPCS);
        }
        let states: Vec<Vec<Option<String>>> = redis.query(&pipeline).await.doing("reading who was asked")?;
        Ok(states
            .iter()
            .zip(rpcs)
            .map(|(state, (_, id))| state.iter().flatten().find_map(|rpc| asked(rpc, id)))
            .collect())
    }
}

/// The gateway of an RPC, if it is this one and was sent: `id,gateway,version,…`, in a lease behind two numbers, and of one
/// that has ended with `a` next where it was not sent.
fn asked(rpc: &str, id: &CorrelationId) -> Option<GatewayMac> {
    let words: Vec<_> = rpc.rsplit(' ').next()?.split(',').collect();
    match *words.as_slice() {
        [known, gateway, _, status, ..] if known == id.as_str() && status != "a" => gateway.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_in_the_class_that_they_fit() {
        let mut counts = AnswerCounts::default();
        for millis in [0, 1, 50, 51, 60_000, 60_001, 3_600_000] {
            counts.count(AnswerCounts::ACK, Some(Duration::from_millis(millis)));
        }
        let latencies: Vec<_> = counts.latencies().collect();
        assert_eq!(latencies, [(1, 2), (50, 1), (60, 1), (60_000, 1), (u64::MAX, 2)]);
        assert!(ENDS.is_sorted());
    }

    #[test]
    fn a_gateway_that_makes_up_errors_is_counted_and_does_not_grow() {
        let mut counts = AnswerCounts::default();
        counts.count(AnswerCounts::ACK, None);
        (0..1_000).for_each(|number| counts.count(&format!("error_{number}"), None));
        counts.count(AnswerCounts::ACK, None);
        assert_eq!((counts.kinds.len(), counts.kinds["ack"]), (MAX_KINDS + 1, 2));
        assert_eq!(counts.kinds.values().sum::<u64>(), 1_002);
        let written = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<AnswerCounts>(&written).unwrap(), counts);
    }
}

//! How long RPCs took, as workers recorded it in the ledger.

use anyhow::Result;
use backbone::ledger::Ledger;
use hdrhistogram::Histogram;
use protocol::Timestamp;
use std::collections::BTreeMap;

/// More than any run makes.
const MOST: u32 = 5_000_000;
const MAX_MICROS: u64 = 600_000_000;

/// The RPCs of a run.
#[derive(Debug)]
pub(super) struct Rpcs {
    /// How long each took, in µs.
    pub(super) micros: Histogram<u64>,
    /// How they ended.
    pub(super) ends: BTreeMap<String, u64>,
}

/// Those that ended since then.
pub(super) async fn read(ledger: &Ledger, since: Timestamp) -> Result<Rpcs> {
    let mut rpcs = Rpcs { micros: Histogram::new_with_bounds(1, MAX_MICROS, 3)?, ends: BTreeMap::new() };
    for rpc in ledger.latest_rpcs(since, MOST).await? {
        rpcs.micros.saturating_record((rpc.latency_ms * 1e3) as u64);
        *rpcs.ends.entry(rpc.outcome).or_default() += 1;
    }
    Ok(rpcs)
}

impl Rpcs {
    pub(super) fn timeouts(&self) -> u64 {
        self.ends.get("timeout").copied().unwrap_or_default()
    }
}

//! What processes of one name use together.

use super::measured::Used;
use crate::processes::{self, Watched};
use anyhow::Result;
use std::{collections::BTreeMap, time::Duration};

/// What processes have used, by name.
#[derive(Debug)]
pub(super) struct Usage(BTreeMap<&'static str, Sum>);

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u32,
    cpu: Duration,
    rss_bytes: u64,
}

impl Usage {
    pub(super) fn of(watched: &[Watched]) -> Result<Self> {
        let mut sums = BTreeMap::<_, Sum>::new();
        for (process, used) in watched.iter().zip(processes::usage(watched)?) {
            let sum = sums.entry(process.name).or_default();
            *sum = Sum { count: sum.count + 1, cpu: sum.cpu + used.cpu, rss_bytes: sum.rss_bytes + used.rss_bytes };
        }
        Ok(Self(sums))
    }
}

/// What was used between two looks, for each of so many RPCs.
pub(super) fn per_rpc(before: &Usage, after: &Usage, rpcs: u64) -> Vec<Used> {
    let used = |(name, after): (&&'static str, &Sum)| {
        let cpu = after.cpu.saturating_sub(before.0.get(name).copied().unwrap_or_default().cpu);
        Used {
            process: (*name).to_owned(),
            count: after.count,
            cpu_us_per_rpc: cpu.as_secs_f64() * 1e6 / rpcs.max(1) as f64,
            rss_mib: after.rss_bytes as f64 / f64::from(1 << 20),
        }
    };
    after.0.iter().map(used).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_counted_together() {
        let sum = |count, millis, mib: u64| Sum { count, cpu: Duration::from_millis(millis), rss_bytes: mib << 20 };
        let (before, after) = (Usage([("r", sum(2, 50, 9))].into()), Usage([("r", sum(2, 150, 10))].into()));
        let used = per_rpc(&before, &after, 1000);
        let expected = Used { process: "r".to_owned(), count: 2, cpu_us_per_rpc: 100.0, rss_mib: 10.0 };
        assert_eq!(used, [expected]);
    }
}

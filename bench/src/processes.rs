//! What processes have used, from `/proc`.

use anyhow::{Context, Result};
use std::{collections::HashMap, time::Duration};

/// `/proc` counts CPU time in hundredths of a second on every architecture (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// A process to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// Its process ID.
    pub(crate) pid: u32,
    /// Its children, and theirs, count as parts of it.
    pub(crate) with_children: bool,
}

/// What a process has used since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time of all of its threads, in user mode and in the kernel.
    pub(crate) cpu: Duration,
    /// Memory resident now.
    pub(crate) rss_bytes: u64,
    /// The most that was resident at any time.
    pub(crate) peak_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u32,
}

/// What each of these has used, in their order.
///
/// # Errors
/// When one of them has ended.
pub(crate) fn usage(watched: &[Watched]) -> Result<Vec<Usage>> {
    let stats = stats()?;
    watched.iter().map(|process| usage_of(process, &stats)).collect()
}

fn usage_of(process: &Watched, stats: &HashMap<u32, Stat>) -> Result<Usage> {
    let mut family = vec![process.pid];
    let mut usage = Usage::default();
    while let Some(pid) = family.pop() {
        match stats.get(&pid) {
            Some(stat) => usage.cpu += TICK * stat.ticks,
            None => anyhow::bail!("{} (pid {pid}) has ended", process.name),
        }
        usage.rss_bytes += resident_bytes(pid, "VmRSS:");
        usage.peak_bytes += resident_bytes(pid, "VmHWM:");
        if process.with_children {
            family.extend(stats.iter().filter(|(_, stat)| stat.parent == pid).map(|(child, _)| child));
        }
    }
    Ok(usage)
}

fn stats() -> Result<HashMap<u32, Stat>> {
    let mut stats = HashMap::new();
    for entry in std::fs::read_dir("/proc").context("listing processes")? {
        let name = entry.context("listing processes")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is none of ours, or is missed by `usage_of`.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        stats.extend(parse_stat(&text).map(|stat| (pid, stat)));
    }
    Ok(stats)
}

/// Fields 4 (ppid), 14 (utime) and 15 (stime) of proc(5); the name, field 2, may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u32>().ok());
    Some(Stat { parent: number(4)?, ticks: number(14)? + number(15)? })
}

fn resident_bytes(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 1 1 0 -1 4194560 10 20 30 40 500 60 9 9 20 0 3 0 1 2 3";
        assert_eq!(parse_stat(text), Some(Stat { parent: 7, ticks: 560 }));
        assert_eq!(parse_stat("42 (a) S 7"), None);
    }

    #[test]
    fn children_count_where_that_is_wanted() {
        let stat = |parent, ticks| Stat { parent, ticks };
        let stats = HashMap::from([(1, stat(0, 1)), (2, stat(1, 2)), (3, stat(2, 4)), (4, stat(0, 8))]);
        let watched = |with_children| Watched { name: "x", pid: 1, with_children };
        assert_eq!(usage_of(&watched(true), &stats).unwrap().cpu, TICK * 7);
        assert_eq!(usage_of(&watched(false), &stats).unwrap().cpu, TICK);
        let gone = Watched { name: "x", pid: 9, with_children: false };
        assert_eq!(usage_of(&gone, &stats).unwrap_err().to_string(), "x (pid 9) has ended");
    }

    #[test]
    fn we_use_memory() {
        let own = Watched { name: "bench", pid: std::process::id(), with_children: false };
        let used = usage(&[own]).unwrap()[0];
        assert!(used.rss_bytes > 100_000 && used.peak_bytes >= used.rss_bytes, "{used:?}");
    }
}

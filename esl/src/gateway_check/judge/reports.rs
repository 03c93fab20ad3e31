//! What a gateway reports.

use super::{Check, Findings, quoted, seconds};
use crate::{gateway_check::record::Record, text::count};
use std::{collections::HashMap, time::Duration};

/// A label that was not reported for so long is not sent through the gateway.
const STALE: Duration = Duration::from_secs(60);
/// Longer, and a lost report or two make labels stale; the contract says 2 s or so.
const SLOW: Duration = Duration::from_secs(15);

/// That there are reports, often enough and batched.
pub(super) fn reports(record: &Record) -> Check {
    let mut found = Findings::of("reports");
    for reported in record.fresh_reports() {
        if let Err(unreadable) = &reported.report {
            found.fail(format!("a report can't be read: {}", quoted(unreadable)));
            break;
        }
    }
    let readable = || record.fresh_reports().filter_map(|reported| Some((reported, reported.report.as_ref().ok()?)));
    let sizes: Vec<_> =
        readable().map(|(_, report)| report.sightings.len() + report.nonsense).filter(|n| *n > 0).collect();
    if sizes.is_empty() {
        found.fail("no report of any label came, so no label is sent through this gateway");
        return found.or_pass("");
    }
    let mut times: HashMap<_, Vec<_>> = HashMap::new();
    for (reported, report) in readable() {
        for sighting in &report.sightings {
            times.entry(sighting.label).or_default().push(reported.message.at);
        }
    }
    let gaps = times.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]));
    let mut gaps: Vec<_> = gaps.collect();
    gaps.sort_unstable();
    let every = gaps.get(gaps.len() / 2).copied();
    match every {
        None if times.is_empty() => found.fail("no label in its reports can be used"),
        None => found.fail("no label was reported a second time; one that is not for a minute is not sent through it"),
        Some(every) if every > STALE => {
            found.fail(format!(
                "a label is reported every {}; after a minute without it is not sent through it",
                seconds(every)
            ));
        }
        Some(every) if every > SLOW => {
            found.warn(format!("a label is reported every {}; 2 s or so is usual", seconds(every)))
        }
        Some(_) => {}
    }
    let largest = sizes.iter().max().copied().unwrap_or_default();
    if times.len() > 4 && largest == 1 {
        found.warn(format!("{} come in a message each: batch them", count(times.len() as u64, "label")));
    }
    let labels = count(times.len() as u64, "label");
    found.or_pass(format!("{labels}, each every {}, up to {largest} in a message", seconds(every.unwrap_or_default())))
}

/// That signal strengths and MACs can be.
pub(super) fn strength(record: &Record) -> Check {
    let mut found = Findings::of("strength");
    let readable: Vec<_> = record.fresh_reports().filter_map(|reported| reported.report.as_ref().ok()).collect();
    let nonsense: usize = readable.iter().map(|report| report.nonsense).sum();
    let strengths = || readable.iter().flat_map(|report| &report.sightings).map(|sighting| sighting.rssi.dbm());
    if nonsense > 0 {
        found.fail(format!(
            "{nonsense} of its entries are left out: a MAC that is none, or an RSSI outside -127 to 20 dBm"
        ));
    }
    match (strengths().min(), strengths().max()) {
        (Some(weakest), Some(strongest)) => found.or_pass(format!("{weakest} to {strongest} dBm")),
        _ if nonsense > 0 => found.or_pass(""),
        _ => found.skip("no report of any label"),
    }
}

//! The state of a gateway's window, as `window.lua` describes it, and what both steps over it share.

use super::WindowPolicy;
use crate::registry::memory::{Millis, millis};
use protocol::CorrelationId;
use std::collections::HashMap;

/// What an interval is taken for before it was measured, in ms: short, since a label that comes back too early costs a
/// round trip, and one that comes too late leaves a place empty.
const UNKNOWN_INTERVAL: f64 = 5.0;
/// Intervals are at most these, in ms.
pub(super) const LONGEST_INTERVAL: f64 = 10_000.0;
/// From this limit on one place is kept for urgent labels.
const RESERVE_FROM: f64 = 4.0;

/// A gateway's window and the RPCs in flight at it. The fields are described in `window.lua`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::registry) struct Window {
    pub(super) limit: f64,
    pub(super) interval: f64,
    pub(super) next: f64,
    pub(super) again: f64,
    pub(super) since: Millis,
    pub(super) done: u32,
    pub(super) latest: Millis,
    pub(super) answered: Millis,
    pub(super) cut: Millis,
    pub(super) failures: u32,
    pub(super) open_until: Millis,
    pub(super) open_for: Millis,
    pub(super) probe: Option<CorrelationId>,
    pub(super) in_flight: HashMap<CorrelationId, Millis>,
    /// RPCs that ended before they were counted, by when.
    pub(super) early: HashMap<CorrelationId, Millis>,
}

impl Window {
    pub(in crate::registry) fn new(policy: &WindowPolicy) -> Self {
        Self {
            limit: f64::from(policy.initial),
            interval: UNKNOWN_INTERVAL,
            next: 0.0,
            again: 0.0,
            since: 0,
            done: 0,
            latest: 0,
            answered: 0,
            cut: 0,
            failures: 0,
            open_until: 0,
            open_for: 0,
            probe: None,
            in_flight: HashMap::new(),
            early: HashMap::new(),
        }
    }

    /// As it is in Redis.
    pub(super) fn read(state: &str, in_flight: HashMap<CorrelationId, Millis>) -> Option<Self> {
        let words: Vec<_> = state.split(' ').collect();
        let [limit, interval, next, again, since, done, latest, answered, cut, failures, until, open_for, probe] =
            words.try_into().ok()?;
        Some(Self {
            limit: limit.parse().ok()?,
            interval: interval.parse().ok()?,
            next: next.parse().ok()?,
            again: again.parse().ok()?,
            since: since.parse().ok()?,
            done: done.parse().ok()?,
            latest: latest.parse().ok()?,
            answered: answered.parse().ok()?,
            cut: cut.parse().ok()?,
            failures: failures.parse().ok()?,
            open_until: until.parse().ok()?,
            open_for: open_for.parse().ok()?,
            probe: probe.parse().ok(),
            in_flight,
            early: HashMap::new(),
        })
    }

    /// Frees the places of RPCs whose answers were lost: they are over by themselves, and count as failures.
    pub(super) fn purge(&mut self, policy: &WindowPolicy, now: Millis) {
        let mut overdue: Vec<_> = self.in_flight.extract_if(|_, deadline| *deadline < now).collect();
        overdue.sort_by(|(a, at), (b, bt)| (at, a.as_str()).cmp(&(bt, b.as_str())));
        for (id, deadline) in overdue {
            let is_probe = self.probe.as_ref() == Some(&id);
            if !is_probe && deadline > self.cut {
                self.halve();
            }
            if is_probe || deadline > self.answered {
                self.fail(&id, deadline, policy);
            }
        }
    }

    /// Halves the limit, once per window's worth: what was admitted before is part of the same congestion.
    pub(super) fn halve(&mut self) {
        if self.limit <= 1.0 {
            self.interval = (self.interval * 2.0).min(LONGEST_INTERVAL);
        }
        self.limit = (self.limit / 2.0).max(1.0);
        self.cut = self.latest;
    }

    /// The gateway failed at this time.
    pub(super) fn fail(&mut self, id: &CorrelationId, at: Millis, policy: &WindowPolicy) {
        self.failures += 1;
        if self.probe.take_if(|probe| probe == id).is_some() {
            self.open_for = self.open_for.saturating_mul(2).min(millis(policy.open_for_at_most));
            self.open_until = at + self.open_for;
        } else if self.open_until == 0 && self.failures >= u32::from(policy.breaker_after) {
            self.open_for = millis(policy.open_for);
            self.open_until = at + self.open_for;
        }
    }

    /// Places that labels may take that are not urgent.
    pub(super) fn places(&self) -> f64 {
        if self.limit >= RESERVE_FROM { self.limit - 1.0 } else { self.limit }
    }

    /// How many RPCs are in flight.
    pub(super) fn used(&self) -> f64 {
        // At most `most`, which fits.
        f64::from(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX))
    }
}

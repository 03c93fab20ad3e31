//! What a gateway's window learns from how an RPC ended: the rules of `release.lua`.

use super::{Ended, Release, Window, WindowPolicy, state::LONGEST_INTERVAL};
use crate::registry::memory::Millis;
use std::collections::HashSet;

/// A window counts as full from this part of its places on: places are empty for a moment between two labels.
const FULL: f64 = 0.75;
/// Completions are counted for this long, in ms, before they say how far apart they are: they come in batches.
const COUNT_FOR: Millis = 500;
/// Completions are taken to be so many times as far apart as they were before, at most: what was measured over an outage
/// tells nothing, and a line that it made long would stay so.
const MOST_SLOWER: f64 = 8.0;
/// Those who send without asking tell within this time, in ms, or never.
const EARLY_FOR: Millis = 5000;

impl Window {
    /// Takes the place of an RPC back. An ID without one is late, or was answered before: an acknowledgement then
    /// still tells that the gateway is there. All of these ended at once.
    pub(in crate::registry) fn release<'a>(
        &mut self,
        rpcs: impl Iterator<Item = &'a Release>,
        policy: &WindowPolicy,
        now: Millis,
    ) {
        self.purge(policy, now);
        let (mut ended, mut early) = (HashSet::new(), Vec::new());
        for rpc in rpcs {
            // Whole places: with 1.9 of them, one in flight is all that there can be.
            let full = self.used() >= self.places().floor() * FULL;
            let deadline = match self.in_flight.remove(&rpc.id) {
                Some(deadline) => Some(deadline),
                // Not counted yet: what was sent last is as good a guess as any.
                None if rpc.was_sent && !ended.contains(&rpc.id) => {
                    early.push(rpc.id.clone());
                    Some(self.latest)
                }
                None => None,
            };
            match deadline {
                Some(deadline) => {
                    ended.insert(&rpc.id);
                    self.end(rpc, deadline, full, policy, now);
                }
                None if rpc.how == Ended::Acknowledged => self.answer(),
                None => {}
            }
        }
        if !early.is_empty() {
            self.early.retain(|_, at| *at > now - EARLY_FOR);
            self.early.extend(early.into_iter().map(|id| (id, now)));
        }
    }

    fn end(
        &mut self,
        Release { id, how, .. }: &Release,
        deadline: Millis,
        full: bool,
        policy: &WindowPolicy,
        now: Millis,
    ) {
        let how = *how;
        match how {
            Ended::NotSent => {
                self.probe.take_if(|probe| probe == id);
                return;
            }
            Ended::PushedBack if deadline > self.cut => self.halve(),
            Ended::PushedBack => {}
            Ended::Acknowledged | Ended::Refused | Ended::Failed => self.complete(full, now),
        }
        if how == Ended::Acknowledged && full {
            self.limit = (self.limit + 1.0 / self.limit).min(f64::from(policy.most));
        }
        match how {
            Ended::Failed => self.fail(id, now, policy),
            _ => self.answer(),
        }
    }

    /// The gateway is there: what it was sent before and has not answered is no sign of the contrary.
    fn answer(&mut self) {
        self.failures = 0;
        self.open_until = 0;
        self.open_for = 0;
        self.probe = None;
        self.answered = self.latest;
    }

    /// Measures how far apart completions are while the window is full: the line moves as fast.
    fn complete(&mut self, full: bool, now: Millis) {
        if !full {
            self.since = 0;
        } else if self.since == 0 {
            (self.since, self.done) = (now, 0);
        } else {
            self.done += 1;
            let counted_for = now - self.since;
            if counted_for >= COUNT_FOR {
                let measured = (counted_for as f64 / f64::from(self.done)).min(self.interval * MOST_SLOWER);
                self.interval = ((self.interval + measured) / 2.0).clamp(1.0, LONGEST_INTERVAL);
                (self.since, self.done) = (now, 0);
            }
        }
    }
}

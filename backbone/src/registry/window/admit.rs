//! Who gets a place in a gateway's window, and when the others come back: the rules of `acquire.lua`.

use super::{Acquired, Admission, Ask, Claim, Turn, Window, WindowPolicy};
use crate::registry::memory::{Millis, millis};
use std::{collections::HashSet, time::Duration};

/// Nobody is told to come back sooner, in ms.
const SOONEST: f64 = 50.0;
/// By how much the line moves faster when one whose turn has come finds most places empty.
const QUICKER: f64 = 0.875;

impl Window {
    /// Gives RPCs places, or tells them when to come back.
    pub(in crate::registry) fn acquire(&mut self, asks: &[Ask], policy: &WindowPolicy, now: Millis) -> Acquired {
        self.purge(policy, now);
        let ended = |window: &mut Self, ask: &Ask| ask.claim == Claim::Sent && window.early.remove(&ask.id).is_some();
        let ended: HashSet<_> = asks.iter().filter(|ask| ended(self, ask)).map(|ask| &ask.id).collect();
        let admission = |ask: &Ask| match ended.contains(&ask.id) {
            true => Admission::Admitted,
            false => self.admission(ask, policy, now),
        };
        let admissions = asks.iter().map(admission).collect();
        Acquired { admissions, left: self.left(now) }
    }

    /// How many more could be sent without asking: whoever does shall not overtake those in line, nor feed a gateway that
    /// has just failed.
    fn left(&self, now: Millis) -> u32 {
        let calm = self.open_until == 0 && self.failures == 0 && self.next.max(self.again) <= now as f64;
        if calm { (self.places() - self.used()).max(0.0) as u32 } else { 0 }
    }

    fn admission(&mut self, ask: &Ask, policy: &WindowPolicy, now: Millis) -> Admission {
        if self.in_flight.contains_key(&ask.id) {
            return Admission::Admitted; // a redelivered request: it has its place
        }
        let Claim::Asks(turn) = ask.claim else { return self.admit(ask, now) };
        if self.open_until > 0 {
            return self.through_breaker(ask, now);
        }
        match self.wait(turn, policy, now) {
            Some(wait) => Admission::Full { retry_after: soon(wait) },
            None => self.admit(ask, now),
        }
    }

    /// One RPC at a time finds out whether the gateway is back.
    fn through_breaker(&mut self, ask: &Ask, now: Millis) -> Admission {
        let wait = if now < self.open_until {
            self.open_until - now
        } else if self.probe.is_some() && now <= self.latest {
            // A probe's deadline is the latest, or before it: a probe that is forgotten is over then, too.
            self.open_for.min(self.latest - now)
        } else {
            self.probe = Some(ask.id.clone());
            return self.admit(ask, now);
        };
        Admission::Failing { retry_after: soon(wait as f64) }
    }

    /// For how many ms this RPC has no place.
    ///
    /// There are two lines, each no more than the time at which the next that joins it has its turn. Turns are as far
    /// apart as completions. Whoever comes back too early joins the second line, and not the end of the first.
    fn wait(&mut self, turn: Turn, policy: &WindowPolicy, now: Millis) -> Option<f64> {
        let places = self.places();
        let (free, idle) = (self.used() + 1.0 <= places, self.used() * 2.0 < places);
        let now = now as f64;
        let last = now + millis(policy.wait_at_most) as f64;
        match turn {
            Turn::Urgent if self.used() + 1.0 <= self.limit => None,
            Turn::Urgent => Some(self.interval),
            Turn::Waited if free => {
                if idle {
                    self.interval = (self.interval * QUICKER).max(1.0);
                }
                None
            }
            Turn::Waited => {
                self.again = (now.max(self.again) + self.interval).min(last);
                Some(self.again - now)
            }
            Turn::Newcomer if free && (idle || self.next.max(self.again) <= now) => None,
            Turn::Newcomer => {
                self.next = (now.max(self.next).max(self.again) + self.interval).min(last);
                Some(self.next - now)
            }
        }
    }

    fn admit(&mut self, ask: &Ask, now: Millis) -> Admission {
        let deadline = now.saturating_add(millis(ask.time_left));
        self.latest = self.latest.max(deadline);
        self.in_flight.insert(ask.id.clone(), deadline);
        Admission::Admitted
    }
}

fn soon(wait: f64) -> Duration {
    Duration::from_millis(wait.ceil().max(SOONEST) as u64)
}

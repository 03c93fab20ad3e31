//! What a gateway's window looks like from outside.

use super::{Window, WindowPolicy};
use crate::registry::memory::Millis;
use protocol::Timestamp;
use std::time::Duration;

/// What is known of a gateway that was used lately.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowState {
    /// How many commands it may have in flight: what it was seen to cope with.
    pub limit: f64,
    /// How many it has.
    pub in_flight: usize,
    /// When a label that comes now would have its turn, where there is a line.
    pub waiting_until: Option<Timestamp>,
    /// How far apart completions are while the window is full.
    pub interval: Duration,
    /// Whether it is avoided.
    pub breaker: Breaker,
}

/// Whether a gateway is avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// It is used.
    Closed {
        /// Timeouts since it last answered.
        failures: u32,
    },
    /// It keeps failing, and is sent nothing.
    Open {
        /// Until then.
        until: Timestamp,
    },
    /// It kept failing, and is sent one command at a time until it answers.
    HalfOpen {
        /// That command is in flight.
        probing: bool,
    },
}

impl Window {
    pub(in crate::registry) fn view(mut self, policy: &WindowPolicy, now: Millis) -> WindowState {
        self.purge(policy, now);
        let turn = self.next.max(self.again) as Millis;
        let breaker = match self.open_until {
            0 => Breaker::Closed { failures: self.failures },
            until if now < until => Breaker::Open { until: Timestamp::from_unix_millis(until) },
            _ => Breaker::HalfOpen { probing: self.probe.is_some() },
        };
        WindowState {
            limit: self.limit,
            in_flight: self.in_flight.len(),
            waiting_until: (turn > now).then(|| Timestamp::from_unix_millis(turn)),
            interval: Duration::from_secs_f64(self.interval / 1000.0),
            breaker,
        }
    }
}

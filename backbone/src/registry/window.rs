//! How much each gateway may have in flight, when labels that found no place come back, and gateways that keep failing.

mod admit;
#[cfg(test)]
mod differential;
mod settle;
#[cfg(test)]
mod simulation;
mod state;
mod store;
mod view;

pub(super) use state::Window;
pub use view::{Breaker, WindowState};

use protocol::{CorrelationId, GatewayMac, Turn};
use std::time::Duration;

/// How long Redis or the memory remembers the window of a gateway that is not used.
pub(super) const KEEP: Duration = Duration::from_secs(3600);

/// Limits of gateways' windows and breakers.
#[derive(Debug, Clone)]
pub struct WindowPolicy {
    /// How many commands a gateway that is not known yet may have in flight.
    pub initial: u16,
    /// How many at most, whatever it acknowledges.
    pub most: u16,
    /// A label that finds no place comes back after this time at the latest.
    pub wait_at_most: Duration,
    /// After how many timeouts without any answer the gateway is avoided.
    pub breaker_after: u16,
    /// For how long, before one command probes it.
    pub open_for: Duration,
    /// For how long at most: each probe that fails doubles the time.
    pub open_for_at_most: Duration,
}

/// What gateways can take, as every process is told that counts it.
#[derive(Debug, Clone, clap::Args)]
pub struct WindowArgs {
    /// How many commands a gateway that is not known yet may have in flight; what it can take is learnt from its answers
    #[arg(long, env = "GATEWAY_WINDOW", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_window: u16,

    /// How many commands a gateway may have in flight, whatever it acknowledges
    #[arg(long, env = "GATEWAY_WINDOW_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_window_max: u16,

    /// After how many timeouts in a row a gateway is avoided for a while
    #[arg(long, env = "GATEWAY_BREAKER_AFTER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_breaker_after: u16,
}

impl WindowArgs {
    /// The limits that follow.
    pub fn policy(&self) -> WindowPolicy {
        WindowPolicy {
            initial: self.gateway_window.min(self.gateway_window_max),
            most: self.gateway_window_max,
            breaker_after: self.gateway_breaker_after,
            ..WindowPolicy::default()
        }
    }
}

impl Default for WindowPolicy {
    fn default() -> Self {
        Self {
            initial: 16,
            most: 256,
            wait_at_most: Duration::from_secs(600),
            breaker_after: 5,
            open_for: Duration::from_secs(5),
            open_for_at_most: Duration::from_secs(120),
        }
    }
}

/// RPCs that want places in a gateway's window.
#[derive(Debug, Clone)]
pub struct Acquire {
    /// The gateway.
    pub gateway: GatewayMac,
    /// The RPCs, in the order in which they are considered.
    pub rpcs: Vec<Ask>,
}

/// An RPC that wants a place.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The RPC.
    pub id: CorrelationId,
    /// By what right.
    pub claim: Claim,
    /// How long the gateway has to answer. The place is free again after that, whatever happens.
    pub time_left: Duration,
}

/// By what right an RPC has a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It asks for one; whether it is its turn depends on this.
    Asks(Turn),
    /// It was sent without asking, as there were places left. It is counted now, unless it has ended meanwhile.
    Sent,
}

/// What came of asking for places in one gateway's window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acquired {
    /// Whether each RPC has its place, in their order.
    pub admissions: Vec<Admission>,
    /// How many places are left; none as long as anybody waits in line, or the gateway has just failed.
    pub left: u32,
}

/// Whether an RPC has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has. Asking again with the same ID takes no second one.
    Admitted,
    /// The window is full, or others come before.
    Full {
        /// When the label should come back, as one that has waited.
        retry_after: Duration,
    },
    /// The gateway keeps failing: another one should be tried, or this one later.
    Failing {
        /// When the gateway may be probed. All labels are told the same: spread them.
        retry_after: Duration,
    },
}

/// An RPC that no longer needs its place.
#[derive(Debug, Clone)]
pub struct Release {
    /// The gateway that was asked.
    pub gateway: GatewayMac,
    /// The RPC.
    pub id: CorrelationId,
    /// How it ended.
    pub how: Ended,
    /// It was sent for certain, so that it has a place, or will have one: see [`Claim::Sent`].
    pub was_sent: bool,
}

/// How an RPC ended at its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The command was carried out.
    Acknowledged,
    /// The gateway refused for a reason that has nothing to do with its load.
    Refused,
    /// The gateway has too much to do: `queue_full`, `retry`, `insufficient_resources`.
    PushedBack,
    /// The gateway answered that it is out of order: as bad as no answer.
    Failed,
    /// The command certainly did not reach the gateway.
    NotSent,
}

//! A message as it is taken from a queue.

use protocol::{Turn, Wait};
use std::time::Duration;

/// A delivery that is to be settled, by its number with its consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// How many deliveries may be unsettled, and when they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// So many; each is acknowledged as soon as it is settled.
    Each(u16),
    /// So many; those that are settled within some milliseconds are acknowledged with one frame, while the consumer
    /// is asked for [`next`](super::Consumer::next) messages.
    Together(u16),
    /// No limit and no acknowledgement: the broker forgets a message when it has sent it.
    Unacknowledged,
}

/// A message from a queue.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to settle it by.
    pub ticket: Ticket,
    /// The body.
    pub body: Vec<u8>,
    /// The property `correlation_id`.
    pub correlation_id: Option<String>,
    /// The property `reply_to`.
    pub reply_to: Option<String>,
    /// The property `expiration`.
    pub expiration: Option<Duration>,
    /// The property `timestamp`, in seconds since the Unix epoch.
    pub timestamp_seconds: Option<u64>,
    /// The header of RabbitMQ's timestamp interceptor, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<u64>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Why it is a dead letter: the header `x-reason`, or RabbitMQ's own reason.
    pub reason: Option<String>,
    /// Whose turn it is, by the property `priority`.
    pub turn: Turn,
    /// How it has waited: the header `x-wait`.
    pub wait: Option<Wait>,
}

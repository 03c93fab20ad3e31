//! When an answer shows, or may show, that a label has gone back to an older version.

use tokio::time::Instant;

/// Repairs for answers that belong to no remembered RPC: so many per second...
const PER_SECOND: f64 = 50.0;
/// ...and so many at once.
const BURST: f64 = 500.0;
/// An RPC's ID older than this proves nothing about what the label shows now.
const RECENT_MS: u64 = 3_600_000;

/// Limits repairs that rest on a suspicion only. After Redis has lost its data, an answer to a forgotten RPC may have
/// written an old version, and writing the newest again is the safe reply; but a gateway that invents answers must
/// not keep the radio busy.
#[derive(Debug)]
pub(crate) struct SuspicionLimit {
    tokens: f64,
    at: Instant,
}

impl SuspicionLimit {
    pub(crate) fn new() -> Self {
        Self { tokens: BURST, at: Instant::now() }
    }

    /// Whether one more may be repaired now.
    pub(crate) fn allow(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * PER_SECOND).min(BURST);
        self.at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Whether an ID that no remembered RPC has may be that of a forgotten one: the backbone's own tell when they were
/// made.
pub(crate) fn may_be_forgotten(made_ms: Option<u64>, now_ms: u64) -> bool {
    made_ms.is_some_and(|made| made <= now_ms + 60_000 && now_ms.saturating_sub(made) <= RECENT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn suspicions_are_limited() {
        let mut limit = SuspicionLimit::new();
        assert_eq!((0..1000).filter(|_| limit.allow()).count(), 500);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((0..1000).filter(|_| limit.allow()).count(), 100);
    }

    #[test]
    fn only_a_recent_id_is_suspicious() {
        let now = 10_000_000;
        assert!(may_be_forgotten(Some(now - 1000), now));
        assert!(!may_be_forgotten(Some(now - RECENT_MS - 1), now));
        assert!(!may_be_forgotten(Some(now + 100_000), now));
        assert!(!may_be_forgotten(None, now));
    }
}

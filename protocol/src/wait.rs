//! Labels that are told to come back later.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Waiting for a place at a gateway counts against a task's deadline when it has lasted so long in all, so that nothing
/// waits for ever: a day.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What a label waits for: the `error` of a reply that says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum WaitFor {
    /// A place at its gateway, which has its window full: the label holds a place in the line.
    GatewayFull,
    /// That its gateway, which keeps failing, is tried again.
    GatewayFailing,
    /// Its next attempt, after several that failed.
    NextAttempt,
    /// That its batch is resumed.
    BatchPaused,
}

impl WaitFor {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::GatewayFull, Self::GatewayFailing, Self::NextAttempt, Self::BatchPaused];

    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayFull => "gateway_full",
            Self::GatewayFailing => "gateway_failing",
            Self::NextAttempt => "next_attempt",
            Self::BatchPaused => "batch_paused",
        }
    }

    /// What is read from the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == text)
    }
}

impl fmt::Display for WaitFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a task's message tells of the waiting of its labels: as JSON, in the header `x-wait`.
///
/// Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Wait {
    /// What for.
    #[serde(rename = "for")]
    pub what: WaitFor,
    /// Since when, this time.
    pub since_ms: i64,
    /// When it is due: nobody need be asked before that.
    pub due_ms: i64,
    /// How long the labels had waited before, without their deadline coming closer.
    pub waited_ms: u64,
    /// How long their batch had been paused before: no deadline comes closer in that, however long it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paused_ms: u64,
    /// When the task was first delivered.
    pub first_delivery_ms: i64,
    /// How many RPCs were made for each of the labels, but for those that were told to come back.
    pub attempts: u32,
    /// Why the latest of them failed, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Wait {
    /// As the header's text.
    pub fn to_json(&self) -> String {
        // It has text keys only, so it can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the header's text; what can't be read has not waited.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// How long is left until it is due.
    pub fn left(&self, now: Timestamp) -> Duration {
        millis_between(now.unix_millis(), self.due_ms)
    }

    /// How long the labels have waited by now, without their deadline coming closer.
    pub fn waited(&self, now: Timestamp) -> Duration {
        let before = Duration::from_millis(self.waited_ms);
        match self.what {
            WaitFor::GatewayFull => before + millis_between(self.since_ms, now.unix_millis()),
            WaitFor::GatewayFailing | WaitFor::NextAttempt | WaitFor::BatchPaused => before,
        }
    }

    /// How long their batch has been paused by now.
    pub fn paused(&self, now: Timestamp) -> Duration {
        let before = Duration::from_millis(self.paused_ms);
        if self.what == WaitFor::BatchPaused {
            before + millis_between(self.since_ms, now.unix_millis())
        } else {
            before
        }
    }

    /// When the task was first delivered.
    pub fn first_delivery(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.first_delivery_ms)
    }
}

const fn is_zero(millis: &u64) -> bool {
    *millis == 0
}

/// Zero where the end comes first.
fn millis_between(begin: i64, end: i64) -> Duration {
    Duration::from_millis(u64::try_from(end.saturating_sub(begin)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait(what: WaitFor) -> Wait {
        Wait {
            what,
            since_ms: 10_000,
            due_ms: 14_000,
            waited_ms: 3_000,
            paused_ms: 0,
            first_delivery_ms: 1_000,
            attempts: 2,
            reason: None,
        }
    }

    #[test]
    fn it_is_written_as_the_contract_says() {
        let json = r#"{"for":"gateway_full","since_ms":10000,"due_ms":14000,"waited_ms":3000,"first_delivery_ms":1000,"attempts":2}"#;
        assert_eq!(wait(WaitFor::GatewayFull).to_json(), json);
        assert_eq!(Wait::parse(json), Some(wait(WaitFor::GatewayFull)));
        assert_eq!(Wait::parse("soon"), None);
    }

    #[test]
    fn only_waiting_for_a_place_is_free() {
        let now = Timestamp::from_unix_millis(15_000);
        assert_eq!(wait(WaitFor::GatewayFull).waited(now), Duration::from_secs(8), "until now, not until it was due");
        assert_eq!(wait(WaitFor::GatewayFailing).waited(now), Duration::from_secs(3));
        assert_eq!(wait(WaitFor::GatewayFull).paused(now), Duration::ZERO);
        let paused = Wait { paused_ms: 4_000, ..wait(WaitFor::BatchPaused) };
        assert_eq!((paused.waited(now), paused.paused(now)), (Duration::from_secs(3), Duration::from_secs(9)));
        assert_eq!(Wait::parse(&paused.to_json()), Some(paused));
        assert_eq!(wait(WaitFor::GatewayFull).left(now), Duration::ZERO);
        assert_eq!(wait(WaitFor::GatewayFull).left(Timestamp::from_unix_millis(13_000)), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_times_panic(since_ms: i64, due_ms: i64, now: i64) {
            let wait = Wait { since_ms, due_ms, ..wait(WaitFor::GatewayFull) };
            let now = Timestamp::from_unix_millis(now);
            let _ = (wait.left(now), wait.waited(now), wait.paused(now), wait.first_delivery());
        }
    }
}

//! What holds a label back, or ends it: that its batch is paused or cancelled.

use crate::park::is_early;
use backbone::ledger::Watched;
use protocol::{BatchState, Timestamp, Wait, WaitFor, names::amqp};
use std::time::Duration;

/// A batch was just paused: whether it was resumed is asked so soon.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// And at least so often, however long it has been paused.
const LONGEST_WAIT: Duration = Duration::from_secs(amqp::LONGEST_WAIT_SECONDS);

/// The batches that a label is asked for, and may be held by: its task's, and where that is a repair, the one of what is
/// sent again. Most have none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders(Vec<Watched>);

/// Why a label is not to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Not now.
    Paused,
    /// Not at all.
    Cancelled,
}

impl Holders {
    pub(crate) fn new(batches: impl IntoIterator<Item = Watched>) -> Self {
        Self(batches.into_iter().collect())
    }

    /// Whether the label is held at this moment.
    pub(crate) fn now(&self) -> Option<Held> {
        most(self.0.iter().map(Watched::state))
    }
}

fn most(states: impl Iterator<Item = BatchState>) -> Option<Held> {
    states.fold(None, |held, state| match (held, state) {
        (Some(Held::Cancelled), _) | (_, BatchState::Cancelled) => Some(Held::Cancelled),
        (_, BatchState::Paused) => Some(Held::Paused),
        (held, BatchState::Running) => held,
    })
}

/// How the batch of a task stands; `None`: it has none.
pub(crate) fn standing(batch: Option<&Watched>) -> Option<BatchState> {
    batch.map(Watched::state)
}

/// How a task that comes back goes on waiting, if it does.
pub(crate) fn still(wait: &Wait, batch: Option<BatchState>, at: Timestamp) -> Option<Wait> {
    match (batch, wait.what) {
        (Some(BatchState::Cancelled), _) | (Some(BatchState::Running), WaitFor::BatchPaused) => None,
        (Some(BatchState::Paused), WaitFor::BatchPaused) if !is_early(wait, at) => {
            let away = i64::try_from(time_away(wait.paused(at)).as_millis()).unwrap_or(i64::MAX);
            Some(Wait { due_ms: at.unix_millis().saturating_add(away), ..wait.clone() })
        }
        // From now on its deadline comes no closer.
        (Some(BatchState::Paused), WaitFor::GatewayFailing | WaitFor::NextAttempt) if is_early(wait, at) => {
            let (since_ms, away) = (at.unix_millis(), i64::try_from(FIRST_WAIT.as_millis()).unwrap_or(i64::MAX));
            Some(Wait { what: WaitFor::BatchPaused, since_ms, due_ms: since_ms.saturating_add(away), ..wait.clone() })
        }
        _ => is_early(wait, at).then(|| wait.clone()),
    }
}

/// How long a label is away whose batch has been paused for so long: as long again, within bounds, so that a short pause
/// ends soon and a long one costs little.
pub(crate) fn time_away(paused: Duration) -> Duration {
    paused.clamp(FIRST_WAIT, LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use BatchState::{Cancelled, Paused, Running};

    #[test]
    fn what_is_cancelled_is_not_only_paused() {
        let held = |states: &[BatchState]| most(states.iter().copied());
        assert_eq!(held(&[]), None);
        assert_eq!(held(&[Running, Running]), None);
        assert_eq!(held(&[Paused, Running]), Some(Held::Paused));
        assert_eq!(held(&[Running, Paused]), Some(Held::Paused));
        assert_eq!(held(&[Cancelled, Paused]), Some(Held::Cancelled));
        assert_eq!(held(&[Paused, Cancelled]), Some(Held::Cancelled));
    }

    #[test]
    fn what_comes_back_goes_on_waiting_only_for_a_reason() {
        let at = |seconds: i64| Timestamp::from_unix_millis(seconds * 1_000);
        let wait = |what| Wait {
            what,
            since_ms: 0,
            due_ms: 10_000,
            waited_ms: 0,
            paused_ms: 5_000,
            first_delivery_ms: 0,
            attempts: 0,
            reason: None,
        };
        let due = |what, batch, seconds| still(&wait(what), batch, at(seconds)).map(|wait| wait.due_ms);
        for batch in [None, Some(Running), Some(Paused)] {
            assert_eq!(due(WaitFor::GatewayFull, batch, 5), Some(10_000), "its turn has not come");
            assert_eq!(due(WaitFor::GatewayFull, batch, 10), None);
        }
        assert_eq!(due(WaitFor::GatewayFull, Some(Cancelled), 5), None, "it need not wait for its end");
        assert_eq!(due(WaitFor::BatchPaused, Some(Cancelled), 5), None);
        assert_eq!(due(WaitFor::BatchPaused, Some(Running), 5), None, "it was resumed");
        assert_eq!(due(WaitFor::BatchPaused, Some(Paused), 5), Some(10_000));
        assert_eq!(due(WaitFor::BatchPaused, Some(Paused), 10), Some(25_000), "for as long again");
        let longer = still(&wait(WaitFor::BatchPaused), Some(Paused), at(100)).unwrap();
        assert_eq!((longer.due_ms, longer.since_ms), (164_000, 0), "it has been paused all the time");
        let failing = still(&wait(WaitFor::GatewayFailing), Some(Paused), at(5)).unwrap();
        assert_eq!((failing.what, failing.due_ms), (WaitFor::BatchPaused, 7_000), "its deadline stands still");
        assert_eq!(failing.paused(at(9)).as_secs(), 5 + 4, "from when that was noticed");
        assert_eq!(due(WaitFor::GatewayFailing, Some(Running), 5), Some(10_000));
        assert_eq!(due(WaitFor::BatchPaused, None, 5), Some(10_000), "a repair's, which the label tells");
        assert_eq!(due(WaitFor::BatchPaused, None, 10), None);
    }

    #[test]
    fn a_long_pause_is_looked_at_seldom() {
        let seconds = |paused| time_away(Duration::from_secs(paused)).as_secs();
        assert_eq!((seconds(0), seconds(10), seconds(86_400)), (2, 10, 64));
    }
}

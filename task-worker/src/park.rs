//! What becomes of a task whose labels wait: copies of it, narrowed to them, that come back later.

use protocol::{LabelMac, Priority, Task, Timestamp, Version, Wait, WaitFor, names::amqp};
use std::{collections::BTreeMap, time::Duration};

/// An urgent task is never longer away.
const URGENT_WAIT: Duration = Duration::from_secs(1);
/// No task is longer away: meanwhile nobody would notice that it is superseded.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// What comes back earlier than it is due by no more than this was due by another host's clock.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(250);

/// A task for labels that all wait for the same, about as long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) task: Task,
    pub(crate) wait: Wait,
}

/// How long a label is away that waits for this and was told to come back after so long.
pub(crate) fn time_away(priority: Priority, what: WaitFor, told: Duration) -> Duration {
    match priority {
        // Of many urgent tasks that are paused for a day, each would come back every second.
        _ if what == WaitFor::BatchPaused => told,
        Priority::Normal => told.min(LONGEST_WAIT),
        Priority::Urgent => told.min(URGENT_WAIT),
    }
}

/// Whether a task is back before anybody need be asked: over RabbitMQ there are few delays to choose from.
pub(crate) fn is_early(wait: &Wait, now: Timestamp) -> bool {
    wait.left(now) > CLOCK_TOLERANCE
}

/// What labels that travel together share: the delay in seconds, what they wait for, how often they were asked, and why
/// in vain.
type Alike<'a> = (u64, WaitFor, u32, Option<&'a str>);

/// Copies of a task for the labels that wait, and for no other, with the version and the fields that it has by now. As
/// few as there are queues, reasons and numbers of attempts to tell apart: of those who share one, the longest wait and
/// the earliest time count for all.
pub(crate) fn parcels(
    task: &Task,
    version: Option<Version>,
    waiting: &[(LabelMac, Wait)],
    now: Timestamp,
) -> Vec<Parcel> {
    let mut groups: BTreeMap<Alike<'_>, (Vec<LabelMac>, Wait)> = BTreeMap::new();
    for (label, wait) in waiting {
        let seconds = amqp::wait_seconds(task.priority, wait.left(now));
        let key = (seconds, wait.what, wait.attempts, wait.reason.as_deref());
        let (labels, shared) = groups.entry(key).or_insert_with(|| (Vec::new(), wait.clone()));
        labels.push(*label);
        shared.since_ms = shared.since_ms.min(wait.since_ms);
        shared.due_ms = shared.due_ms.min(wait.due_ms);
        shared.waited_ms = shared.waited_ms.max(wait.waited_ms);
        shared.paused_ms = shared.paused_ms.max(wait.paused_ms);
        shared.first_delivery_ms = shared.first_delivery_ms.min(wait.first_delivery_ms);
    }
    let parcel = |(labels, wait)| {
        let task = Task { labels: Some(labels), version: version.or(task.version), ..task.clone() };
        Parcel { task, wait }
    };
    groups.into_values().map(parcel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(0)
    }

    fn label(number: u8) -> LabelMac {
        LabelMac::from_octets([0, 0, 0, 0, 0, number])
    }

    fn wait(what: WaitFor, due_ms: i64, attempts: u32) -> Wait {
        Wait { what, since_ms: 0, due_ms, waited_ms: 0, paused_ms: 0, first_delivery_ms: 0, attempts, reason: None }
    }

    fn task(priority: Priority) -> Task {
        Task { priority, ..Task::repair("t-1".parse().unwrap(), label(1)) }
    }

    #[test]
    fn only_labels_that_wait_alike_travel_together() {
        use WaitFor::{GatewayFailing, GatewayFull};
        let waiting = [
            (label(1), wait(GatewayFull, 5_000, 0)),
            (label(2), Wait { waited_ms: 7, since_ms: -1, ..wait(GatewayFull, 4_000, 0) }),
            (label(3), wait(GatewayFull, 9_000, 0)),
            (label(4), wait(GatewayFailing, 5_000, 0)),
            (label(5), wait(GatewayFull, 5_000, 1)),
        ];
        let version = Version::try_from(7).ok();
        let parcels = parcels(&task(Priority::Normal), version, &waiting, now());
        let labels: Vec<_> = parcels.iter().map(|parcel| parcel.task.labels.clone().unwrap()).collect();
        assert_eq!(labels, [vec![label(1), label(2)], vec![label(5)], vec![label(4)], vec![label(3)]]);
        assert_eq!(parcels[0].wait, Wait { waited_ms: 7, since_ms: -1, ..wait(GatewayFull, 4_000, 0) });
        assert!(parcels.iter().all(|parcel| parcel.task.version == version), "the same each time it comes");
        let urgent = super::parcels(&task(Priority::Urgent), None, &waiting[..3], now());
        assert_eq!(urgent.len(), 1, "they have one queue");
    }

    #[test]
    fn nobody_is_away_for_too_long() {
        let minute = Duration::from_secs(60);
        let away = |priority, told| time_away(priority, WaitFor::GatewayFull, told);
        assert_eq!(away(Priority::Normal, minute), minute);
        assert_eq!(away(Priority::Urgent, minute), Duration::from_secs(1));
        assert_eq!(away(Priority::Normal, Duration::MAX), Duration::from_secs(3600));
        assert_eq!(time_away(Priority::Urgent, WaitFor::BatchPaused, minute), minute);
    }

    #[test]
    fn who_is_early_waits_for_the_rest() {
        assert!(is_early(&wait(WaitFor::GatewayFull, 1_000, 0), now()));
        assert!(!is_early(&wait(WaitFor::GatewayFull, 100, 0), now()));
        assert!(!is_early(&wait(WaitFor::GatewayFull, -100, 0), now()));
    }
}

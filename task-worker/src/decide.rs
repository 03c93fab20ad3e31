//! What a task means for a label, by what the ledger knows of it.

use backbone::{
    ledger::{Desired, LabelState, What},
    queue::Delivery,
};
use protocol::{Action, Fields, GatewayMac, Outcome, ResultMessage, Task, Version};
use std::sync::Arc;

/// What is to be done with one label of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It has its outcome already: only the result is to be published, again perhaps.
    Recorded(Box<ResultMessage>),
    /// Its outcome is known without asking the label.
    Settle { outcome: Outcome, reason: Option<String>, gateway: Option<GatewayMac> },
    /// A gateway is to be asked.
    Drive(Drive),
    /// A repair of a label of which nothing is desired.
    Nothing,
}

/// What a gateway is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drive {
    /// What the label shows afterwards; only what shows something new has a version.
    pub(crate) version: Option<Version>,
    pub(crate) fields: Arc<Fields>,
}

impl Drive {
    /// The first content of a version counts: what the ledger holds is sent, not the task's own.
    fn to(desired: &Desired) -> Self {
        Self { version: Some(desired.version), fields: Arc::clone(&desired.fields) }
    }
}

/// What to tell the ledger when a task begins with a label.
pub(crate) fn opening(task: &Task, version: Option<Version>, fields: &Arc<Fields>) -> What {
    match (task.action, version) {
        (Action::PriceUpdate, Some(version)) => What::Desire { version, fields: Arc::clone(fields) },
        (Action::Repair, _) => What::Forget,
        _ => What::Look,
    }
}

/// Decides about one label, after the ledger has recorded what the task wants of it.
pub(crate) fn decide(action: Action, version: Option<Version>, fields: &Arc<Fields>, state: &LabelState) -> Decision {
    if let Some(recorded) = &state.recorded {
        return Decision::Recorded(Box::new(recorded.clone()));
    }
    match (action, version, &state.desired) {
        (Action::PriceUpdate, Some(version), Some(desired)) if desired.version > version => {
            let reason = Some(format!("version {} is desired", desired.version));
            Decision::Settle { outcome: Outcome::Superseded, reason, gateway: None }
        }
        (Action::PriceUpdate, _, Some(desired)) => match &state.shown {
            Some(shown) if shown.version == desired.version => {
                Decision::Settle { outcome: Outcome::Shown, reason: None, gateway: shown.gateway }
            }
            _ => Decision::Drive(Drive::to(desired)),
        },
        // Whatever the ledger says that the label shows: an acknowledgement from before the label went back may just
        // have been recorded.
        (Action::Repair, _, Some(desired)) => Decision::Drive(Drive::to(desired)),
        (Action::Repair, _, None) => Decision::Nothing,
        _ => Decision::Drive(Drive { version, fields: Arc::clone(fields) }),
    }
}

/// The version of a price update that names none: the task's own time in milliseconds, by the broker's timestamp, its
/// UUIDv7, or its AMQP timestamp, whichever is finer. `None`: it has no time.
pub(crate) fn version_by_time(task: &Task, delivery: &Delivery) -> Option<Version> {
    let seconds = || delivery.timestamp_seconds.map(|seconds| seconds.saturating_mul(1000));
    let millis = delivery.timestamp_ms.or_else(|| task.task_id.unix_millis()).or_else(seconds)?;
    Version::try_from(millis).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::ledger::Shown;
    use protocol::Timestamp;

    fn version(number: u64) -> Version {
        Version::try_from(number).unwrap()
    }

    fn desired(number: u64) -> Option<Desired> {
        let (at, task_id) = (Timestamp::from_unix_millis(0), "t".parse().unwrap());
        Some(Desired { version: version(number), fields: Arc::default(), at, task_id, batch: None })
    }

    fn shown(number: u64) -> Option<Shown> {
        let (at, task_id) = (Timestamp::from_unix_millis(0), "t".parse().unwrap());
        Some(Shown { version: version(number), fields: Arc::default(), at, task_id, gateway: None })
    }

    fn outcome(action: Action, number: Option<u64>, state: &LabelState) -> Option<Outcome> {
        match decide(action, number.map(version), &Arc::default(), state) {
            Decision::Settle { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    #[test]
    fn only_news_is_sent() {
        let state = |desired, shown| LabelState { desired, shown, ..LabelState::default() };
        let update = Action::PriceUpdate;
        assert_eq!(outcome(update, Some(5), &state(desired(6), None)), Some(Outcome::Superseded));
        assert_eq!(outcome(update, Some(5), &state(desired(5), shown(5))), Some(Outcome::Shown));
        assert_eq!(outcome(update, Some(5), &state(desired(5), shown(4))), None);
        assert_eq!(outcome(update, Some(5), &state(desired(5), None)), None);
        assert_eq!(outcome(Action::Blink, None, &state(desired(5), shown(5))), None);
    }

    #[test]
    fn a_repair_sends_what_is_desired() {
        let state = LabelState { desired: desired(6), shown: shown(6), ..LabelState::default() };
        let drive = Drive { version: Some(version(6)), fields: Arc::default() };
        assert_eq!(decide(Action::Repair, None, &Arc::default(), &state), Decision::Drive(drive));
        assert_eq!(decide(Action::Repair, None, &Arc::default(), &LabelState::default()), Decision::Nothing);
    }
}

//! Tasks: what the store backend asks for.

use crate::{BatchId, Fields, LabelMac, Priority, Sku, Store, TaskId, Version};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A task may name, or resolve to, at most so many labels.
pub const MAX_LABELS_PER_TASK: usize = 10_000;
/// A task's body has at most so many bytes.
pub const MAX_TASK_BYTES: usize = 1 << 20;
/// How long a task has from its first delivery, unless it says so itself.
pub const DEFAULT_TASK_TIMEOUT: Duration = Duration::from_millis(180_000);
/// The longest that a task may ask for: a week.
const MAX_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;

/// What is to be done with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Action {
    /// Show these fields from now on. The only action that has a version.
    PriceUpdate,
    /// Blink, so that a person finds the label.
    Blink,
    /// Answer, and change nothing.
    Ping,
    /// Draw again what is shown.
    Refresh,
    /// Show another page.
    Page,
    /// Show again what the ledger says that the label should show. The backbone asks this of itself when it
    /// notices that a label has gone back to an older version; an operator may ask it too.
    Repair,
}

/// Why a text is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("action {0:?}: expected price_update, blink, ping, refresh, page or repair")]
pub struct ActionError(String);

impl Action {
    /// Each action.
    pub const ALL: [Self; 6] = [Self::PriceUpdate, Self::Blink, Self::Ping, Self::Refresh, Self::Page, Self::Repair];

    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PriceUpdate => "price_update",
            Self::Blink => "blink",
            Self::Ping => "ping",
            Self::Refresh => "refresh",
            Self::Page => "page",
            Self::Repair => "repair",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = ActionError;
    fn from_str(text: &str) -> Result<Self, ActionError> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| ActionError(text.chars().take(80).collect()))
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "an action as a string")
    }
}

/// One thing to be done with some labels of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Task {
    /// The task's identity: a second task with the same one does nothing new.
    pub task_id: TaskId,
    /// The store that the labels belong to.
    pub store: Store,
    /// What is to be done.
    pub action: Action,
    /// The product. Needed where `labels` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// The labels; absent: those that the ledger binds to `sku` in `store`.
    #[cfg_attr(feature = "schema", schema(max_items = 10_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<LabelMac>>,
    /// The version of this change; absent: the task's own time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What to show, or what the action needs.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    /// The group of tasks that this one belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// How long the task may take from its first delivery, in milliseconds; absent: 180000.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 604_800_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether it overtakes others.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

/// Why a task can't be used: the text of the dead letter's `x-reason`.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It is too large.
    #[error("{0} bytes, expected at most {MAX_TASK_BYTES}")]
    TooLarge(usize),
    /// It is no JSON, lacks a field, or has one of the wrong shape; the text names it.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// It names neither labels nor a product.
    #[error("labels: absent, and so is sku; expected one of them")]
    NoTarget,
    /// It names too many labels.
    #[error("labels: {0} of them, expected at most {MAX_LABELS_PER_TASK}")]
    TooManyLabels(usize),
    /// It is a price update without a price.
    #[error("fields.price: absent, but a price_update needs one")]
    NoPrice,
    /// Its timeout is out of range.
    #[error("timeout_ms: {0}, expected 1 to {MAX_TIMEOUT_MS}")]
    Timeout(u64),
}

impl Task {
    /// Reads and checks a task; a label that is named twice counts once.
    ///
    /// # Errors
    /// Names the field that is wrong, its value and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, TaskError> {
        if body.len() > MAX_TASK_BYTES {
            return Err(TaskError::TooLarge(body.len()));
        }
        let mut task: Self = serde_json::from_slice(body)?;
        task.check()?;
        if let Some(labels) = &mut task.labels {
            labels.sort_unstable();
            labels.dedup();
        }
        Ok(task)
    }

    /// A task that shows a label again what it should show. Whoever notices that a label has gone back knows it by its
    /// MAC only: without a store, the results name the one that the ledger knows.
    pub fn repair(task_id: TaskId, label: LabelMac) -> Self {
        Self {
            task_id,
            store: Store::unknown(),
            action: Action::Repair,
            sku: None,
            labels: Some(vec![label]),
            version: None,
            fields: Fields::default(),
            batch: None,
            timeout_ms: None,
            priority: Priority::Normal,
        }
    }

    fn check(&self) -> Result<(), TaskError> {
        match &self.labels {
            None if self.sku.is_none() => return Err(TaskError::NoTarget),
            Some(labels) if labels.len() > MAX_LABELS_PER_TASK => return Err(TaskError::TooManyLabels(labels.len())),
            _ => {}
        }
        if self.action == Action::PriceUpdate && self.fields.price.is_none() {
            return Err(TaskError::NoPrice);
        }
        match self.timeout_ms {
            Some(ms) if !(1..=MAX_TIMEOUT_MS).contains(&ms) => Err(TaskError::Timeout(ms)),
            _ => Ok(()),
        }
    }

    /// How long the task may take from its first delivery.
    pub fn timeout(&self) -> Duration {
        self.timeout_ms.map_or(DEFAULT_TASK_TIMEOUT, Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = r#"{"task_id":"0198c0de-0000-7000-8000-000000000000","store":"sp-014","action":"price_update",
        "sku":"7891000100103","labels":["001a2b3c4d5e","00:1A:2B:3C:4D:5F","001a2b3c4d5e"],"version":42,
        "fields":{"name":"Furadeira 650W","price":"299.90","currency":"BRL"},
        "batch":"promo-2026-11","timeout_ms":180000,"colour":"unknown fields are ignored"}"#;

    fn error(change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> String {
        let mut task: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
        change(task.as_object_mut().unwrap());
        Task::parse(task.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_example_of_the_contract_is_read() {
        let task = Task::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(task.labels.as_ref().unwrap().len(), 2, "a label named twice counts once");
        assert_eq!(task.timeout(), DEFAULT_TASK_TIMEOUT);
        assert_eq!(Task::parse(&serde_json::to_vec(&task).unwrap()).unwrap(), task);
    }

    #[test]
    fn a_task_is_urgent_only_if_it_says_so() {
        let task = Task::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(task.priority, Priority::Normal);
        assert!(!serde_json::to_string(&task).unwrap().contains("priority"));
        let urgent = serde_json::to_string(&Task { priority: Priority::Urgent, ..task }).unwrap();
        assert!(urgent.ends_with(r#""priority":"urgent"}"#), "{urgent}");
        assert_eq!(Task::parse(urgent.as_bytes()).unwrap().priority, Priority::Urgent);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error(|t| drop(t.remove("store"))).contains("missing field `store`"));
        assert!(
            error(|t| drop(t.insert("action".into(), "explode".into())))
                .contains("action \"explode\": expected price_update")
        );
        assert!(error(|t| drop(t.insert("labels".into(), ["nope"].into()))).contains("label MAC \"nope\""));
        assert!(error(|t| t["fields"]["price"] = "-1".into()).contains("fields.price: price \"-1\""));
        assert!(error(|t| drop(t.remove("fields"))).contains("fields.price: absent"));
        assert!(error(|t| drop(t.insert("timeout_ms".into(), 0.into()))).contains("timeout_ms: 0"));
        assert!(error(|t| drop(t.insert("priority".into(), "asap".into()))).contains("expected normal or urgent"));
        let neither = |t: &mut serde_json::Map<_, _>| t.retain(|key, _| key != "sku" && key != "labels");
        assert!(error(neither).contains("labels: absent, and so is sku"));
        assert!(Task::parse(&vec![b' '; MAX_TASK_BYTES + 1]).unwrap_err().to_string().contains("1048577 bytes"));
    }

    #[test]
    fn a_repair_is_a_task_like_any_other() {
        let task = Task::repair(TaskId::repair(uuid::Uuid::nil()), "001a2b3c4d5e".parse().unwrap());
        assert_eq!(Task::parse(&serde_json::to_vec(&task).unwrap()).unwrap(), task);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Task::parse(&body);
        }

        #[test]
        fn no_damage_to_a_task_panics(at in 0..EXAMPLE.len(), byte: u8) {
            let mut body = EXAMPLE.as_bytes().to_vec();
            body[at] = byte;
            let _ = Task::parse(&body);
        }
    }
}

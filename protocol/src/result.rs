//! Results: how each label of a task ended.

use crate::{BatchId, GatewayMac, LabelMac, Sku, Store, TaskId, Timestamp, Version};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How a label of a task ended. Each is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// The gateway acknowledged this version (or this action).
    Shown,
    /// A newer version is desired or already shown.
    Superseded,
    /// The label or its gateway refused for good.
    Rejected,
    /// No route, or no answer by the deadline, after all attempts.
    Unreachable,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Shown, Self::Superseded, Self::Rejected, Self::Unreachable];

    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Superseded => "superseded",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        found.ok_or_else(|| format!("outcome {text:?}: expected shown, superseded, rejected or unreachable"))
    }
}

/// How one label of one task ended: what is recorded in the ledger and published to the results exchange.
///
/// Published at least once, and each time the same: consumers tell repeats by `task_id` and `label`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResultMessage {
    /// The task.
    pub task_id: TaskId,
    /// The store.
    pub store: Store,
    /// The product, where the task named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// The label.
    pub label: LabelMac,
    /// The version that was asked for; only a price update has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is not `shown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The gateway that answered last, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayMac>,
    /// How many RPCs were made.
    pub attempts: u32,
    /// Milliseconds from the task's first delivery to this outcome.
    pub latency_ms: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The task's batch, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_contract_says() {
        let json = r#"{"task_id":"t-1","store":"sp-014","sku":"7891000100103","label":"001a2b3c4d5e","version":42,"outcome":"shown","gateway":"00fa7e000001","attempts":1,"latency_ms":12,"at":"2026-11-21T09:00:00Z"}"#;
        let result: ResultMessage = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&result).unwrap(), json);
    }

    #[test]
    fn every_outcome_is_read_back() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
        }
        assert!("lost".parse::<Outcome>().is_err());
    }
}

//! Batches: tasks that are held or given up together.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The reason of a label that a batch was cancelled for, beside the outcome `rejected`.
pub const CANCELLED: &str = "cancelled";

/// Whether the tasks of a batch are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// They are.
    #[default]
    Running,
    /// They wait, without their deadlines coming closer, until somebody resumes the batch.
    Paused,
    /// What has no outcome yet is rejected. That is final.
    Cancelled,
}

impl BatchState {
    /// Each state.
    pub const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::Cancelled];

    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => CANCELLED,
        }
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BatchState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("state {text:?}: expected running, paused or cancelled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back() {
        for state in BatchState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("stopped".parse::<BatchState>().is_err());
    }
}

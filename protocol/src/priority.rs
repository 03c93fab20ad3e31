//! What overtakes what.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// Whether a task overtakes others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Priority {
    /// It takes its turn.
    #[default]
    Normal,
    /// It overtakes what is not: a price drop, a blink at the shelf.
    Urgent,
}

/// Why a text is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("priority {0:?}: expected normal or urgent")]
pub struct PriorityError(String);

impl Priority {
    /// Each priority.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Urgent];

    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }

    /// What need not be written.
    pub(crate) fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = PriorityError;
    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| PriorityError(text.chars().take(80).collect()))
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a priority as a string")
    }
}

/// Whose turn an RPC is, among those that want a place at the same gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turn {
    /// It has not waited for this gateway.
    #[default]
    Newcomer,
    /// It was told to come back, and does.
    Waited,
    /// It belongs to an urgent task.
    Urgent,
}

impl Turn {
    /// Each turn.
    pub const ALL: [Self; 3] = [Self::Newcomer, Self::Waited, Self::Urgent];
}

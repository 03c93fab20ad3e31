//! What is wrong in a file.

use serde::Serialize;
use std::{collections::HashSet, fmt};

/// A cell that can't be used, or, where it has no column, a whole line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BadCell {
    pub(crate) file: String,
    pub(crate) line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<&'static str>,
    pub(crate) value: String,
    pub(crate) expected: String,
}

impl fmt::Display for BadCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column.unwrap_or("the line");
        write!(f, "{}:{}: {column} is {:?}, expected {}", self.file, self.line, self.value, self.expected)
    }
}

/// How many lines these cells are in.
pub(crate) fn lines_in(bad: &[BadCell]) -> usize {
    bad.iter().map(|cell| cell.line).collect::<HashSet<_>>().len()
}

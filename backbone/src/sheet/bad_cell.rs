//! What is wrong in a file.

use serde::Serialize;
use std::{collections::HashSet, fmt};

/// A cell that can't be used, or, where it has no column, a whole line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadCell {
    /// The file, as whoever reads it calls it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The column; absent: the whole line.
    pub column: Option<&'static str>,
    /// What is there.
    pub value: String,
    /// What should be.
    pub expected: String,
}

impl fmt::Display for BadCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column.unwrap_or("the line");
        write!(f, "{}:{}: {column} is {:?}, expected {}", self.file, self.line, self.value, self.expected)
    }
}

/// How many lines these cells are in.
pub fn lines_in(bad: &[BadCell]) -> usize {
    bad.iter().map(|cell| cell.line).collect::<HashSet<_>>().len()
}

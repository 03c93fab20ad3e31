//! Where a command's words go.

use crate::failure::{Failure, FailureReport};
use anyhow::Context;
use backbone::sheet::BadCell;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{ErrorKind, Write},
};

/// How answers are given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// As JSON, for machines.
    pub(crate) json: bool,
}

impl Output {
    /// The answer, on standard output.
    pub(crate) fn answer<R: Serialize + Display>(self, report: &R) -> Result<(), Failure> {
        let text = if self.json {
            serde_json::to_string(report).context("writing the answer as JSON")?
        } else {
            report.to_string()
        };
        match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written.context("writing the answer")?),
        }
    }

    /// What is wrong in a file, for people: JSON has it in its document.
    pub(crate) fn bad_cells(self, cells: &[BadCell]) {
        if !self.json {
            cells.iter().for_each(|cell| note(&cell.to_string()));
        }
    }

    /// Why there is no answer.
    pub(crate) fn failure(self, failure: &Failure) {
        self.bad_cells(failure.bad_cells());
        note(&format!("esl: {failure}"));
        if self.json {
            let report = FailureReport { error: failure.to_string(), bad_cells: failure.bad_cells() };
            let text = serde_json::to_string(&report).unwrap_or_default();
            // The exit code says it to whoever does not read this.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }
}

/// A line on standard error, whether anybody reads it or not.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Asks on the terminal; anything but yes is no.
pub(crate) fn agreed(question: &str) -> Result<bool, Failure> {
    eprint!("{question}");
    let mut answer = String::new();
    std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer)).context("asking")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

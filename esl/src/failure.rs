//! How a command ends.

use backbone::sheet::BadCell;
use serde::Serialize;
use std::process::ExitCode;

/// A command did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// And all is well.
    Well,
    /// But what it found or did is not all that was wanted.
    NotAll,
    /// As far as it came before Ctrl-C.
    Interrupted,
}

impl Ending {
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Well => ExitCode::SUCCESS,
            Self::NotAll => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(130),
        }
    }

    /// `Well` if `all`.
    pub(crate) fn of(all: bool) -> Self {
        if all { Self::Well } else { Self::NotAll }
    }
}

/// A command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was given can't be used.
    #[error("{0}")]
    Input(String),
    /// Lines of a file can't be used.
    #[error("{file}: {} can't be used, so nothing was done; --skip-bad uses the others", lines(.bad))]
    BadLines {
        /// The file.
        file: String,
        /// Each cell that is wrong.
        bad: Vec<BadCell>,
    },
    /// A server, or the machine, does not do what is needed.
    #[error("{}", crate::text::chain(.0))]
    Server(#[from] anyhow::Error),
}

fn lines(bad: &[BadCell]) -> String {
    crate::text::count(backbone::sheet::lines_in(bad) as u64, "line")
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Input(_) | Self::BadLines { .. } => ExitCode::from(2),
            Self::Server(_) => ExitCode::FAILURE,
        }
    }

    /// The same, after part of it was done: again, it does no harm.
    pub(crate) fn halfway(self, done: &str) -> Self {
        Self::Server(anyhow::anyhow!("{self}; {done}, so mend that and run it again"))
    }

    /// The cells that are wrong, where that is why.
    pub(crate) fn bad_cells(&self) -> &[BadCell] {
        match self {
            Self::BadLines { bad, .. } => bad,
            Self::Input(_) | Self::Server(_) => &[],
        }
    }
}

/// A failure as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct FailureReport<'a> {
    pub(crate) error: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) bad_cells: &'a [BadCell],
}

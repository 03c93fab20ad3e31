//! What can go wrong with a data folder.

use rusqlite::ErrorCode;
use std::{error::Error, io, path::PathBuf, sync::Arc};

type Cause = Box<dyn Error + Send + Sync>;

/// Why a data folder can't be opened: one sentence that names it. What is in it is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The lock is taken.
    #[error("the data folder {folder} is in use by another process")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing can be written to it.
    #[error("the data folder {folder} can't be written to")]
    ReadOnly {
        /// The folder.
        folder: PathBuf,
    },
    /// No space is left for it.
    #[error("the disk of the data folder {folder} is full")]
    Full {
        /// The folder.
        folder: PathBuf,
    },
    /// A newer version of this program made it.
    #[error(
        "the data folder {folder} was made by a newer version of this program (schema {found}, this one knows up to {known}): run that one"
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// The version of its schema.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// Its file is damaged, or is not ours.
    #[error("the file esl.db in the data folder {folder} is damaged or no file of this program")]
    Damaged {
        /// The folder.
        folder: PathBuf,
    },
    /// Something else.
    #[error("the data folder {folder} can't be opened")]
    Other {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
}

/// Why something was not written or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left.
    #[error("the disk of the data folder is full")]
    Full,
    /// The data folder was closed.
    #[error("the data folder is closed")]
    Closed,
    /// What SQLite says.
    #[error("the data folder's file failed")]
    Sqlite(#[source] Arc<rusqlite::Error>),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}

impl StoreError {
    /// Whether it speaks of what was asked and not of the file, so that asking again is useless.
    pub(crate) fn is_of_the_request(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        match error.sqlite_error_code() {
            Some(code) => {
                matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
            }
            // A value that is there, but not what it should be.
            None => true,
        }
    }
}

impl OpenError {
    pub(super) fn of_io(folder: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { folder },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { folder }
            }
            _ => Self::Other { folder, source: Box::new(error) },
        }
    }

    pub(super) fn of_sqlite(folder: PathBuf, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { folder },
            Some(ErrorCode::DiskFull) => Self::Full { folder },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { folder },
            _ => Self::Other { folder, source: Box::new(error) },
        }
    }
}

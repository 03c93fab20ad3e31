//! The ledger in SQLite: each call is one job of the data folder's writer, or one read.
//!
//! A job is atomic, and jobs are done one after the other; so unlike in MongoDB there is no order of writes within a
//! call to get right, and no two calls meet.

mod action;
mod audit;
mod batch;
mod binding;
mod control;
mod latency;
mod open;
mod read;
mod row;
mod settle;
mod survey;

use super::LedgerError;
use crate::embedded::{DataFolder, Durability, StoreError};
use rusqlite::Connection;
use std::time::Duration;

/// A call that takes longer is given up; what it asked for may be done nevertheless.
const PATIENCE: Duration = Duration::from_secs(10);
/// About how much a record takes up while it waits to be written.
const RECORD_BYTES: usize = 1024;

/// The ledger's tables in a data folder.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    folder: DataFolder,
}

impl Sqlite {
    pub(super) fn new(folder: DataFolder) -> Self {
        Self { folder }
    }

    /// Succeeds when the writer does.
    pub(super) async fn ping(&self) -> Result<(), LedgerError> {
        self.write("pinging the ledger", Durability::Process, 0, |_| Ok(())).await
    }

    /// Writes so many records.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        records: usize,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        within(doing, self.folder.write(durability, records * RECORD_BYTES, work)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        within(doing, self.folder.read(work)).await
    }
}

async fn within<T>(doing: &'static str, action: impl Future<Output = Result<T, StoreError>>) -> Result<T, LedgerError> {
    match tokio::time::timeout(PATIENCE, action).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_of_the_request() => Err(LedgerError::refused(doing, error)),
        Ok(Err(error)) => Err(LedgerError::unavailable(doing, error)),
        Err(elapsed) => Err(LedgerError::unavailable(doing, elapsed)),
    }
}

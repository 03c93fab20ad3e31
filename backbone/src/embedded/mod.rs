//! Where one process without servers keeps what must survive it: one SQLite file in a data folder.
//!
//! A [`DataFolder`] is opened once and passed, as a cheap clone, to whoever keeps something in it: the queues
//! ([`EmbeddedQueues`](crate::queue::EmbeddedQueues)) and the ledger ([`LedgerUrl::Sqlite`](crate::ledger::LedgerUrl)).
//!
//! # Invariants
//!
//! - One process has a data folder open. Whatever is wrong with it is found before anything in it is changed.
//! - One thread writes. What waits for it goes into one transaction (group commit), and each caller is told after the
//!   commit, so that what is confirmed survives `kill -9` and, where that was asked for, a power loss.
//! - What waits is bounded in bytes; whoever asks then waits before it.
//! - Readers have connections of their own: a long read delays no write.

mod check;
mod error;
mod folder;
mod jobs;
mod reader;
mod schema;
mod writer;

pub use error::{OpenError, StoreError};
pub use folder::{DataFolder, FolderOptions};
pub(crate) use jobs::{Durability, Job, Jobs};
#[cfg(test)]
pub(crate) use schema::create as create_tables;

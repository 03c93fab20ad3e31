//! Commands with many writes in them, and what their failures mean.

use super::Mongo;
use crate::ledger::LedgerError;
use mongodb::{
    bson::{self, Bson, Document, RawArrayBuf, RawDocumentBuf, rawdoc},
    error::ErrorKind,
};
use serde::Deserialize;
use std::{future::IntoFuture, time::Duration};

/// A command that takes longer is given up, and its connection with it: a server that is reachable but mute.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A write that has not reached the majority by then fails; less than [`PATIENCE`], so that the server says so.
const MAJORITY_TIMEOUT_MS: i32 = 8_000;
/// A command has at most so many writes or names so many documents.
pub(super) const MAX_OPERATIONS: usize = 1_000;
/// A command has at most so many bytes of writes; MongoDB takes 16 MiB in one document, and a command is one.
const MAX_BYTES: usize = 8 << 20;

/// Codes in MongoDB's `error_codes.yml`.
pub(super) mod codes {
    pub(in super::super) const DUPLICATE_KEY: i32 = 11_000;
    pub(in super::super) const NAMESPACE_EXISTS: i32 = 48;
    /// Those that speak of what was asked, and not of the server: asking again is useless. In this order: bad value,
    /// failed to parse, type mismatch, invalid BSON, path not viable, four kinds of bad field name, immutable field,
    /// invalid options, index with other options, index with other keys, failed validation, two of too large.
    pub(super) const OF_THE_REQUEST: [i32; 17] =
        [2, 9, 14, 22, 28, 52, 54, 55, 56, 57, 66, 72, 85, 86, 121, 10_334, 17_419];
}

/// One operation that failed, in the server's words.
#[derive(Debug, Clone, Deserialize, thiserror::Error)]
#[error("error {code}: {errmsg}")]
struct WriteError {
    #[serde(default)]
    index: usize,
    code: i32,
    #[serde(default)]
    errmsg: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(default)]
    n: u64,
    #[serde(default)]
    n_modified: u64,
    #[serde(default)]
    upserted: Vec<bson::Document>,
    #[serde(default)]
    write_errors: Vec<WriteError>,
    write_concern_error: Option<WriteError>,
}

/// What came of a command with many writes.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Documents that matched or were made.
    pub(super) matched: u64,
    /// Documents that are different now.
    pub(super) modified: u64,
    /// Documents that were made by an update.
    pub(super) upserted: u64,
    /// Operations, by their place, that met a document with the same `_id`.
    pub(super) duplicates: Vec<usize>,
}

/// A kind of command with many writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
    Update,
    Insert,
}

impl Mongo {
    /// Writes in as few commands as the limits allow, each durable on the majority before it returns. Fails with the
    /// first failure that is no duplicate key; part of the writes may be done then.
    pub(super) async fn write(
        &self,
        doing: &'static str,
        write: Write,
        collection: &str,
        operations: &[RawDocumentBuf],
    ) -> Result<Written, LedgerError> {
        let mut written = Written::default();
        let mut done = 0;
        while done < operations.len() {
            let chunk = chunk(&operations[done..]);
            let concern = rawdoc! { "w": "majority", "j": true, "wtimeout": MAJORITY_TIMEOUT_MS };
            let reply = self.run(doing, write, collection, chunk, concern).await?;
            let (duplicates, other): (Vec<_>, Vec<_>) =
                reply.write_errors.into_iter().partition(|error| error.code == codes::DUPLICATE_KEY);
            if let Some(error) = other.into_iter().next() {
                return Err(of_write(doing, error));
            }
            if let Some(error) = reply.write_concern_error {
                return Err(LedgerError::unavailable(doing, error));
            }
            written.matched += reply.n;
            written.modified += reply.n_modified;
            written.upserted += reply.upserted.len() as u64;
            written.duplicates.extend(duplicates.into_iter().map(|error| done + error.index));
            done += chunk.len();
        }
        Ok(written)
    }

    /// Inserts without waiting for the disk, at most [`MAX_OPERATIONS`].
    pub(super) async fn insert_lightly(
        &self,
        doing: &'static str,
        collection: &str,
        documents: &[RawDocumentBuf],
    ) -> Result<(), LedgerError> {
        let reply = self.run(doing, Write::Insert, collection, documents, rawdoc! { "w": 1 }).await?;
        reply.write_errors.into_iter().next().map_or(Ok(()), |error| Err(of_write(doing, error)))
    }

    async fn run(
        &self,
        doing: &'static str,
        write: Write,
        collection: &str,
        operations: &[RawDocumentBuf],
        concern: RawDocumentBuf,
    ) -> Result<Reply, LedgerError> {
        let mut list = RawArrayBuf::new();
        operations.iter().for_each(|operation| list.push(operation));
        let mut command = match write {
            Write::Update => rawdoc! { "update": collection, "updates": list },
            Write::Insert => rawdoc! { "insert": collection, "documents": list },
        };
        command.append(bson::raw::cstr!("ordered"), false);
        command.append(bson::raw::cstr!("writeConcern"), concern);
        let reply: Document = within(doing, self.database.run_raw_command(command)).await?;
        bson::deserialize_from_document(reply).map_err(|error| LedgerError::unavailable(doing, error))
    }
}

/// As many of the first operations as fit in one command; at least one.
fn chunk(operations: &[RawDocumentBuf]) -> &[RawDocumentBuf] {
    let mut bytes = 0;
    let fits = |operation: &&RawDocumentBuf| {
        bytes += operation.as_bytes().len();
        bytes <= MAX_BYTES
    };
    let count = operations.iter().take(MAX_OPERATIONS).take_while(fits).count().max(1);
    &operations[..count]
}

/// Waits for the server's answer, but not for ever.
pub(super) async fn within<T>(
    doing: &'static str,
    action: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, LedgerError> {
    match tokio::time::timeout(PATIENCE, action).await {
        Ok(answer) => answer.map_err(|error| failed(doing, error)),
        Err(elapsed) => Err(LedgerError::unavailable(doing, elapsed)),
    }
}

/// What a failure of the client library means. What is not known to be the request's own fault is taken for passing:
/// a task that waits is not lost.
pub(super) fn failed(doing: &'static str, error: mongodb::error::Error) -> LedgerError {
    let of_the_request = match error.kind.as_ref() {
        ErrorKind::Bson(_) | ErrorKind::InvalidArgument { .. } => true,
        _ => code(&error).is_some_and(|code| codes::OF_THE_REQUEST.contains(&code)),
    };
    if of_the_request { LedgerError::refused(doing, error) } else { LedgerError::unavailable(doing, error) }
}

fn of_write(doing: &'static str, error: WriteError) -> LedgerError {
    if codes::OF_THE_REQUEST.contains(&error.code) {
        LedgerError::refused(doing, error)
    } else {
        LedgerError::unavailable(doing, error)
    }
}

/// The server's code of a command that failed as a whole.
pub(super) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The condition that names documents by their `_id`. A single one is found without planning a query.
pub(super) fn by_id(ids: &[String]) -> Document {
    let id: Bson = match ids {
        [id] => id.into(),
        ids => bson::doc! { "$in": ids }.into(),
    };
    bson::doc! { "_id": id }
}

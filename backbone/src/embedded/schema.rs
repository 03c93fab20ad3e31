//! The tables. Times are milliseconds since the Unix epoch; MACs, fields and outcomes are texts as on the wire, so that
//! `sqlite3 esl.db` answers an operator.

use rusqlite::Connection;

/// Marks the file as ours, in SQLite's header: "ESLb".
pub(super) const APPLICATION_ID: u32 = 0x4553_4C62;
/// The schema that this program makes and knows, in SQLite's `user_version`.
pub(super) const VERSION: u32 = 2;

/// Tasks that come to their queues later.
const WAITING: &str = "
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    wait TEXT,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX waiting_by_time ON waiting (not_before);
";

const TABLES: &str = "
-- Overwritten by each opening: shows, before anything relies on it, that the file can be written.
CREATE TABLE opened (only INTEGER PRIMARY KEY CHECK (only = 1), at INTEGER NOT NULL) STRICT;

CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
-- Which results a queue gets: a routing key with the wildcards * and #.
CREATE TABLE binding (queue INTEGER NOT NULL, pattern TEXT NOT NULL, UNIQUE (queue, pattern)) STRICT;
-- AUTOINCREMENT: the ID of a message that is gone is never used again, since consumers read on from the last they had.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    expiration_ms INTEGER,
    correlation_id TEXT,
    reply_to TEXT,
    reason TEXT,
    body BLOB NOT NULL,
    -- How a task has waited, as JSON; NULL: it has not.
    wait TEXT
) STRICT;
CREATE INDEX message_by_queue ON message (queue, id);
-- How often a message was delivered; beside the message, so that its body is not written again.
CREATE TABLE delivered (message INTEGER PRIMARY KEY, times INTEGER NOT NULL) STRICT;

CREATE TABLE label (
    mac TEXT PRIMARY KEY,
    store TEXT,
    sku TEXT,
    -- Since when it does not show what it should; NULL: it does.
    out_of_date INTEGER,
    desired_version INTEGER, desired_fields TEXT, desired_at INTEGER, desired_task TEXT,
    shown_version INTEGER, shown_fields TEXT, shown_at INTEGER, shown_task TEXT, shown_gateway TEXT
) STRICT;
CREATE INDEX label_by_product ON label (store, sku);
CREATE INDEX label_out_of_date ON label (store, mac) WHERE out_of_date IS NOT NULL;

-- Never changed. `fields`: what a gateway acknowledged, so that it is known which price was on a label when.
CREATE TABLE outcome (
    task_id TEXT NOT NULL,
    label TEXT NOT NULL,
    store TEXT NOT NULL,
    sku TEXT,
    version INTEGER,
    outcome TEXT NOT NULL,
    reason TEXT,
    gateway TEXT,
    attempts INTEGER NOT NULL,
    latency_ms INTEGER NOT NULL,
    at INTEGER NOT NULL,
    batch TEXT,
    fields TEXT,
    UNIQUE (task_id, label)
) STRICT;
CREATE INDEX outcome_by_label ON outcome (label, at);
CREATE INDEX outcome_by_batch ON outcome (batch, outcome, at) WHERE batch IS NOT NULL;

-- The requests by which tasks were enqueued over HTTP.
CREATE TABLE enqueued (
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    batch TEXT NOT NULL,
    digest TEXT NOT NULL,
    at INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    labels INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    PRIMARY KEY (store, key)
) STRICT;
CREATE INDEX enqueued_by_batch ON enqueued (batch);

-- The oldest go when there are many.
CREATE TABLE rpc_latency (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    gateway TEXT,
    outcome TEXT NOT NULL,
    label TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    worker TEXT NOT NULL
) STRICT;
";

/// What came later, and an older program does without: it makes no file one of a newer program.
const ADDITIONS: &str = "
-- What the operator's page counts is counted in these, and the rows themselves are not read.
DROP INDEX IF EXISTS outcome_by_time;
CREATE INDEX IF NOT EXISTS outcome_by_end ON outcome (store, at, outcome, reason);
CREATE INDEX IF NOT EXISTS label_blank ON label (store, desired_version) WHERE desired_version IS NULL;
CREATE INDEX IF NOT EXISTS enqueued_by_time ON enqueued (store, at, batch);
-- Who did what by the operator's page or the API. Never changed.
CREATE TABLE IF NOT EXISTS action (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    store TEXT,
    what TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS action_by_store ON action (store, id);
-- What was last decided about batches: running, paused or cancelled. One without a row runs.
CREATE TABLE IF NOT EXISTS batch_state (
    store TEXT NOT NULL,
    batch TEXT NOT NULL,
    state TEXT NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (store, batch)
) STRICT;
";
const HAS_BATCHES: &str = "SELECT count(*) FROM pragma_table_info('label') WHERE name = 'desired_batch'";

/// Adds what came later, where it is missing.
pub(super) fn add(connection: &Connection) -> rusqlite::Result<()> {
    let has_batches: i64 = connection.query_row(HAS_BATCHES, [], |row| row.get(0))?;
    if has_batches == 0 {
        connection.execute_batch("ALTER TABLE label ADD COLUMN desired_batch TEXT")?;
    }
    connection.execute_batch(ADDITIONS)
}

/// Makes the tables in an empty file. Before the file is in WAL mode, so that its header tells the version to whoever
/// only reads that.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;{TABLES}{WAITING}PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {VERSION};COMMIT;"
    ))
}

/// Makes the tables of an older version into those of this one, wholly or not at all.
pub(super) fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    if version(connection)? < 2 {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;ALTER TABLE message ADD COLUMN wait TEXT;{WAITING}PRAGMA user_version = 2;COMMIT;"
        ))?;
    }
    Ok(())
}

/// The version of the schema, as the write-ahead log has it.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<(String, String)> {
        let mut rows = connection
            .prepare("SELECT m.name, group_concat(p.name || p.type) FROM sqlite_master m, pragma_table_info(m.name) p GROUP BY m.name ORDER BY m.name")
            .unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn an_older_folder_becomes_one_of_this_version() {
        let (new, old) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
        create(&new).unwrap();
        create(&old).unwrap();
        let as_it_was = "DROP TABLE waiting; ALTER TABLE message DROP COLUMN wait; PRAGMA user_version = 1;";
        old.execute_batch(as_it_was).unwrap();
        old.execute_batch("INSERT INTO message (queue, published_at, body) VALUES (1, 2, x'33')").unwrap();
        assert_ne!(tables(&new), tables(&old));
        for _ in 0..2 {
            upgrade(&old).unwrap();
            assert_eq!((tables(&new), version(&new).unwrap()), (tables(&old), version(&old).unwrap()));
        }
        let kept: i64 = old.query_row("SELECT count(*) FROM message WHERE wait IS NULL", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1);
    }
}

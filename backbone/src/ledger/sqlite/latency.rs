//! How long RPCs took: the latest of them.

use super::Sqlite;
use crate::{
    embedded::Durability,
    ledger::{LedgerError, RpcLatency},
    service::now,
};
use rusqlite::{Connection, params};
use std::time::Duration;

/// So many are kept, of about 150 bytes each.
const MOST: i64 = 1_000_000;
/// None is kept longer; as in MongoDB.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Each insert takes so many of the oldest along at most, which is more than it brings.
const MOST_TO_GO: i64 = 2_000;

const INSERT: &str = "INSERT INTO rpc_latency (at, gateway, outcome, label, latency_ms, worker)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
/// Looks at the oldest only, by their IDs: they are old enough in that order.
const FORGET: &str = "DELETE FROM rpc_latency
    WHERE id < (SELECT min(id) FROM rpc_latency) + ?1 AND (at < ?2 OR id <= (SELECT max(id) FROM rpc_latency) - ?3)";

impl Sqlite {
    pub(in crate::ledger) async fn insert_latencies(&self, latencies: &[RpcLatency]) -> Result<(), LedgerError> {
        let (latencies, records) = (latencies.to_vec(), latencies.len());
        let work = move |connection: &Connection| insert(connection, &latencies, MOST);
        self.write("inserting RPC latencies", Durability::Process, records / 4, work).await
    }
}

fn insert(connection: &Connection, latencies: &[RpcLatency], most: i64) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(INSERT)?;
    for RpcLatency { at, label, gateway, outcome, latency, worker } in latencies {
        let gateway = gateway.map(|gateway| gateway.to_string());
        let (label, worker) = (label.to_string(), worker.to_string());
        let milliseconds = latency.as_secs_f64() * 1e3;
        insert.execute(params![at.unix_millis(), gateway, outcome, label, milliseconds, worker])?;
    }
    let oldest = now().unix_millis() - KEPT.as_millis() as i64;
    connection.prepare_cached(FORGET)?.execute(params![MOST_TO_GO, oldest, most])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{LabelMac, Timestamp};

    fn latency(at: i64) -> RpcLatency {
        RpcLatency {
            at: Timestamp::from_unix_millis(at),
            label: LabelMac::from_octets([0; 6]),
            gateway: None,
            outcome: "ack",
            latency: Duration::from_millis(1),
            worker: uuid::Uuid::nil(),
        }
    }

    #[test]
    fn the_oldest_and_those_beyond_the_limit_go() {
        let connection = Connection::open_in_memory().unwrap();
        crate::embedded::create_tables(&connection).unwrap();
        let count = || {
            connection.query_row("SELECT count(*), min(at) FROM rpc_latency", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        };
        let now = now().unix_millis();
        insert(&connection, &[latency(now - 91 * 24 * 3_600_000), latency(now)], 100).unwrap();
        assert_eq!(count().unwrap(), (1, now));
        for batch in 0..10 {
            insert(&connection, &(0..30).map(|i| latency(now + batch * 30 + i)).collect::<Vec<_>>(), 100).unwrap();
        }
        assert_eq!(count().unwrap(), (100, now + 200));
    }
}

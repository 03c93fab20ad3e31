//! How long RPCs took: a time series.

use super::{Mongo, command::MAX_OPERATIONS};
use crate::ledger::{LedgerError, RpcLatency};
use mongodb::bson::{DateTime, RawDocumentBuf, rawdoc};
use protocol::names::ledger as names;

impl Mongo {
    /// Inserts measurements; the first failure ends it, and those that were not inserted are lost.
    pub(in crate::ledger) async fn insert_latencies(&self, latencies: &[RpcLatency]) -> Result<(), LedgerError> {
        for latencies in latencies.chunks(MAX_OPERATIONS) {
            let documents: Vec<_> = latencies.iter().map(document).collect();
            self.insert_lightly("inserting RPC latencies", names::RPC_LATENCY, &documents).await?;
        }
        Ok(())
    }
}

fn document(latency: &RpcLatency) -> RawDocumentBuf {
    let RpcLatency { at, label, gateway, outcome, latency, worker } = latency;
    let meta = match gateway {
        Some(gateway) => rawdoc! { "gateway": gateway.to_string(), "outcome": *outcome },
        None => rawdoc! { "outcome": *outcome },
    };
    rawdoc! {
        "at": DateTime::from_millis(at.unix_millis()),
        "meta": meta,
        "label": label.to_string(),
        "latency_ms": latency.as_secs_f64() * 1e3,
        "worker": worker.to_string(),
    }
}

//! Which labels stand for which products.

use super::{Sqlite, row::parse};
use crate::{
    embedded::Durability,
    ledger::{BindReport, Binding, LedgerError},
};
use protocol::{LabelMac, Sku, Store};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// One job binds so many labels at most, so that no price waits for all labels of a store.
const MOST_PER_JOB: usize = 2_000;

impl Sqlite {
    pub(in crate::ledger) async fn bind(&self, bindings: &[Binding]) -> Result<BindReport, LedgerError> {
        let last: HashMap<LabelMac, &Binding> = bindings.iter().map(|binding| (binding.label, binding)).collect();
        let last: Vec<Binding> = last.into_values().cloned().collect();
        let mut report = BindReport::default();
        for part in last.chunks(MOST_PER_JOB) {
            let part = part.to_vec();
            let work = move |connection: &Connection| bind(connection, &part);
            let bound = self.write("binding labels", Durability::Power, MOST_PER_JOB / 8, work).await?;
            report.new += bound.new;
            report.changed += bound.changed;
            report.unchanged += bound.unchanged;
        }
        Ok(report)
    }

    pub(in crate::ledger) async fn labels_of(&self, store: &Store, sku: &Sku) -> Result<Vec<LabelMac>, LedgerError> {
        let (store, sku) = (store.clone(), sku.clone());
        let find = move |connection: &Connection| {
            let mut find = connection.prepare_cached("SELECT mac FROM label WHERE store = ?1 AND sku = ?2")?;
            let found = find.query_map([store.as_str(), sku.as_str()], |row| parse(row, 0))?;
            found.collect::<Result<Vec<LabelMac>, _>>()
        };
        let mut labels = self.read("finding a product's labels", find).await?;
        labels.sort_unstable();
        Ok(labels)
    }

    pub(in crate::ledger) async fn count_bound(
        &self,
        store: &Store,
        skus: &[Sku],
    ) -> Result<HashMap<Sku, u64>, LedgerError> {
        let (store, skus) = (store.clone(), skus.to_vec());
        let count = move |connection: &Connection| {
            let mut count = connection.prepare_cached("SELECT count(*) FROM label WHERE store = ?1 AND sku = ?2")?;
            let counts = skus.into_iter().map(|sku| {
                let labels: i64 = count.query_row([store.as_str(), sku.as_str()], |row| row.get(0))?;
                Ok((sku, labels.unsigned_abs()))
            });
            counts.collect()
        };
        self.read("counting products' labels", count).await
    }
}

fn bind(connection: &Connection, bindings: &[Binding]) -> rusqlite::Result<BindReport> {
    let mut find = connection.prepare_cached("SELECT store, sku FROM label WHERE mac = ?1")?;
    let mut set = connection.prepare_cached(
        "INSERT INTO label (mac, store, sku) VALUES (?1, ?2, ?3)
         ON CONFLICT (mac) DO UPDATE SET store = excluded.store, sku = excluded.sku",
    )?;
    let mut report = BindReport::default();
    for Binding { label, sku, store } in bindings {
        let label = label.to_string();
        let wanted = (Some(store.to_string()), Some(sku.to_string()));
        match find.query_row([&label], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
            Some(bound) if bound == wanted => {
                report.unchanged += 1;
                continue;
            }
            Some(_) => report.changed += 1,
            None => report.new += 1,
        }
        set.execute(params![label, wanted.0, wanted.1])?;
    }
    Ok(report)
}

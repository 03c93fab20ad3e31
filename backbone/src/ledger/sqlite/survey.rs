//! Whole stores, counted.

use super::{
    Sqlite,
    row::{fields, maybe, parse, parse_maybe, time},
};
use crate::{
    embedded::Durability,
    ledger::{ActionTaken, BatchSeen, Cause, EndedIn, LedgerError, Product, RpcSeen, Standing, survey::span_millis},
};
use protocol::{BatchId, LabelMac, Outcome, Sku, Store, Timestamp};
use rusqlite::{Connection, Row, ToSql, params};
use std::{collections::BTreeMap, time::Duration};

const STORES: &str = "SELECT store, count(*) FROM label WHERE store IS NOT NULL GROUP BY store ORDER BY store";
const COUNT: &str = "SELECT count(*), count(*) - count(desired_version) FROM label WHERE store = ?1";
/// What was shown and is forgotten is being repaired, so it counts as in progress.
const CAUSES: &str = "SELECT outcome.outcome, outcome.reason, count(*), min(label.out_of_date) FROM label
    LEFT JOIN outcome ON outcome.task_id = label.desired_task AND outcome.label = label.mac AND outcome.outcome <> 'shown'
    WHERE label.store = ?1 AND label.out_of_date IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC";
const ENDED: &str = "SELECT at / ?3, outcome, count(*) FROM outcome WHERE store = ?1 AND at >= ?2 GROUP BY 1, 2";
const LATENCIES: &str = "SELECT latency_ms FROM outcome WHERE store = ?1 AND at >= ?2 AND outcome = 'shown'
    ORDER BY at DESC LIMIT ?3";
const ENQUEUED: &str = "SELECT batch, min(at) FROM enqueued WHERE store = ?1 GROUP BY batch ORDER BY 2 DESC LIMIT ?2";
/// Of the latest outcomes only: a batch over AMQP is known by nothing else.
const ENDED_LAST: &str = "SELECT batch, max(at) FROM
    (SELECT batch, at FROM outcome WHERE store = ?1 ORDER BY at DESC LIMIT 10000)
    WHERE batch IS NOT NULL GROUP BY batch ORDER BY 2 DESC LIMIT ?2";
const OF_BATCH: &str = "SELECT mac FROM label WHERE store = ?1 AND desired_batch = ?2 AND out_of_date IS NOT NULL
    AND EXISTS (SELECT 1 FROM outcome WHERE task_id = label.desired_task AND label = label.mac) = ?3
    ORDER BY mac LIMIT ?4";
const PRODUCTS: &str = r"SELECT sku, max(desired_fields), count(*), count(out_of_date) FROM label
    WHERE store = ?1 AND sku > ?2 AND sku IN (SELECT sku FROM label WHERE store = ?1 AND (?3 = '%%' OR sku LIKE ?3 ESCAPE '\'
        OR mac LIKE ?3 ESCAPE '\' OR json_extract(desired_fields, '$.name') LIKE ?3 ESCAPE '\'))
    GROUP BY sku ORDER BY sku LIMIT ?4";
const RPCS: &str = "SELECT gateway, outcome, latency_ms FROM rpc_latency
    WHERE id > (SELECT max(id) FROM rpc_latency) - ?2 AND at >= ?1";
const ACT: &str = "INSERT INTO action (at, who, store, what, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const ACTIONS: &str = "SELECT at, who, store, what, target, detail FROM action
    WHERE ?1 IS NULL OR store = ?1 ORDER BY id DESC LIMIT ?2";

impl Sqlite {
    pub(in crate::ledger) async fn stores(&self) -> Result<Vec<(Store, u64)>, LedgerError> {
        let find = |row: &Row<'_>| Ok((parse(row, 0)?, count(row, 1)?));
        self.all("finding the stores", STORES, [], find).await
    }

    pub(in crate::ledger) async fn standing(&self, store: &Store) -> Result<Standing, LedgerError> {
        let store = store.to_string();
        self.read("counting a store's labels", move |connection| standing(connection, &store)).await
    }

    pub(in crate::ledger) async fn ended_by(
        &self,
        store: &Store,
        since: Timestamp,
        span: Duration,
    ) -> Result<Vec<EndedIn>, LedgerError> {
        let (store, since, span) = (store.to_string(), since.unix_millis(), span_millis(span));
        let read = move |row: &Row<'_>| {
            let from = Timestamp::from_unix_millis(row.get::<_, i64>(0)?.saturating_mul(span));
            Ok(EndedIn { from, outcome: parse(row, 1)?, labels: count(row, 2)? })
        };
        self.all("counting outcomes", ENDED, [store.into(), since.into(), span.into()], read).await
    }

    pub(in crate::ledger) async fn latest_latencies(
        &self,
        store: &Store,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<u64>, LedgerError> {
        let asked = [store.to_string().into(), since.unix_millis().into(), i64::from(limit).into()];
        self.all("reading latencies", LATENCIES, asked, |row| count(row, 0)).await
    }

    pub(in crate::ledger) async fn batches(&self, store: &Store, limit: u32) -> Result<Vec<BatchSeen>, LedgerError> {
        let seen = |row: &Row<'_>| Ok((parse::<BatchId>(row, 0)?, time(row, 1)?));
        let asked = || [store.to_string().into(), i64::from(limit).into()];
        let ended = self.all("finding batches", ENDED_LAST, asked(), seen).await?;
        let enqueued = self.all("finding batches", ENQUEUED, asked(), seen).await?;
        let all: BTreeMap<BatchId, Timestamp> = ended.into_iter().chain(enqueued).collect();
        let mut all: Vec<_> = all.into_iter().map(|(batch, at)| BatchSeen { batch, at }).collect();
        all.sort_by_key(|seen| std::cmp::Reverse(seen.at));
        all.truncate(limit as usize);
        Ok(all)
    }

    pub(in crate::ledger) async fn waiting_in(
        &self,
        store: &Store,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<LabelMac>, LedgerError> {
        self.of_batch(store, batch, false, limit).await
    }

    pub(in crate::ledger) async fn failed_in(
        &self,
        store: &Store,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<LabelMac>, LedgerError> {
        self.of_batch(store, batch, true, limit).await
    }

    async fn of_batch(
        &self,
        store: &Store,
        batch: &BatchId,
        ended: bool,
        limit: u32,
    ) -> Result<Vec<LabelMac>, LedgerError> {
        let asked = [store.to_string().into(), batch.to_string().into(), ended.into(), i64::from(limit).into()];
        self.all("finding a batch's labels", OF_BATCH, asked, |row| parse(row, 0)).await
    }

    pub(in crate::ledger) async fn products(
        &self,
        store: &Store,
        text: &str,
        after: Option<&Sku>,
        limit: u32,
    ) -> Result<Vec<Product>, LedgerError> {
        let after = after.map_or_else(String::new, Sku::to_string);
        let asked = [store.to_string().into(), after.into(), like(text).into(), i64::from(limit).into()];
        self.all("finding products", PRODUCTS, asked, product).await
    }

    pub(in crate::ledger) async fn labels_in(&self, store: &Store) -> Result<Vec<LabelMac>, LedgerError> {
        let select = "SELECT mac FROM label WHERE store = ?1";
        self.all("listing a store's labels", select, [store.to_string().into()], |row| parse(row, 0)).await
    }

    pub(in crate::ledger) async fn unbind(&self, labels: &[LabelMac]) -> Result<u64, LedgerError> {
        let (labels, records) = (labels.to_vec(), labels.len());
        let work = move |connection: &Connection| {
            let mut unbind =
                connection.prepare_cached("UPDATE label SET sku = NULL WHERE mac = ?1 AND sku IS NOT NULL")?;
            labels.iter().map(|label| Ok(unbind.execute([label.to_string()])? as u64)).sum()
        };
        self.write("unbinding labels", Durability::Power, records / 8, work).await
    }

    pub(in crate::ledger) async fn latest_rpcs(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<RpcSeen>, LedgerError> {
        let read = |row: &Row<'_>| {
            Ok(RpcSeen { gateway: parse_maybe(row, 0)?, outcome: row.get(1)?, latency_ms: row.get(2)? })
        };
        self.all("reading RPCs", RPCS, [since.unix_millis().into(), i64::from(limit).into()], read).await
    }

    pub(in crate::ledger) async fn record_action(&self, action: &ActionTaken) -> Result<(), LedgerError> {
        let ActionTaken { at, who, store, what, target, detail } = action.clone();
        let work = move |connection: &Connection| {
            let values = params![at.unix_millis(), who, maybe(store.as_ref()), what, target, detail];
            connection.prepare_cached(ACT)?.execute(values).map(drop)
        };
        self.write("recording an action", Durability::Power, 1, work).await
    }

    pub(in crate::ledger) async fn actions(
        &self,
        store: Option<&Store>,
        limit: u32,
    ) -> Result<Vec<ActionTaken>, LedgerError> {
        let read = |row: &Row<'_>| {
            let (at, store) = (time(row, 0)?, parse_maybe(row, 2)?);
            Ok(ActionTaken { at, who: row.get(1)?, store, what: row.get(3)?, target: row.get(4)?, detail: row.get(5)? })
        };
        self.all("reading what was done", ACTIONS, [maybe(store), i64::from(limit).into()], read).await
    }

    /// Every row of a question that is asked with these values.
    async fn all<T: Send + 'static, const N: usize>(
        &self,
        doing: &'static str,
        select: &'static str,
        values: [rusqlite::types::Value; N],
        each: impl FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Vec<T>, LedgerError> {
        let find = move |connection: &Connection| {
            let values = values.each_ref().map(|value| value as &dyn ToSql);
            connection.prepare_cached(select)?.query_map(&values[..], each)?.collect()
        };
        self.read(doing, find).await
    }
}

fn standing(connection: &Connection, store: &str) -> rusqlite::Result<Standing> {
    let (labels, blank) =
        connection.prepare_cached(COUNT)?.query_row([store], |row| Ok((count(row, 0)?, count(row, 1)?)))?;
    let mut standing = Standing { labels, blank, ..Standing::default() };
    let mut find = connection.prepare_cached(CAUSES)?;
    let mut rows = find.query([store])?;
    while let Some(row) = rows.next()? {
        match parse_maybe::<Outcome>(row, 0)? {
            None => standing.in_progress += count(row, 2)?,
            Some(outcome) => {
                let (reason, since) = (row.get(1)?, time(row, 3)?);
                standing.causes.push(Cause { outcome, reason, labels: count(row, 2)?, since });
            }
        }
    }
    Ok(standing)
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    let desired = if row.get_ref(1)?.as_str_or_null()?.is_some() { Some(fields(row, 1)?) } else { None };
    let (name, price, currency) =
        desired.map_or((None, None, None), |fields| (fields.name.clone(), fields.price.clone(), fields.currency));
    Ok(Product { sku: parse(row, 0)?, name, price, currency, labels: count(row, 2)?, out_of_date: count(row, 3)? })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

/// A pattern that finds this text anywhere.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

//! Whole stores, counted.

use super::{
    Sqlite,
    row::{fields, maybe, parse, parse_maybe, time},
};
use crate::{
    embedded::Durability,
    ledger::{BatchSeen, Cause, EndedIn, Late, LedgerError, Product, RpcSeen, Standing, survey::span_millis},
};
use protocol::{BatchId, LabelMac, Outcome, Sku, Store, Timestamp};
use rusqlite::{Connection, Row, ToSql};
use std::{collections::BTreeMap, time::Duration};

/// From each store to the next: not through all labels.
const STORES: &str = "WITH RECURSIVE found (store) AS (SELECT min(store) FROM label
    UNION ALL SELECT (SELECT min(store) FROM label WHERE store > found.store) FROM found WHERE found.store IS NOT NULL)
    SELECT store FROM found WHERE store IS NOT NULL";
/// Both are counted in an index, and the labels themselves are not read.
const COUNT: &str = "SELECT (SELECT count(*) FROM label WHERE store = ?1),
    (SELECT count(*) FROM label WHERE store = ?1 AND desired_version IS NULL)";
/// What was shown and is forgotten is being repaired, so it counts as in progress.
const CAUSES: &str = "SELECT outcome.outcome, outcome.reason, count(*), min(label.out_of_date) FROM label
    LEFT JOIN outcome ON outcome.task_id = label.desired_task AND outcome.label = label.mac AND outcome.outcome <> 'shown'
    WHERE label.store = ?1 AND label.out_of_date IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC";
const ENDED: &str = "SELECT at / ?3, outcome, count(*), reason FROM outcome WHERE store = ?1 AND at >= ?2
    GROUP BY 1, 2, 4";
const LATENCIES: &str = "SELECT latency_ms FROM outcome WHERE store = ?1 AND at >= ?2 AND outcome = 'shown'
    ORDER BY at DESC LIMIT ?3";
/// Of the latest requests only.
const ENQUEUED: &str = "SELECT batch, min(at) FROM
    (SELECT batch, at FROM enqueued WHERE store = ?1 ORDER BY at DESC LIMIT 10000)
    GROUP BY batch ORDER BY 2 DESC LIMIT ?2";
/// Of the latest outcomes only: a batch over AMQP is known by nothing else.
const ENDED_LAST: &str = "SELECT batch, max(at) FROM
    (SELECT batch, at FROM outcome WHERE store = ?1 ORDER BY at DESC LIMIT 10000)
    WHERE batch IS NOT NULL GROUP BY batch ORDER BY 2 DESC LIMIT ?2";
const LATE: &str = "SELECT label.mac, outcome.outcome IS NOT NULL, outcome.reason FROM label
    LEFT JOIN outcome ON outcome.task_id = label.desired_task AND outcome.label = label.mac AND outcome.outcome <> 'shown'
    WHERE label.store = ?1 AND label.out_of_date IS NOT NULL AND (?2 IS NULL OR label.desired_batch = ?2)
    ORDER BY label.mac LIMIT ?3";
/// Labels are looked through in the order of the index, and no further than need be.
const PRODUCTS: &str = r"SELECT sku, max(desired_fields), count(*), count(out_of_date) FROM label
    WHERE store = ?1 AND sku IN (SELECT DISTINCT sku FROM label WHERE store = ?1 AND sku > ?2
        AND (?3 = '%%' OR sku LIKE ?3 ESCAPE '\' OR mac LIKE ?3 ESCAPE '\'
            OR json_extract(desired_fields, '$.name') LIKE ?3 ESCAPE '\')
        ORDER BY sku LIMIT ?4)
    GROUP BY sku ORDER BY sku";
const RPCS: &str = "SELECT gateway, outcome, latency_ms FROM rpc_latency
    WHERE id > (SELECT max(id) FROM rpc_latency) - ?2 AND at >= ?1";

impl Sqlite {
    pub(in crate::ledger) async fn stores(&self) -> Result<Vec<Store>, LedgerError> {
        self.all("finding the stores", STORES, [], |row| parse(row, 0)).await
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
            Ok(EndedIn { from, outcome: parse(row, 1)?, labels: count(row, 2)?, reason: row.get(3)? })
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

    pub(in crate::ledger) async fn late(
        &self,
        store: &Store,
        batch: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<Late>, LedgerError> {
        let asked = [store.to_string().into(), maybe(batch), i64::from(limit).into()];
        let late = |row: &Row<'_>| Ok(Late { label: parse(row, 0)?, has_ended: row.get(1)?, reason: row.get(2)? });
        self.all("finding labels that are late", LATE, asked, late).await
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

    /// Every row of a question that is asked with these values.
    pub(super) async fn all<T: Send + 'static, const N: usize>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{DataFolder, FolderOptions};

    fn plan(connection: &Connection, question: &str) -> Vec<String> {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {question}")).unwrap();
        let values = vec![rusqlite::types::Null; explain.parameter_count()];
        let lines = explain.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
        lines.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn no_question_reads_what_it_need_not() {
        let path = tempfile::tempdir().unwrap();
        let options = FolderOptions { path: path.path().to_owned(), max_bytes: None };
        let _folder = DataFolder::open(&options).unwrap();
        let connection = Connection::open(path.path().join("esl.db")).unwrap();
        let counted = [STORES, COUNT, ENDED, ENQUEUED];
        let read = [CAUSES, LATENCIES, ENDED_LAST, LATE, PRODUCTS];
        for (question, is_counted) in counted.map(|it| (it, true)).into_iter().chain(read.map(|it| (it, false))) {
            let plan = plan(&connection, question);
            let of_tables = plan.iter().filter(|step| {
                ["label", "outcome", "enqueued"].iter().any(|table| step.contains(&format!(" {table} ")))
            });
            for step in of_tables {
                let how = if is_counted { "USING COVERING INDEX" } else { "INDEX" };
                assert!(step.starts_with("SEARCH") && step.contains(how), "{step}\nin {plan:#?}\nof {question}");
            }
        }
    }
}

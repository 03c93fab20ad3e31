//! `esl label`: everything that is known of one label.

use crate::{
    bind::{at, open},
    cli::LabelArgs,
    failure::{Ending, Failure},
    output::Output,
    text::{ago, chain, table},
};
use anyhow::Context;
use backbone::{
    ledger::{Desired, LabelRecord, Shown},
    registry::{GatewayState, RedisUrl, Registry, RouteEntry},
};
use protocol::{Fields, GatewayMac, LabelMac, ResultMessage, Sku, Store, TaskId, Timestamp, Version};
use serde::Serialize;
use std::{cmp::Reverse, fmt};

#[derive(Debug, Serialize)]
struct Report {
    label: LabelMac,
    known: bool,
    store: Option<Store>,
    sku: Option<Sku>,
    desired: Option<Content>,
    shown: Option<Content>,
    /// It shows what it should.
    agrees: bool,
    /// The strongest first; `null` where Redis did not answer.
    routes: Option<Vec<Route>>,
    /// Why there are no routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes_error: Option<String>,
    /// The newest first.
    history: Vec<ResultMessage>,
}

#[derive(Debug, Clone, Serialize)]
struct Content {
    version: Version,
    fields: Fields,
    at: Timestamp,
    task_id: TaskId,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayMac>,
}

#[derive(Debug, Serialize)]
struct Route {
    gateway: GatewayMac,
    rssi_dbm: i8,
    at: Timestamp,
    online: bool,
    broker: Option<String>,
}

/// Says what is known of a label.
pub(crate) async fn run(args: &LabelArgs, output: Output) -> Result<Ending, Failure> {
    let (label, url) = (args.mac, &args.mongodb.mongodb_url);
    let ledger = open(url).await?;
    let record = ledger.label(label).await.with_context(|| at(url))?;
    let history = ledger.history(label, args.history).await.with_context(|| at(url))?;
    // The ledger alone says what a label shows. Redis is a cache, so its loss costs no more than the routes.
    let routes = routes(label, &args.redis.redis_url).await;
    let known = record.is_some() || routes.as_ref().is_ok_and(|routes| !routes.is_empty());
    let LabelRecord { store, sku, desired, shown } = record.unwrap_or_default();
    let report = Report {
        label,
        known,
        store,
        sku,
        agrees: desired.as_ref().map(|desired| desired.version) == shown.as_ref().map(|shown| shown.version),
        desired: desired.map(Content::from),
        shown: shown.map(Content::from),
        routes_error: routes.as_ref().err().map(chain),
        routes: routes.ok(),
        history,
    };
    output.answer(&report)?;
    Ok(Ending::of(report.known && report.agrees))
}

async fn routes(label: LabelMac, url: &RedisUrl) -> anyhow::Result<Vec<Route>> {
    let at = || format!("Redis at {url}");
    let registry = Registry::connect(url).with_context(at)?;
    let mut entries = registry.routes(label).await.with_context(at)?;
    entries.sort_by_key(|entry| Reverse(entry.rssi));
    let gateways = registry.gateways().await.with_context(at)?;
    let route = |RouteEntry { gateway, rssi, at, .. }| {
        let state: Option<&GatewayState> = gateways.get(&gateway);
        let broker = state.map(|state| state.broker.to_string());
        Route { gateway, rssi_dbm: rssi.dbm(), at, online: state.is_some_and(|state| state.online), broker }
    };
    Ok(entries.into_iter().map(route).collect())
}

impl From<Desired> for Content {
    fn from(Desired { version, fields, at, task_id }: Desired) -> Self {
        Self { version, fields: (*fields).clone(), at, task_id, gateway: None }
    }
}

impl From<Shown> for Content {
    fn from(Shown { version, fields, at, task_id, gateway }: Shown) -> Self {
        Self { version, fields: (*fields).clone(), at, task_id, gateway }
    }
}

/// `BRL 299.90`.
fn price(fields: &Fields) -> String {
    let currency = fields.currency.map(|currency| currency.to_string());
    let price = fields.price.as_ref().map(ToString::to_string);
    currency.into_iter().chain(price).collect::<Vec<_>>().join(" ")
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.fields.name.as_deref().unwrap_or_default();
        write!(f, "{}  {name}  version {}  {}  task {}", price(&self.fields), self.version, self.at, self.task_id)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, "  gateway {gateway}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.known {
            writeln!(f, "label {}: unknown: it is not bound, no task names it, no gateway hears it", self.label)?;
            return self.write_routes(f);
        }
        let (store, sku) = (or_dash(self.store.as_ref()), or_dash(self.sku.as_ref()));
        writeln!(f, "label {}, store {store}, sku {sku}", self.label)?;
        writeln!(f, "desired  {}", or_dash(self.desired.as_ref()))?;
        writeln!(f, "shown    {}", or_dash(self.shown.as_ref()))?;
        let verdict = match (&self.desired, self.agrees) {
            (None, true) => "nothing was ever asked of it",
            (_, true) => "it shows what it should",
            (_, false) => "it does NOT show what it should",
        };
        writeln!(f, "{verdict}\n")?;
        self.write_routes(f)?;
        self.write_history(f)
    }
}

impl Report {
    fn write_routes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = match (&self.routes, &self.routes_error) {
            (Some(routes), _) if routes.is_empty() => return writeln!(f, "no gateway hears it"),
            (Some(routes), _) => routes,
            (None, error) => return writeln!(f, "routes unknown: {}", or_dash(error.as_ref())),
        };
        let mut rows = vec![["heard by", "dBm", "age", "state", "broker"].map(str::to_owned).to_vec()];
        for Route { gateway, rssi_dbm, at, online, broker } in routes {
            let state = if *online { "online" } else { "offline" };
            let broker = or_dash(broker.as_ref());
            rows.push(vec![gateway.to_string(), rssi_dbm.to_string(), ago(*at), state.to_owned(), broker]);
        }
        f.write_str(&table(&rows))
    }

    fn write_history(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.history.is_empty() {
            return writeln!(f, "\nno outcome is recorded");
        }
        let columns = ["ended", "outcome", "version", "price", "gateway", "attempts", "task", "reason"];
        let mut rows = vec![columns.map(str::to_owned).to_vec()];
        for result in &self.history {
            rows.push(vec![
                result.at.to_string(),
                result.outcome.to_string(),
                or_dash(result.version.as_ref()),
                self.price_of(result),
                or_dash(result.gateway.as_ref()),
                result.attempts.to_string(),
                result.task_id.to_string(),
                result.reason.clone().unwrap_or_default(),
            ]);
        }
        write!(f, "\n{}", table(&rows))
    }

    /// The price of a version: outcomes name versions only, and fields are kept of what is desired and what is shown.
    fn price_of(&self, result: &ResultMessage) -> String {
        let contents = self.shown.iter().chain(&self.desired);
        let found =
            contents.filter(|content| Some(content.version) == result.version).map(|content| price(&content.fields));
        or_dash(found.into_iter().next().as_ref())
    }
}

//! `esl label`: everything that is known of one label.

use crate::{
    back_end::BackEnd,
    cli::LabelArgs,
    failure::{Ending, Failure},
    output::Output,
    text::{ago, table},
};
use backbone::ledger::{Desired, Shown};
use protocol::{Fields, GatewayMac, LabelMac, ResultMessage, Sku, Store, TaskId, Timestamp, Version};
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// The strongest first; `null` where they can't be said.
    routes: Option<Vec<Route>>,
    /// Why there are no routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes_error: Option<String>,
    /// The battery in millivolts, as last reported.
    battery_mv: Option<u16>,
    /// The newest first.
    history: Vec<ResultMessage>,
}

/// What a label should show, or shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    version: Version,
    fields: Fields,
    at: Timestamp,
    task_id: TaskId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayMac>,
}

/// A gateway hears a label.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) gateway: GatewayMac,
    pub(crate) rssi_dbm: i8,
    pub(crate) at: Timestamp,
    pub(crate) online: bool,
    pub(crate) broker: Option<String>,
}

/// What a back-end knows of a label.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) known: bool,
    pub(crate) store: Option<Store>,
    pub(crate) sku: Option<Sku>,
    pub(crate) desired: Option<Content>,
    pub(crate) shown: Option<Content>,
    pub(crate) routes: Option<Vec<Route>>,
    pub(crate) routes_error: Option<String>,
    pub(crate) battery_mv: Option<u16>,
    pub(crate) history: Vec<ResultMessage>,
}

/// Says what is known of a label.
pub(crate) async fn run(args: &LabelArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    let facts = back_end.label(args.mac, args.history).await?;
    let Facts { known, store, sku, desired, shown, routes, routes_error, battery_mv, history } = facts;
    let agrees = desired.as_ref().map(|desired| desired.version) == shown.as_ref().map(|shown| shown.version);
    let label = args.mac;
    let report = Report { label, known, store, sku, desired, shown, agrees, routes, routes_error, battery_mv, history };
    output.answer(&report)?;
    Ok(Ending::of(report.known && report.agrees))
}

impl From<Desired> for Content {
    fn from(Desired { version, fields, at, task_id, batch: _ }: Desired) -> Self {
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
        writeln!(f, "{verdict}")?;
        if let Some(battery_mv) = self.battery_mv {
            writeln!(f, "battery  {battery_mv} mV")?;
        }
        writeln!(f)?;
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

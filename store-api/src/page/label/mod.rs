//! `/labels/{label}`: what it shows and should show, who hears it, everything that ever came of its tasks; letting it
//! blink, pinging it, and sending it its newest version again.

mod act;
mod history;
mod routes;
mod verdict;

pub(crate) use act::act;

use super::{
    layout::Place,
    parts::escaped,
    show::{View, show},
    visitor::Visitor,
    window::Windows,
};
use crate::{
    api::Api,
    ask::{PathOf, QueryOf},
    labels::place,
    problem::Problem,
};
use axum::{extract::State, response::Response};
use backbone::{
    ledger::{LabelRecord, Recorded},
    registry::{RouteEntry, Signal},
};
use maud::{Markup, html};
use protocol::{GatewayMac, LabelMac, Outcome, ResultMessage, Store, TaskId};
use serde::Deserialize;
use std::cmp::Reverse;

/// Outcomes on a page.
const PAGE: u32 = 50;

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// What was done, and the task that does it.
    what: Option<String>,
    task: Option<TaskId>,
    /// The place in the history behind which to go on.
    before: Option<String>,
}

struct Label {
    label: LabelMac,
    store: Option<Store>,
    asked: Asked,
}

/// `GET /labels/{label}`
pub(crate) async fn label(
    State(api): State<Api>,
    PathOf(label): PathOf<LabelMac>,
    QueryOf(asked): QueryOf<Asked>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let store = known(&api, &visitor, label).await?.and_then(|record| record.store);
    Ok(show(api, visitor, Label { label, store, asked }).await)
}

/// What the ledger knows of it, if the visitor may know.
async fn known(api: &Api, visitor: &Visitor, label: LabelMac) -> Result<Option<LabelRecord>, Problem> {
    let record = api.ledger.label(label).await?;
    match record.as_ref().and_then(|record| record.store.as_ref()) {
        Some(store) => visitor.demand(store)?,
        None if !visitor.may_all() => return Err(unknown(visitor, label)),
        None => {}
    }
    Ok(record)
}

fn unknown(visitor: &Visitor, label: LabelMac) -> Problem {
    Problem::not_found(format!(
        "{} {label}: {}",
        visitor.t("label", "etiqueta"),
        visitor.t(
            "it is not bound, no task names it, no gateway hears it",
            "não está vinculada, nenhuma tarefa a cita, nenhum gateway a ouve"
        )
    ))
}

/// All that the view shows.
struct Seen {
    record: LabelRecord,
    routes: Vec<RouteEntry>,
    windows: Windows,
    /// Who heard it how strongly in the last day.
    signals: Vec<(GatewayMac, Vec<Signal>)>,
    history: Vec<Recorded>,
    /// What came of the task that a button has made.
    answer: Option<ResultMessage>,
    /// How the task ended that asked for what it should show, unless it is shown or being repaired.
    ended: Option<ResultMessage>,
}

impl View for Label {
    const PLACE: Place = Place::None;

    fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn title(&self, visitor: &Visitor) -> String {
        format!("{} {}", visitor.t("Label", "Etiqueta"), self.label)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let record = known(api, visitor, self.label).await?;
        // The ledger alone says what a label shows: without the registry there are no routes, and that is all.
        let mut routes = api.registry.routes(self.label).await.unwrap_or_default();
        if record.is_none() && routes.is_empty() {
            return Err(unknown(visitor, self.label));
        }
        routes.sort_by_key(|route| Reverse(route.rssi));
        let before = self.asked.before.as_deref().map(place).transpose()?;
        let history = api.ledger.history_before(self.label, before.as_ref(), PAGE).await?;
        let latest = api.ledger.history(self.label, PAGE).await?;
        let of = |task: Option<&TaskId>| latest.iter().find(|ended| Some(&ended.task_id) == task).cloned();
        let answer = of(self.asked.task.as_ref());
        let desired = record.as_ref().and_then(|record| record.desired.as_ref());
        let ended = of(desired.map(|desired| &desired.task_id)).filter(|ended| ended.outcome != Outcome::Shown);
        let windows = Windows::read(api).await.unwrap_or_default();
        let signals = self.signals(api, &routes, &history).await.unwrap_or_default();
        let record = record.unwrap_or_default();
        Ok(self.draw(visitor, &Seen { record, routes, windows, signals, history, answer, ended }))
    }
}

impl Label {
    fn draw(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let LabelRecord { sku, .. } = &seen.record;
        html! {
            @if let Some(store) = &self.store {
                p.trail {
                    a href={ "/stores/" (store) } { (visitor.t("Store", "Loja")) " " (store) }
                    @if let Some(sku) = sku {
                        " / " a href={ "/stores/" (store) "/products/" (escaped(sku.as_str())) } { (visitor.t("Product", "Produto")) " " (sku) }
                    }
                }
            }
            h1 { (visitor.t("Label", "Etiqueta")) " " span.mac { (self.label) } }
            (verdict::verdict(visitor, seen))
            (self.buttons(visitor, seen))
            div.columns {
                section.card { (verdict::displays(visitor, &seen.record)) }
                section.card { (self.routes(visitor, seen)) }
            }
            section.card { (history::table(visitor, &seen.history)) }
        }
    }
}

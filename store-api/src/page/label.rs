//! `/labels/{label}`: what it shows and should show, who hears it, everything that ever came of its tasks; letting it
//! blink, pinging it, and sending it its newest version again.

use super::{
    actions::{Act, record},
    cause,
    door::FormOf,
    drawing::{Drawn, draw},
    layout::Place,
    parts::{self, button, escaped, tile},
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
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use backbone::{
    ledger::{LabelRecord, Recorded},
    queue,
    registry::{RouteEntry, Signal},
    service::now,
};
use maud::{Markup, html};
use protocol::{Action, GatewayMac, LabelMac, Outcome, ResultMessage, Sku, Store, Task, TaskId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use std::{cmp::Reverse, collections::BTreeSet};
use uuid::Uuid;

/// Outcomes on a page.
const PAGE: u32 = 50;
/// The signals of so many gateways are drawn.
const MOST_SIGNALS: usize = 8;
/// Whoever pressed a button does not wait longer.
const PATIENCE_MS: u64 = 30_000;

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// What was done, and the task that does it.
    what: Option<String>,
    task: Option<TaskId>,
    /// The place in the history behind which to go on.
    before: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    what: String,
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
        let answer = latest.into_iter().find(|ended| Some(&ended.task_id) == self.asked.task.as_ref());
        let windows = Windows::read(api).await.unwrap_or_default();
        let signals = self.signals(api, &routes, &history).await.unwrap_or_default();
        let record = record.unwrap_or_default();
        Ok(self.draw(visitor, &Seen { record, routes, windows, signals, history, answer }))
    }
}

impl Label {
    /// Of those who hear it, and of those who have lately done something with it.
    async fn signals(
        &self,
        api: &Api,
        routes: &[RouteEntry],
        history: &[Recorded],
    ) -> Result<Vec<(GatewayMac, Vec<Signal>)>, Problem> {
        let heard = routes.iter().map(|route| route.gateway);
        let gateways: BTreeSet<GatewayMac> =
            heard.chain(history.iter().filter_map(|ended| ended.result.gateway)).collect();
        let gateways: Vec<GatewayMac> = gateways.into_iter().take(MOST_SIGNALS).collect();
        let signals = api.registry.signals(self.label, &gateways).await?;
        Ok(gateways.into_iter().zip(signals).filter(|(_, signals)| !signals.is_empty()).collect())
    }

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
            (self.verdict(visitor, seen))
            (self.buttons(visitor, seen))
            div.columns {
                section.card { (displays(visitor, &seen.record)) }
                section.card { (self.routes(visitor, seen)) }
            }
            section.card { (self.history(visitor, &seen.history)) }
        }
    }

    fn verdict(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let record = &seen.record;
        let battery = seen.routes.iter().find_map(|route| route.battery_mv);
        let heard = seen.routes.iter().map(|route| route.at).max();
        let (class, sentence) = match (&record.desired, &record.shown) {
            (None, _) => ("blank", visitor.t("Nothing was ever to be shown.", "Nada foi pedido a ela ainda.")),
            (Some(desired), Some(shown)) if desired.version <= shown.version => {
                ("right", visitor.t("It shows what it should.", "Mostra o que deve."))
            }
            (Some(_), Some(_)) => ("late", visitor.t("It shows an old version.", "Mostra uma versão antiga.")),
            (Some(_), None) => ("late", visitor.t("It is not known to show anything.", "Não se sabe se mostra algo.")),
        };
        let bound = record.sku.is_some();
        html! {
            section class={ "verdict " (class) } {
                p.sentence aria-live="polite" { (sentence) }
                @if !bound { p { (visitor.t("It is bound to no product.", "Não está vinculada a nenhum produto.")) } }
                dl.tiles {
                    (tile("", visitor.t("Battery", "Bateria"), &volts(visitor, battery), ""))
                    (tile("", visitor.t("Gateways in reach", "Gateways ao alcance"), &visitor.language.number(seen.routes.len() as u64), ""))
                    @if let Some(heard) = heard { (tile("", visitor.t("Last heard", "Ouvida pela última vez"), &visitor.language.ago(heard), "")) }
                }
            }
        }
    }

    fn buttons(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let url = format!("/labels/{}", self.label);
        html! {
            div.buttons {
                @if self.store.is_some() {
                    (button(visitor, &url, "blink", visitor.t("Blink", "Piscar"), ""))
                    (button(visitor, &url, "ping", "Ping", ""))
                    @if seen.record.desired.is_some() {
                        (button(visitor, &url, "repair", visitor.t("Send again", "Enviar de novo"), ""))
                    }
                }
            }
            @if self.asked.task.is_some() { (self.came_back(visitor, seen.answer.as_ref())) }
        }
    }

    /// What came back to whoever pressed a button.
    fn came_back(&self, visitor: &Visitor, answer: Option<&ResultMessage>) -> Markup {
        let language = visitor.language;
        let what = match self.asked.what.as_deref() {
            Some("blink") => language.t("Blink", "Piscar"),
            Some("repair") => language.t("Send again", "Enviar de novo"),
            _ => "Ping",
        };
        let came = |ended: &ResultMessage| {
            let gateway = ended.gateway.map_or_else(|| "–".to_owned(), |gateway| gateway.to_string());
            let took = language.millis(ended.latency_ms);
            match ended.outcome {
                Outcome::Shown => format!(
                    "{} {gateway}, {took}",
                    language.t("the label answered through", "a etiqueta respondeu por")
                ),
                outcome => {
                    let reason = cause::reason(visitor.language, ended.reason.as_deref().unwrap_or("–"));
                    format!("{}: {reason} ({gateway}, {took})", parts::outcome_name(visitor, outcome))
                }
            }
        };
        let class = match answer.map(|ended| ended.outcome) {
            None => "waiting",
            Some(Outcome::Shown) => "good",
            Some(_) => "bad",
        };
        html! {
            p class={ "notice " (class) } role="status" {
                strong { (what) ": " }
                @match answer {
                    Some(ended) => (came(ended)),
                    None => (language.t("waiting for the gateway…", "aguardando o gateway…")),
                }
            }
        }
    }

    fn routes(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        html! {
            h2 { (visitor.t("Who hears it", "Quem a ouve")) }
            (last_day(visitor, &seen.signals, &seen.routes))
            @if seen.routes.is_empty() {
                p.fine { (visitor.t("No gateway has heard it lately.", "Nenhum gateway a ouviu ultimamente.")) }
            } @else {
                div.scroll tabindex="0" { table {
                    thead { tr {
                        th scope="col" { "Gateway" }
                        th.number scope="col" { "RSSI" }
                        th scope="col" { (visitor.t("Heard", "Ouvida")) }
                        th scope="col" { (visitor.t("State", "Estado")) }
                        th.number scope="col" { (visitor.t("In flight", "Em voo")) }
                    } }
                    tbody { @for route in &seen.routes { (self.route(visitor, seen, route)) } }
                } }
                div.plot #rssi role="img" data-plot=(signals(&seen.routes)) data-grows="true" data-dbm="true"
                    aria-label=(visitor.t("Signal strength since this page was opened", "Força do sinal desde que esta página foi aberta")) {}
                p.fine { (visitor.t("Signal strength (dBm) since this page was opened.", "Força do sinal (dBm) desde que esta página foi aberta.")) }
            }
        }
    }

    fn route(&self, visitor: &Visitor, seen: &Seen, route: &RouteEntry) -> Markup {
        html! { tr {
            th scope="row" {
                @match &self.store {
                    Some(store) => (parts::gateway_link(store, route.gateway)),
                    None => (route.gateway),
                }
            }
            td.number { (route.rssi.dbm()) " dBm" }
            td { (parts::ago(visitor, route.at)) }
            td { (seen.windows.health(visitor, route.gateway)) }
            td.number { (seen.windows.in_flight(visitor, route.gateway)) }
        } }
    }

    fn history(&self, visitor: &Visitor, history: &[Recorded]) -> Markup {
        let next = history.last().filter(|_| history.len() == PAGE as usize);
        html! {
            h2 { (visitor.t("History", "Histórico")) }
            @if history.is_empty() {
                p.fine { (visitor.t("No task of it has ended yet.", "Nenhuma tarefa dela terminou ainda.")) }
            } @else {
                div.scroll tabindex="0" { table.history {
                    thead { tr {
                        th scope="col" { (visitor.t("Ended", "Terminou")) }
                        th scope="col" { (visitor.t("How", "Como")) }
                        th scope="col" { (visitor.t("Price", "Preço")) }
                        th scope="col" { (visitor.t("Shown until", "Mostrado até")) }
                        th.number scope="col" { (visitor.t("Version", "Versão")) }
                        th scope="col" { "Gateway" }
                        th.number scope="col" { (visitor.t("Attempts", "Tentativas")) }
                        th.number scope="col" { (visitor.t("Took", "Levou")) }
                        th scope="col" { (visitor.t("Task", "Tarefa")) }
                    } }
                    tbody { @for (recorded, until) in history.iter().zip(untils(history)) { (row(visitor, recorded, until)) } }
                } }
                @if let Some(last) = next {
                    p { a href={ "?before=" (last.result.at.unix_millis()) "~" (escaped(last.result.task_id.as_str())) } { (visitor.t("Older", "Mais antigas")) } }
                }
            }
        }
    }
}

fn volts(visitor: &Visitor, battery_mv: Option<u16>) -> String {
    battery_mv.map_or_else(|| "–".to_owned(), |mv| format!("{} V", visitor.language.decimal(f64::from(mv) / 1e3, 2)))
}

/// How strongly each gateway has heard it, half hour by half hour, and now.
fn last_day(visitor: &Visitor, signals: &[(GatewayMac, Vec<Signal>)], routes: &[RouteEntry]) -> Markup {
    let title = visitor.t(
        "Signal strength (dBm) in the last day, by the half hour",
        "Força do sinal (dBm) no último dia, a cada meia hora",
    );
    html! {
        @if !signals.is_empty() {
            div.plot #signal-day role="img" data-plot=(day_of(signals, routes)) data-dbm="true" aria-label=(title) {}
            p.fine { (title) "." }
        }
    }
}

fn day_of(signals: &[(GatewayMac, Vec<Signal>)], routes: &[RouteEntry]) -> String {
    let now = now().unix_millis() / 1_000;
    let times: BTreeSet<i64> =
        signals.iter().flat_map(|(_, signals)| signals).map(|signal| seconds(signal.at)).collect();
    let series = signals.iter().map(|(gateway, signals)| {
        let of = |time: &i64| signals.iter().find(|signal| seconds(signal.at) == *time).map(|signal| signal.rssi.dbm());
        let current = routes.iter().find(|route| route.gateway == *gateway).map(|route| route.rssi.dbm());
        let values: Vec<_> = times.iter().map(of).chain([current]).collect();
        json!({ "name": gateway, "values": values })
    });
    let series: Vec<_> = series.collect();
    json!({ "times": times.iter().chain([&now]).collect::<Vec<_>>(), "series": series }).to_string()
}

fn seconds(at: Timestamp) -> i64 {
    at.unix_millis() / 1_000
}

/// What the script draws a point of: each gateway's signal at this moment.
fn signals(routes: &[RouteEntry]) -> String {
    let signal = |route: &RouteEntry| json!({ "name": route.gateway, "values": [route.rssi.dbm()] });
    let series: Vec<_> = routes.iter().map(signal).collect();
    json!({ "times": [now().unix_millis() / 1_000], "series": series }).to_string()
}

fn displays(visitor: &Visitor, record: &LabelRecord) -> Markup {
    let sku = record.sku.as_ref().map(Sku::as_str);
    let shown = record.shown.as_ref().map(|shown| Drawn { fields: &shown.fields, version: shown.version, sku });
    let desired =
        record.desired.as_ref().map(|desired| Drawn { fields: &desired.fields, version: desired.version, sku });
    html! {
        h2 { (visitor.t("Display", "Visor")) }
        div.displays {
            figure {
                figcaption { (visitor.t("Shows", "Mostra")) @if let Some(shown) = &record.shown { ", " (parts::ago(visitor, shown.at)) } }
                (draw(visitor, shown.as_ref()))
            }
            figure {
                figcaption { (visitor.t("Should show", "Deveria mostrar")) @if let Some(desired) = &record.desired { ", " (parts::ago(visitor, desired.at)) } }
                (draw(visitor, desired.as_ref()))
            }
        }
    }
}

/// Until when what each of these outcomes has shown was on the label; `None`: until now, or it has shown nothing.
fn untils(history: &[Recorded]) -> Vec<Option<Timestamp>> {
    let mut newer = None;
    let until = |recorded: &Recorded| match &recorded.fields {
        Some(_) => newer.replace(recorded.result.at),
        None => None,
    };
    history.iter().map(until).collect()
}

fn row(visitor: &Visitor, recorded: &Recorded, until: Option<Timestamp>) -> Markup {
    let Recorded { result, fields } = recorded;
    let language = visitor.language;
    let price = fields.as_ref().and_then(|fields| language.price(fields));
    html! { tr {
        th scope="row" { (parts::time(result.at)) }
        td {
            @if result.version.is_none() && result.outcome == Outcome::Shown { span.outcome.shown { (visitor.t("answered", "respondeu")) } }
            @else { (parts::outcome(visitor, result.outcome)) }
            @if let Some(reason) = &result.reason { " " span.fine { (cause::reason(visitor.language, reason)) } }
        }
        td.price { (price.as_deref().unwrap_or("–")) }
        td {
            @match (fields, until) {
                (Some(_), Some(until)) => (parts::time(until)),
                (Some(_), None) => (visitor.t("now", "agora")),
                (None, _) => "–",
            }
        }
        td.number { @if let Some(version) = result.version { (version) } @else { "–" } }
        td.mac { @if let Some(gateway) = result.gateway { (gateway) } @else { "–" } }
        td.number { (result.attempts) }
        td.number { (language.millis(result.latency_ms)) }
        td.task title=(result.task_id) { (result.task_id) }
    } }
}

/// `POST /labels/{label}`: enqueues what was asked for, and shows what comes of it.
pub(crate) async fn act(
    State(api): State<Api>,
    PathOf(label): PathOf<LabelMac>,
    visitor: Visitor,
    FormOf(Wanted { what }): FormOf<Wanted>,
) -> Result<Response, Problem> {
    let record_of = known(&api, &visitor, label).await?;
    let store = record_of.and_then(|record| record.store).ok_or_else(|| unknown(&visitor, label))?;
    let publisher = api.publisher.borrow().clone();
    let publisher = publisher.ok_or_else(|| {
        Problem::unavailable(
            visitor.t("the broker is away, so nothing was sent", "o broker está fora, então nada foi enviado"),
        )
    })?;
    let (name, action) = match what.as_str() {
        "blink" => ("blink", Action::Blink),
        "ping" => ("ping", Action::Ping),
        "repair" => ("repair", Action::Repair),
        other => return Err(Problem::unprocessable(format!("what {other:?}: expected blink, ping or repair"))),
    };
    record(&api, &visitor, Some(&store), Act { what: name, target: &label.to_string(), detail: "" }).await?;
    let id = TaskId::repair(Uuid::now_v7());
    let task = Task { store, action, timeout_ms: Some(PATIENCE_MS), ..Task::repair(id, label) };
    queue::enqueue(&publisher, task.priority, &serde_json::to_vec(&task).unwrap_or_default()).await?;
    let there = format!("/labels/{label}?what={name}&task={}", task.task_id);
    Ok(Redirect::to(&there).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Fields;

    #[test]
    fn what_was_shown_was_shown_until_the_next() {
        let recorded = |at, shows: bool| Recorded {
            result: ResultMessage {
                task_id: "t".parse().unwrap(),
                store: "s".parse().unwrap(),
                sku: None,
                label: LabelMac::from_octets([0; 6]),
                version: None,
                outcome: Outcome::Shown,
                reason: None,
                gateway: None,
                attempts: 1,
                latency_ms: 1,
                at: Timestamp::from_unix_millis(at),
                batch: None,
            },
            fields: shows.then(Fields::default),
        };
        let newest_first = [recorded(50, false), recorded(40, true), recorded(30, false), recorded(20, true)];
        assert_eq!(untils(&newest_first), [None, None, None, Some(Timestamp::from_unix_millis(40))]);
    }
}

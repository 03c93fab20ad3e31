//! `/stores/{store}/gateways`: who hears the labels of a store, and how well each gateway does.

use super::{
    latency::Latencies,
    layout::Place,
    parts::{self, tile},
    show::{View, show},
    survey::{Heard, Survey, millis},
    visitor::Visitor,
    window::Windows,
};
use crate::{api::Api, ask::PathOf, problem::Problem};
use axum::{
    extract::{Path, State},
    response::Response,
};
use backbone::{ledger::RpcSeen, service::now};
use maud::{Markup, html};
use protocol::{GatewayMac, LabelMac, Store, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// Answers are counted of so long, and of so many RPCs at most.
const MEASURED_FOR: Duration = Duration::from_secs(900);
const MEASURED: u32 = 20_000;
/// So many labels are listed.
const LISTED: usize = 200;

struct Gateways(Store);

struct Gateway {
    store: Store,
    gateway: GatewayMac,
}

/// `GET /stores/{store}/gateways`
pub(crate) async fn gateways(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    Ok(show(api, visitor, Gateways(store)).await)
}

/// `GET /stores/{store}/gateways/{gateway}`
pub(crate) async fn gateway(
    State(api): State<Api>,
    Path((store, gateway)): Path<(String, String)>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let store: Store = store.parse().map_err(|error: protocol::TextError| Problem::not_found(error.to_string()))?;
    let gateway = gateway.parse().map_err(|error: protocol::MacError| Problem::not_found(error.to_string()))?;
    visitor.demand(&store)?;
    Ok(show(api, visitor, Gateway { store, gateway }).await)
}

/// How a gateway has answered lately.
#[derive(Default)]
struct Answers {
    by_kind: BTreeMap<String, u64>,
    latencies: Vec<u64>,
}

async fn answers(api: &Api) -> Result<BTreeMap<Option<GatewayMac>, Answers>, Problem> {
    let since = Timestamp::from_unix_millis(now().unix_millis() - millis(MEASURED_FOR));
    let mut answers: BTreeMap<_, Answers> = BTreeMap::new();
    for RpcSeen { gateway, outcome, latency_ms } in api.ledger.latest_rpcs(since, MEASURED).await? {
        let of_gateway = answers.entry(gateway).or_default();
        *of_gateway.by_kind.entry(outcome).or_default() += 1;
        of_gateway.latencies.push(latency_ms as u64);
    }
    Ok(answers)
}

impl Answers {
    fn all(&self) -> u64 {
        self.by_kind.values().sum()
    }

    /// Answers that are none: whoever was asked did not do it.
    fn bad(&self) -> u64 {
        self.all() - self.by_kind.get("ack").copied().unwrap_or(0)
    }
}

impl View for Gateways {
    const PLACE: Place = Place::Gateways;

    fn store(&self) -> Option<&Store> {
        Some(&self.0)
    }

    fn title(&self, _: &Visitor) -> String {
        "Gateways".to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let survey = api.surveys.of(api, &self.0).await?;
        let windows = Windows::read(api).await?;
        let answers = answers(api).await?;
        Ok(html! {
            h1 { "Gateways" }
            @if survey.gateways.is_empty() {
                (parts::empty(visitor.t("No gateway hears a label of this store.", "Nenhum gateway ouve uma etiqueta desta loja."),
                    visitor.t("Gateways appear here with their first report.", "Gateways aparecem aqui com seu primeiro relatório.")))
            } @else { (self.table(visitor, &survey, &windows, &answers)) }
            (unanswered(visitor, &answers))
            (unheard(visitor, &survey.unheard))
        })
    }
}

impl Gateways {
    fn table(
        &self,
        visitor: &Visitor,
        survey: &Survey,
        windows: &Windows,
        answers: &BTreeMap<Option<GatewayMac>, Answers>,
    ) -> Markup {
        let heads = [
            visitor.t("Hears", "Ouve"),
            visitor.t("Only it", "Só ele"),
            visitor.t("In flight", "Em voo"),
            visitor.t("Line", "Fila"),
            visitor.t("Waiting", "Aguardando"),
            visitor.t("Failed", "Falhas"),
            visitor.t("Answers", "Respostas"),
            visitor.t("Refused", "Recusadas"),
            "p50",
            "p99",
        ];
        html! {
            div.scroll tabindex="0" { table {
                thead { tr {
                    th scope="col" { "Gateway" }
                    th scope="col" { (visitor.t("State", "Estado")) }
                    th scope="col" { (visitor.t("Last report", "Último relatório")) }
                    @for head in heads { th.number scope="col" { (head) } }
                } }
                tbody { @for (gateway, heard) in &survey.gateways {
                    (self.row(visitor, *gateway, heard, windows, answers.get(&Some(*gateway))))
                } }
            } }
            p.fine { (visitor.t("Answers are of the last 15 minutes. Waiting and failed are labels out of date that it hears best. In flight: commands that it has, of those that it may have at a time. Line: how long a label waits for it that comes now.",
                "Respostas dos últimos 15 minutos. Aguardando e falhas são etiquetas desatualizadas que ele ouve melhor. Em voo: comandos que ele tem, dos que pode ter ao mesmo tempo. Fila: quanto espera por ele uma etiqueta que chega agora.")) }
        }
    }

    fn row(
        &self,
        visitor: &Visitor,
        gateway: GatewayMac,
        heard: &Heard,
        windows: &Windows,
        answers: Option<&Answers>,
    ) -> Markup {
        let number = |number| visitor.language.number(number);
        let bad = answers.map_or(0, Answers::bad);
        let latencies = Latencies::of(answers.map(|answers| answers.latencies.clone()).unwrap_or_default());
        html! {
            tr {
                th scope="row" { (parts::gateway_link(&self.0, gateway)) }
                td { (windows.health(visitor, gateway)) }
                td { @if let Some(state) = windows.state(gateway) { (parts::ago(visitor, state.at)) } @else { "–" } }
                td.number { (number(heard.labels)) }
                td.number { (number(heard.only.len() as u64)) }
                td.number { (windows.in_flight(visitor, gateway)) }
                td.number { (windows.line(visitor, gateway)) }
                td.number { (number(heard.waiting)) }
                td.number.bad[heard.failed > 0] { (number(heard.failed)) }
                td.number { (number(answers.map_or(0, Answers::all))) }
                td.number.bad[bad > 0] { (number(bad)) }
                td.number { (latencies.percentile(visitor, 0.5)) }
                td.number { (latencies.percentile(visitor, 0.99)) }
            }
        }
    }
}

/// Who does not answer is not named by the answer.
fn unanswered(visitor: &Visitor, answers: &BTreeMap<Option<GatewayMac>, Answers>) -> Markup {
    let nobody = answers.get(&None);
    html! {
        @if let Some(nobody) = nobody {
            section.card {
                h2 { (visitor.t("Commands without an answer", "Comandos sem resposta")) }
                (kinds(visitor, nobody))
            }
        }
    }
}

fn kinds(visitor: &Visitor, answers: &Answers) -> Markup {
    let name = |kind: &str| match kind {
        "ack" => visitor.t("done", "feito").to_owned(),
        "nack" => visitor.t("refused", "recusado").to_owned(),
        "timeout" => visitor.t("no answer in time", "sem resposta a tempo").to_owned(),
        "no_route" => visitor.t("no gateway hears the label", "nenhum gateway ouve a etiqueta").to_owned(),
        "busy" => visitor.t("another command under way", "outro comando em andamento").to_owned(),
        "superseded" => visitor.t("a newer version", "uma versão mais nova").to_owned(),
        "expired" => visitor.t("too late to send", "tarde demais para enviar").to_owned(),
        other => other.to_owned(),
    };
    html! {
        table.balance { tbody { @for (kind, count) in &answers.by_kind { tr {
            th scope="row" { (name(kind)) }
            td.number { (visitor.language.number(*count)) }
            td.number { (visitor.language.percent(*count, answers.all())) }
        } } } }
    }
}

fn unheard(visitor: &Visitor, labels: &[LabelMac]) -> Markup {
    html! {
        @if !labels.is_empty() {
            section.card {
                h2 { (visitor.t("Heard by none: ", "Não ouvidas por nenhum: ")) (visitor.language.labels(labels.len() as u64)) }
                (list(visitor, labels))
            }
        }
    }
}

fn list(visitor: &Visitor, labels: &[LabelMac]) -> Markup {
    html! {
        p.macs { @for label in labels.iter().take(LISTED) { (parts::label_link(*label)) " " } }
        @if labels.len() > LISTED {
            p { (visitor.t("and more: ", "e mais: ")) (visitor.language.labels((labels.len() - LISTED) as u64)) }
        }
    }
}

impl View for Gateway {
    const PLACE: Place = Place::Gateways;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, _: &Visitor) -> String {
        format!("Gateway {}", self.gateway)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let survey = api.surveys.of(api, &self.store).await?;
        let windows = Windows::of(api, self.gateway).await?;
        let nothing = Heard::default();
        let heard = survey.gateways.get(&self.gateway);
        if heard.is_none() && (windows.state(self.gateway).is_none() || !visitor.may_all()) {
            return Err(Problem::not_found(match visitor.language.t("en", "pt") {
                "pt" => format!("o gateway {} não ouve nenhuma etiqueta desta loja", self.gateway),
                _ => format!("gateway {} hears no label of this store", self.gateway),
            }));
        }
        let mut answers = answers(api).await?;
        let answers = answers.remove(&Some(self.gateway)).unwrap_or_default();
        Ok(self.draw(visitor, heard.unwrap_or(&nothing), &windows, answers))
    }
}

impl Gateway {
    fn draw(&self, visitor: &Visitor, heard: &Heard, windows: &Windows, answers: Answers) -> Markup {
        let number = |number| visitor.language.number(number);
        let latencies = Latencies::of(answers.latencies.clone());
        let late = if heard.failed > 0 { "late" } else { "" };
        html! {
            p.trail { a href={ "/stores/" (self.store) "/gateways" } { "Gateways" } }
            h1 { "Gateway " span.mac { (self.gateway) } }
            p { (windows.health(visitor, self.gateway))
                @if let Some(state) = windows.state(self.gateway) {
                    " " (visitor.t("Last report ", "Último relatório ")) (parts::ago(visitor, state.at))
                    " " (visitor.t("through the broker ", "pelo broker ")) code { (state.broker.to_string()) }
                }
            }
            dl.tiles {
                (tile("", visitor.t("Labels heard", "Etiquetas ouvidas"), &number(heard.labels), ""))
                (tile("", visitor.t("Heard only by it", "Ouvidas só por ele"), &number(heard.only.len() as u64), ""))
                (tile("", visitor.t("In flight / window", "Em voo / janela"), &windows.in_flight(visitor, self.gateway), ""))
                (tile("", visitor.t("Line before it", "Fila diante dele"), &windows.line(visitor, self.gateway), ""))
                (tile("", visitor.t("Waiting for it", "Aguardando por ele"), &number(heard.waiting), ""))
                (tile(late, visitor.t("Failed", "Falhas"), &number(heard.failed), ""))
                (tile("", "p50", &latencies.percentile(visitor, 0.5), ""))
                (tile("", "p99", &latencies.percentile(visitor, 0.99), ""))
            }
            div.columns {
                section.card {
                    h2 { (visitor.t("Answers in the last 15 minutes", "Respostas nos últimos 15 minutos")) }
                    @if answers.all() == 0 {
                        p.fine { (visitor.t("None.", "Nenhuma.")) }
                    } @else {
                        (kinds(visitor, &answers))
                        (latencies.histogram(visitor))
                    }
                }
                section.card {
                    h2 { (visitor.t("Labels that only it hears", "Etiquetas que só ele ouve")) }
                    p.fine { (visitor.t("Without it, nothing reaches them.", "Sem ele, nada chega a elas.")) }
                    (list(visitor, &heard.only))
                }
            }
        }
    }
}

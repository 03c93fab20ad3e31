//! `/stores/{store}/gateways`: who hears the labels of a store, and how well each gateway does.

use super::{
    latency::Latencies,
    layout::Place,
    parts::{self, tile},
    show::{View, show},
    survey::{Heard, Survey},
    visitor::Visitor,
    window::Windows,
};
use crate::{api::Api, ask::PathOf, problem::Problem};
use axum::{
    extract::{Path, State},
    response::Response,
};
use backbone::registry::AnswerCounts;
use maud::{Markup, html};
use protocol::{GatewayMac, LabelMac, Store};

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

impl View for Gateways {
    const PLACE: Place = Place::Gateways;

    fn store(&self) -> Option<&Store> {
        Some(&self.0)
    }

    fn title(&self, _: &Visitor) -> String {
        "Gateways".to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let survey = api.survey(&self.0).await?;
        let windows = Windows::read(api).await?;
        let gateways: Vec<GatewayMac> = survey.gateways.keys().copied().collect();
        let answers = api.registry.answers(&gateways).await?;
        Ok(html! {
            h1 { "Gateways" }
            @if survey.gateways.is_empty() {
                (parts::empty(visitor.t("No gateway hears a label of this store.", "Nenhum gateway ouve uma etiqueta desta loja."),
                    visitor.t("Gateways appear here with their first report.", "Gateways aparecem aqui com seu primeiro relatório.")))
            } @else { (self.table(visitor, &survey, &windows, &answers)) }
            (unheard(visitor, &survey.unheard))
        })
    }
}

impl Gateways {
    fn table(&self, visitor: &Visitor, survey: &Survey, windows: &Windows, answers: &[AnswerCounts]) -> Markup {
        let heads = [
            visitor.t("Hears", "Ouve"),
            visitor.t("Only it", "Só ele"),
            visitor.t("In flight", "Em voo"),
            visitor.t("Line", "Fila"),
            visitor.t("Waiting", "Aguardando"),
            visitor.t("Failed", "Falhas"),
            visitor.t("Done", "Feitos"),
            visitor.t("Refused", "Recusados"),
            visitor.t("No answer", "Sem resposta"),
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
                tbody { @for ((gateway, heard), answers) in survey.gateways.iter().zip(answers) {
                    (self.row(visitor, *gateway, heard, windows, answers))
                } }
            } }
            p.fine { (visitor.t("Done, refused and without an answer are commands of the last 10 to 15 minutes; half and 99% of the answers took no longer than p50 and p99. Waiting and failed are labels out of date that it hears best. In flight: commands that it has, of those that it may have at a time. Line: how long a label waits for it that comes now.",
                "Feitos, recusados e sem resposta são comandos dos últimos 10 a 15 minutos; metade e 99% das respostas não levaram mais que p50 e p99. Aguardando e falhas são etiquetas desatualizadas que ele ouve melhor. Em voo: comandos que ele tem, dos que pode ter ao mesmo tempo. Fila: quanto espera por ele uma etiqueta que chega agora.")) }
        }
    }

    fn row(
        &self,
        visitor: &Visitor,
        gateway: GatewayMac,
        heard: &Heard,
        windows: &Windows,
        answers: &AnswerCounts,
    ) -> Markup {
        let number = |number| visitor.language.number(number);
        let Tally { done, refused, silent } = Tally::of(answers);
        let latencies = Latencies::counted(answers.latencies());
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
                td.number { (number(done)) }
                td.number.bad[refused > 0] { (number(refused)) }
                td.number.bad[silent > 0] { (number(silent)) }
                td.number { (latencies.percentile(visitor, 0.5)) }
                td.number { (latencies.percentile(visitor, 0.99)) }
            }
        }
    }
}

/// Answers by what they mean.
struct Tally {
    done: u64,
    refused: u64,
    silent: u64,
}

impl Tally {
    fn of(answers: &AnswerCounts) -> Self {
        let of = |kind| answers.kinds.get(kind).copied().unwrap_or(0);
        let (done, silent) = (of(AnswerCounts::ACK), of(AnswerCounts::TIMEOUT));
        Self { done, silent, refused: answers.kinds.values().sum::<u64>() - done - silent }
    }
}

/// Each kind of answer by itself, the most frequent first; a refusal in the gateway's own word.
fn kinds(visitor: &Visitor, answers: &AnswerCounts) -> Markup {
    let mut kinds: Vec<(&str, u64)> = answers.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = kinds.iter().map(|(_, count)| count).sum();
    html! {
        table.balance {
            caption.hidden { (visitor.t("Answers by kind", "Respostas por tipo")) }
            tbody { @for (kind, count) in kinds { tr {
                th scope="row" { @match kind {
                    AnswerCounts::ACK => (visitor.t("done", "feito")),
                    AnswerCounts::TIMEOUT => (visitor.t("no answer in time", "sem resposta a tempo")),
                    error => { (visitor.t("refused: ", "recusado: ")) code { (error) } },
                } }
                td.number { (visitor.language.number(count)) }
                td.number { (visitor.language.percent(count, all)) }
            } } }
        }
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
        let survey = api.survey(&self.store).await?;
        let windows = Windows::of(api, self.gateway).await?;
        let nothing = Heard::default();
        let heard = survey.gateways.get(&self.gateway);
        if heard.is_none() && (windows.state(self.gateway).is_none() || !visitor.may_all()) {
            return Err(Problem::not_found(match visitor.language.t("en", "pt") {
                "pt" => format!("o gateway {} não ouve nenhuma etiqueta desta loja", self.gateway),
                _ => format!("gateway {} hears no label of this store", self.gateway),
            }));
        }
        let answers = api.registry.answers(&[self.gateway]).await?.pop().unwrap_or_default();
        Ok(self.draw(visitor, heard.unwrap_or(&nothing), &windows, &answers))
    }
}

impl Gateway {
    fn draw(&self, visitor: &Visitor, heard: &Heard, windows: &Windows, answers: &AnswerCounts) -> Markup {
        let number = |number| visitor.language.number(number);
        let latencies = Latencies::counted(answers.latencies());
        let late = if heard.failed > 0 { "late" } else { "" };
        html! {
            p.trail { a href={ "/stores/" (self.store) "/gateways" } { "Gateways" } }
            h1 { "Gateway " span.mac { (self.gateway) } }
            p { (windows.health(visitor, self.gateway))
                @if let Some(state) = windows.state(self.gateway) {
                    " · " (visitor.t("last report ", "último relatório ")) (parts::ago(visitor, state.at))
                    " · " (visitor.t("through the broker ", "pelo broker ")) code { (state.broker.to_string()) }
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
                    h2 { (visitor.t("Answers in the last 10 to 15 minutes", "Respostas nos últimos 10 a 15 minutos")) }
                    @if answers.kinds.is_empty() {
                        p.fine { (visitor.t("None.", "Nenhuma.")) }
                    } @else {
                        (kinds(visitor, answers))
                        (latencies.histogram(visitor, visitor.t("How long answers took", "Quanto tempo as respostas levaram")))
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

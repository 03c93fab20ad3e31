//! Everything that ever came of a label's tasks.

use super::PAGE;
use crate::page::{
    cause,
    parts::{self, escaped},
    visitor::Visitor,
};
use backbone::ledger::Recorded;
use maud::{Markup, html};
use protocol::{Outcome, Timestamp};

pub(super) fn table(visitor: &Visitor, history: &[Recorded]) -> Markup {
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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Fields, LabelMac, ResultMessage};

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

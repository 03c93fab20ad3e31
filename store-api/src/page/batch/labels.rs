//! The labels of a batch that don't show what they should: what holds them up, or why it failed on them.

use super::{Batch, Seen, change::MOST_AGAIN};
use crate::page::{cause, parts, visitor::Visitor};
use maud::{Markup, html};
use protocol::BatchState;

/// So many labels are listed.
const LISTED: usize = 50;

impl Batch {
    pub(super) fn holders(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let language = visitor.language;
        html! {
            h2 { (visitor.t("What holds it up", "O que o atrasa")) }
            @if seen.held_up.is_empty() {
                p.fine { (visitor.t("No label of it is with a gateway now.", "Nenhuma etiqueta dele está com um gateway agora.")) }
            } @else {
                div.scroll tabindex="0" { table {
                    thead { tr {
                        th scope="col" { "Gateway" }
                        th scope="col" { (visitor.t("State", "Estado")) }
                        th.number scope="col" { (visitor.t("In flight", "Em voo")) }
                        th.number scope="col" { (visitor.t("Line", "Fila")) }
                        th.number scope="col" { (visitor.t("Labels not yet done", "Etiquetas por fazer")) }
                    } }
                    tbody { @for (gateway, labels) in &seen.held_up { tr {
                        th scope="row" {
                            @match gateway {
                                Some(gateway) => (parts::gateway_link(&self.store, *gateway)),
                                None => (visitor.t("none hears them", "nenhum as ouve")),
                            }
                        }
                        @match gateway {
                            Some(gateway) => {
                                td { (seen.windows.health(visitor, *gateway)) }
                                td.number { (seen.windows.in_flight(visitor, *gateway)) }
                                td.number { (seen.windows.line(visitor, *gateway)) }
                            }
                            None => { td { "–" } td.number { "–" } td.number { "–" } }
                        }
                        td.number { (language.number(*labels)) }
                    } } }
                } }
                h3 { (visitor.t("Not yet done", "Por fazer")) }
                p.macs { @for label in seen.waiting().take(LISTED) { (parts::label_link(label)) " " } }
                (more(visitor, seen.waiting().count()))
            }
        }
    }

    pub(super) fn failures(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let count = seen.failed().count();
        html! {
            h2 { (visitor.t("Still not right", "Ainda não certas")) }
            @if count == 0 {
                p.fine { (visitor.t("No label that it failed on is still out of date.", "Nenhuma etiqueta em que falhou continua desatualizada.")) }
            } @else {
                @if seen.state() == BatchState::Cancelled {
                    p.fine { (visitor.t("What was cancelled is not sent again: send prices that they should show.",
                        "O que foi cancelado não é enviado de novo: envie os preços que elas devem mostrar.")) }
                } @else {
                    p { a.button href={ (self.url()) "?confirm=send_again" } {
                        (visitor.t("Send again to ", "Enviar de novo a ")) (visitor.language.labels(count.min(MOST_AGAIN) as u64)) "…"
                    } }
                }
                table {
                    thead { tr {
                        th scope="col" { (visitor.t("Label", "Etiqueta")) }
                        th scope="col" { (visitor.t("Why", "Por quê")) }
                    } }
                    tbody { @for late in seen.failed().take(LISTED) { tr {
                        th scope="row" { (parts::label_link(late.label)) }
                        td.long { (cause::reason(visitor.language, late.reason.as_deref().unwrap_or("–"))) }
                    } } }
                }
                (more(visitor, count))
            }
        }
    }
}

fn more(visitor: &Visitor, all: usize) -> Markup {
    html! {
        @if all > LISTED {
            p { (visitor.t("and more: ", "e mais: ")) (visitor.language.labels((all - LISTED) as u64)) }
        }
    }
}

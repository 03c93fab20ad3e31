//! How far a batch is.

use super::Seen;
use crate::page::{
    batches::{bar, failed, state},
    parts::{self, tile},
    visitor::Visitor,
};
use maud::{Markup, html};
use protocol::BatchState;

impl Seen {
    pub(super) fn progress(&self, visitor: &Visitor) -> Markup {
        let (language, view) = (visitor.language, &self.view);
        let is_running = self.state() == BatchState::Running;
        let unknown = || "–".to_owned();
        let class = if self.may_be_held() && !is_running {
            "blank"
        } else if failed(view) > 0 {
            "late"
        } else if view.complete {
            "right"
        } else {
            "moving"
        };
        let labels = view.labels.map_or_else(unknown, |labels| language.number(labels));
        let rate = view.labels_per_second.map_or_else(unknown, |rate| language.decimal(rate, 1));
        let eta = view
            .eta_seconds
            .filter(|_| !view.complete && is_running)
            .map(|seconds| language.millis((seconds * 1e3) as u64));
        html! {
            section class={ "verdict " (class) } {
                p.sentence aria-live="polite" { (state(visitor, view, self.control.as_ref())) }
                (self.held(visitor))
                (bar(view))
                dl.tiles {
                    (tile("", visitor.t("Labels done", "Etiquetas feitas"), &language.number(view.done), &format!("/ {labels}")))
                    (tile("", visitor.t("Rate", "Taxa"), &rate, visitor.t("labels/s", "etiquetas/s")))
                    @if let Some(eta) = eta { (tile("", visitor.t("Done in about", "Pronto em cerca de"), &eta, "")) }
                    @if let Some(at) = view.enqueued_at { (tile("", visitor.t("Sent", "Enviado"), &language.ago(at), "")) }
                    @if let Some(at) = view.last_ended_at { (tile("", visitor.t("Latest label", "Última etiqueta"), &language.ago(at), "")) }
                }
            }
        }
    }

    /// Who has paused or cancelled it, and what that means.
    fn held(&self, visitor: &Visitor) -> Markup {
        let Some(control) = self.control.as_ref().filter(|control| control.state != BatchState::Running) else {
            return html! {};
        };
        let what = match control.state {
            BatchState::Cancelled => visitor.t("Cancelled by ", "Cancelado por "),
            _ => visitor.t("Paused by ", "Pausado por "),
        };
        html! {
            p { (what) strong { (control.by) } ", " (parts::ago(visitor, control.at)) ". "
                @if self.state() == BatchState::Paused && !self.view.complete {
                    (visitor.t("Nothing of it is sent, and no label runs out of time, until it is resumed.",
                        "Nada dele é enviado, e nenhuma etiqueta perde prazo, até que seja retomado."))
                }
            }
        }
    }

    pub(super) fn balance(&self, visitor: &Visitor) -> Markup {
        let (language, view) = (visitor.language, &self.view);
        html! {
            h2 { (visitor.t("Balance", "Balanço")) }
            table.balance {
                tbody {
                    @for (outcome, labels) in &view.outcomes { tr {
                        th scope="row" { (parts::outcome(visitor, *outcome)) }
                        td.number { (language.number(*labels)) }
                        td.number { (language.percent(*labels, view.labels.unwrap_or(view.done))) }
                    } }
                    @if let Some(waiting) = view.waiting { tr {
                        th scope="row" { (visitor.t("not yet done", "por fazer")) }
                        td.number { (language.number(waiting)) }
                        td.number { (language.percent(waiting, view.labels.unwrap_or(0))) }
                    } }
                }
            }
        }
    }
}

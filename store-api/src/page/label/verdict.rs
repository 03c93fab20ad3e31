//! Whether a label shows what it should, and if not, why; and how both look.

use super::Seen;
use crate::page::{
    cause::{self, Cause},
    drawing::{Drawn, draw},
    parts::{self, tile},
    visitor::Visitor,
};
use backbone::ledger::LabelRecord;
use maud::{Markup, html};
use protocol::{ResultMessage, Sku};

pub(super) fn verdict(visitor: &Visitor, seen: &Seen) -> Markup {
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
            @if class == "late" { (why(visitor, seen.ended.as_ref())) }
            @if !bound { p { (visitor.t("It is bound to no product.", "Não está vinculada a nenhum produto.")) } }
            dl.tiles {
                (tile("", visitor.t("Battery", "Bateria"), &volts(visitor, battery), ""))
                (tile("", visitor.t("Gateways in reach", "Gateways ao alcance"), &visitor.language.number(seen.routes.len() as u64), ""))
                @if let Some(heard) = heard { (tile("", visitor.t("Last heard", "Ouvida pela última vez"), &visitor.language.ago(heard), "")) }
            }
        }
    }
}

/// Why it does not show what it should, by how the task that asked for it has ended.
fn why(visitor: &Visitor, ended: Option<&ResultMessage>) -> Markup {
    let language = visitor.language;
    html! {
        @match ended {
            None => { p { (visitor.t("What it should show is on its way.", "O que deve mostrar está a caminho.")) } }
            Some(ended) => {
                @let cause = Cause::of(ended.outcome, ended.reason.as_deref());
                p {
                    strong { (cause.name(language)) }
                    @if let Some(reason) = &ended.reason { " (" (cause::reason(language, reason)) ")" }
                    ". " (cause.advice(language))
                }
            }
        }
    }
}

fn volts(visitor: &Visitor, battery_mv: Option<u16>) -> String {
    battery_mv.map_or_else(|| "–".to_owned(), |mv| format!("{} V", visitor.language.decimal(f64::from(mv) / 1e3, 2)))
}

pub(super) fn displays(visitor: &Visitor, record: &LabelRecord) -> Markup {
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

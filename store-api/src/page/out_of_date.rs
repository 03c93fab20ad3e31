//! `/stores/{store}/out-of-date`: the labels that don't show what they should, by cause.

use super::{
    cause::{self, Cause},
    layout::Place,
    parts,
    show::{View, show},
    visitor::Visitor,
};
use crate::{
    api::Api,
    ask::{PathOf, QueryOf},
    problem::Problem,
};
use axum::{extract::State, response::Response};
use backbone::ledger::OutOfDate;
use maud::{Markup, html};
use protocol::{LabelMac, Store};
use serde::Deserialize;

/// Labels on a page.
const PAGE: usize = 50;
/// So many are looked through at a time for those of a cause.
const LOOK: u32 = 1_000;
/// So often at most; the rest is on the next page.
const LOOKS: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    cause: String,
    after: Option<LabelMac>,
}

struct OutOfDateView {
    store: Store,
    asked: Asked,
}

/// `GET /stores/{store}/out-of-date`
pub(crate) async fn out_of_date(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    QueryOf(asked): QueryOf<Asked>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    Ok(show(api, visitor, OutOfDateView { store, asked }).await)
}

impl View for OutOfDateView {
    const PLACE: Place = Place::Store;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, visitor: &Visitor) -> String {
        let all = visitor.t("Not right", "Não certas");
        Cause::of_str(&self.asked.cause).map_or(all, |cause| cause.name(visitor.language)).to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let (labels, next) = self.find(api).await?;
        Ok(html! {
            p.trail { a href={ "/stores/" (self.store) } { (visitor.t("Store", "Loja")) " " (self.store) } }
            h1 { (self.title(visitor)) }
            @if let Some(cause) = Cause::of_str(&self.asked.cause) { p { (cause.advice(visitor.language)) } }
            @if labels.is_empty() {
                (parts::empty(visitor.t("No label.", "Nenhuma etiqueta."),
                    visitor.t("All that had this trouble show what they should by now.",
                        "Todas as que tinham este problema já mostram o que devem.")))
            } @else { (table(visitor, &labels)) }
            @if let Some(next) = next {
                p { a href={ "?cause=" (self.asked.cause) "&after=" (next) } { (visitor.t("More", "Mais")) } }
            }
        })
    }
}

impl OutOfDateView {
    /// A page of labels, and behind which label the next begins.
    async fn find(&self, api: &Api) -> Result<(Vec<OutOfDate>, Option<LabelMac>), Problem> {
        let cause = Cause::of_str(&self.asked.cause);
        let (mut found, mut after) = (Vec::new(), self.asked.after);
        for _ in 0..LOOKS {
            let looked = api.ledger.out_of_date(&self.store, after, LOOK).await?;
            let is_last = looked.len() < LOOK as usize;
            after = looked.last().map(|late| late.label).or(after);
            found.extend(looked.into_iter().filter(|late| cause.is_none_or(|cause| of(late) == Some(cause))));
            if found.len() > PAGE {
                found.truncate(PAGE);
                let next = found.last().map(|late| late.label);
                return Ok((found, next));
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, after))
    }
}

fn of(late: &OutOfDate) -> Option<Cause> {
    late.outcome.as_ref().map(|ended| Cause::of(ended.outcome, ended.reason.as_deref()))
}

fn table(visitor: &Visitor, labels: &[OutOfDate]) -> Markup {
    let language = visitor.language;
    let nothing = visitor.t("nothing", "nada");
    html! {
        div.scroll tabindex="0" { table {
            thead { tr {
                th scope="col" { (visitor.t("Label", "Etiqueta")) }
                th scope="col" { (visitor.t("Product", "Produto")) }
                th scope="col" { (visitor.t("Shows", "Mostra")) }
                th scope="col" { (visitor.t("Should show", "Deveria mostrar")) }
                th scope="col" { (visitor.t("Since", "Desde")) }
                th scope="col" { (visitor.t("Why", "Por quê")) }
            } }
            tbody {
                @for late in labels {
                    tr {
                        th scope="row" { (parts::label_link(late.label)) }
                        td.long dir="auto" { (late.desired.fields.name.as_deref().unwrap_or("–")) }
                        td.price { (late.shown.as_ref().and_then(|shown| language.price(&shown.fields)).as_deref().unwrap_or(nothing)) }
                        td.price { (language.price(&late.desired.fields).as_deref().unwrap_or("–")) }
                        td { (parts::ago(visitor, late.since)) }
                        td.long { (why(visitor, late)) }
                    }
                }
            }
        } }
    }
}

fn why(visitor: &Visitor, late: &OutOfDate) -> Markup {
    let Some(cause) = of(late) else {
        return html! { span.outcome.moving { (visitor.t("on its way", "a caminho")) } };
    };
    let reason = late.outcome.as_ref().and_then(|ended| ended.reason.as_deref());
    html! {
        (cause.name(visitor.language))
        @if let Some(reason) = reason { p.advice { (cause::reason(visitor.language, reason)) } }
    }
}

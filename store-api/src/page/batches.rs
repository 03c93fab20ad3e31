//! `/stores/{store}/batches`: what was sent lately, and how far it is.

use super::{
    layout::Place,
    parts::{self, escaped, stack},
    show::{View, show},
    visitor::Visitor,
};
use crate::{api::Api, ask::PathOf, batches::BatchView, problem::Problem};
use axum::{extract::State, response::Response};
use backbone::ledger::{BatchControl, BatchKey, BatchSeen};
use futures::future::join_all;
use maud::{Markup, html};
use protocol::{BatchState, Outcome, Store, Timestamp};
use std::collections::HashMap;

struct Batches(Store);

/// `GET /stores/{store}/batches`
pub(crate) async fn batches(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    Ok(show(api, visitor, Batches(store)).await)
}

impl View for Batches {
    const PLACE: Place = Place::Batches;

    fn store(&self) -> Option<&Store> {
        Some(&self.0)
    }

    fn title(&self, visitor: &Visitor) -> String {
        visitor.t("Batches", "Lotes").to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let seen = api.batches(&self.0).await?;
        let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
        let look = |BatchSeen { batch, .. }: &BatchSeen| {
            let batch = batch.clone();
            async move { api.progress(&batch).await?.view_for(api, &batch, caller).await }
        };
        let looks = join_all(seen.iter().map(look)).await;
        // One that came over AMQP is known to tokens for all stores only.
        let known: Vec<_> = seen.iter().zip(looks).filter_map(|(seen, view)| Some((seen.at, view.ok()?))).collect();
        let key = |view: &BatchView| BatchKey { store: self.0.clone(), batch: view.batch.clone() };
        let keys: Vec<BatchKey> = known.iter().map(|(_, view)| key(view)).collect();
        let controls = api.ledger.controls_of(&keys).await?;
        Ok(html! {
            h1 { (self.title(visitor)) }
            @if known.is_empty() {
                (parts::empty(
                    visitor.t("No batch was sent to this store yet.", "Nenhum lote foi enviado a esta loja ainda."),
                    visitor.t("A batch is a group of price changes that are sent together, such as a promotion.",
                        "Um lote é um grupo de mudanças de preço enviadas juntas, como uma promoção."),
                ))
            } @else { (self.table(visitor, &known, &controls)) }
        })
    }
}

impl Batches {
    fn table(
        &self,
        visitor: &Visitor,
        batches: &[(Timestamp, BatchView)],
        controls: &HashMap<BatchKey, BatchControl>,
    ) -> Markup {
        let number = |number| visitor.language.number(number);
        html! {
            div.scroll tabindex="0" { table {
                thead { tr {
                    th scope="col" { (visitor.t("Batch", "Lote")) }
                    th scope="col" { (visitor.t("Sent", "Enviado")) }
                    th scope="col" { (visitor.t("Progress", "Progresso")) }
                    th.number scope="col" { (visitor.t("Labels", "Etiquetas")) }
                    th.number scope="col" { (visitor.t("Not shown", "Não mostradas")) }
                } }
                tbody {
                    @for (at, view) in batches {
                        @let failed = failed(view);
                        @let control = controls.get(&BatchKey { store: self.0.clone(), batch: view.batch.clone() });
                        tr {
                            th.long scope="row" dir="auto" {
                                a href={ "/stores/" (self.0) "/batches/" (escaped(view.batch.as_str())) } { (view.batch) }
                            }
                            td { (parts::ago(visitor, *at)) }
                            td.progress { (bar(view)) span { (state(visitor, view, control)) } }
                            td.number { (number(view.done)) @if let Some(labels) = view.labels { " / " (number(labels)) } }
                            td.number.bad[failed > 0] { (number(failed)) }
                        }
                    }
                }
            } }
        }
    }
}

/// Labels of a batch that ended without what they were sent.
pub(crate) fn failed(view: &BatchView) -> u64 {
    [Outcome::Rejected, Outcome::Unreachable].iter().filter_map(|outcome| view.outcomes.get(outcome)).sum()
}

/// How the labels of a batch are, one beside the other.
pub(crate) fn bar(view: &BatchView) -> Markup {
    let of = |outcome| view.outcomes.get(&outcome).copied().unwrap_or(0);
    stack(&[
        ("right", of(Outcome::Shown)),
        ("superseded", of(Outcome::Superseded)),
        ("late", failed(view)),
        ("blank", view.waiting.unwrap_or(0)),
    ])
}

/// How far a batch is, in a few words.
pub(crate) fn state(visitor: &Visitor, view: &BatchView, control: Option<&BatchControl>) -> String {
    let held = match control.map(|control| control.state) {
        Some(BatchState::Paused) if !view.complete => visitor.t("Paused; ", "Pausado; "),
        Some(BatchState::Cancelled) => visitor.t("Cancelled; ", "Cancelado; "),
        _ => "",
    };
    let far = far(visitor, view);
    if held.is_empty() { far } else { format!("{held}{}", far.to_lowercase()) }
}

fn far(visitor: &Visitor, view: &BatchView) -> String {
    match (view.complete, view.waiting) {
        (true, _) if failed(view) > 0 => {
            format!(
                "{} {}",
                visitor.t("Done; not shown:", "Concluído; não mostradas:"),
                visitor.language.number(failed(view))
            )
        }
        (true, _) => visitor.t("Done", "Concluído").to_owned(),
        (false, Some(waiting)) => {
            let left = visitor.t("to go", "restantes");
            format!("{} {left}", visitor.language.number(waiting))
        }
        (false, None) => visitor.t("Size unknown", "Tamanho desconhecido").to_owned(),
    }
}

//! `/`: the stores that one may see. Where there is one, it is shown.

use super::{
    layout::Place,
    parts,
    show::{View, show},
    visitor::Visitor,
};
use crate::{api::Api, problem::Problem};
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use backbone::ledger::Standing;
use futures::future::try_join_all;
use maud::{Markup, html};
use protocol::Store;
use std::sync::Arc;

struct Stores;

/// `GET /`
pub(crate) async fn stores(State(api): State<Api>, visitor: Visitor) -> Response {
    if let Ok(stores) = visible(&api, &visitor).await
        && let [only] = &stores[..]
        && !visitor.follows
    {
        return Redirect::to(&format!("/stores/{only}")).into_response();
    }
    show(api, visitor, Stores).await
}

async fn visible(api: &Api, visitor: &Visitor) -> Result<Vec<Store>, Problem> {
    let all = api.stores().await?;
    Ok(all.iter().filter(|store| visitor.may(store) && **store != Store::unknown()).cloned().collect())
}

impl View for Stores {
    const PLACE: Place = Place::Stores;

    fn store(&self) -> Option<&Store> {
        None
    }

    fn title(&self, visitor: &Visitor) -> String {
        visitor.t("Stores", "Lojas").to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let stores = visible(api, visitor).await?;
        let standings = try_join_all(stores.iter().map(|store| api.standing(store))).await?;
        Ok(html! {
            h1 { (self.title(visitor)) }
            @if stores.is_empty() { (none(visitor)) } @else { (table(visitor, &stores, &standings)) }
        })
    }
}

fn none(visitor: &Visitor) -> Markup {
    parts::empty(
        visitor.t("No store has labels yet.", "Nenhuma loja tem etiquetas ainda."),
        visitor.t(
            "Bind labels to products (esl bind, or PUT /v1/stores/STORE/bindings), or enqueue a task that names labels.",
            "Vincule etiquetas a produtos (esl bind, ou PUT /v1/stores/LOJA/bindings), ou envie uma tarefa que cite etiquetas.",
        ),
    )
}

fn table(visitor: &Visitor, stores: &[Store], standings: &[Arc<Standing>]) -> Markup {
    let number = |number| visitor.language.number(number);
    html! {
        div.scroll tabindex="0" { table {
            thead { tr {
                th scope="col" { (visitor.t("Store", "Loja")) }
                th.number scope="col" { (visitor.t("Labels", "Etiquetas")) }
                th.number scope="col" { (visitor.t("On their way", "A caminho")) }
                th.number scope="col" { (visitor.t("Out of date", "Desatualizadas")) }
            } }
            tbody {
                @for (store, standing) in stores.iter().zip(standings) {
                    tr {
                        th scope="row" { a href={ "/stores/" (store) } { (store) } }
                        td.number { (number(standing.labels)) }
                        td.number { (number(standing.in_progress)) }
                        td.number { (number(standing.causes.iter().map(|cause| cause.labels).sum())) }
                    }
                }
            }
        } }
    }
}

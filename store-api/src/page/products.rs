//! `/stores/{store}/products`: what is sold, and on which labels; binding and unbinding them.

use super::{
    actions::{Act, record},
    door::FormOf,
    layout::{Place, form_key},
    parts::{self, escaped},
    show::{View, show},
    visitor::Visitor,
};
use crate::{
    api::Api,
    ask::{PathOf, QueryOf, demand_labels},
    problem::Problem,
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use backbone::ledger::{Binding, LabelRecord, Product};
use maud::{Markup, html};
use protocol::{Fields, LabelMac, Sku, Store};
use serde::Deserialize;
use std::collections::HashMap;

/// Products on a page.
const PAGE: u32 = 50;
/// So many labels of a product are listed.
const LISTED: usize = 200;
/// So many labels can be bound with one form.
const MOST: usize = 1_000;

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    after: Option<Sku>,
}

struct Products {
    store: Store,
    asked: Asked,
}

/// `GET /stores/{store}/products`. Whoever looks for a label by its whole MAC is shown it.
pub(crate) async fn products(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    QueryOf(mut asked): QueryOf<Asked>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    asked.q = asked.q.trim().chars().filter(|c| !c.is_control()).take(100).collect();
    if let Ok(label) = asked.q.parse::<LabelMac>()
        && api.ledger.label(label).await?.is_some_and(|record| record.store.as_ref() == Some(&store))
    {
        return Ok(Redirect::to(&format!("/labels/{label}")).into_response());
    }
    Ok(show(api, visitor, Products { store, asked }).await)
}

impl View for Products {
    const PLACE: Place = Place::Products;
    const IS_LIVE: bool = false;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, visitor: &Visitor) -> String {
        visitor.t("Products", "Produtos").to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let Asked { q, after } = &self.asked;
        let found = api.ledger.products(&self.store, q, after.as_ref(), PAGE).await?;
        let next = found.last().filter(|_| found.len() == PAGE as usize).map(|last| last.sku.clone());
        let url = format!("/stores/{}/products", self.store);
        Ok(html! {
            h1 { (self.title(visitor)) }
            form.search role="search" aria-label=(self.title(visitor)) action=(url) {
                label for="q" { (visitor.t("Number, name, or a label's MAC", "Número, nome, ou MAC de uma etiqueta")) }
                input #q type="search" name="q" value=(q) autocomplete="off" hx-get=(url) hx-target="#found"
                    hx-select="#found" hx-swap="outerHTML" hx-push-url="true" hx-trigger="input changed delay:250ms";
                button { (visitor.t("Search", "Buscar")) }
            }
            div #found aria-live="polite" {
                @if found.is_empty() { (self.nothing(visitor)) } @else { (self.table(visitor, &found)) }
                @if let Some(next) = next {
                    p { a href={ (url) "?q=" (escaped(q)) "&after=" (escaped(next.as_str())) } { (visitor.t("More", "Mais")) } }
                }
            }
        })
    }
}

impl Products {
    fn nothing(&self, visitor: &Visitor) -> Markup {
        let title = visitor.t("Nothing is found.", "Nada encontrado.");
        let why = visitor.t(
            "A part of the number, name or MAC is enough; capitals don't matter.",
            "Basta uma parte do número, nome ou MAC; maiúsculas não importam.",
        );
        parts::empty(title, why)
    }

    fn table(&self, visitor: &Visitor, products: &[Product]) -> Markup {
        let number = |number| visitor.language.number(number);
        let price = |product: &Product| {
            let (price, currency) = (product.price.clone(), product.currency);
            visitor.language.price(&Fields { price, currency, ..Fields::default() })
        };
        html! {
            div.scroll tabindex="0" { table {
                thead { tr {
                    th scope="col" { (visitor.t("Product", "Produto")) }
                    th scope="col" { (visitor.t("Name", "Nome")) }
                    th.number scope="col" { (visitor.t("Price", "Preço")) }
                    th.number scope="col" { (visitor.t("Labels", "Etiquetas")) }
                    th.number scope="col" { (visitor.t("Not right", "Não certas")) }
                } }
                tbody { @for product in products { tr {
                    th scope="row" { a href=(url(&self.store, &product.sku)) { (product.sku) } }
                    td.long dir="auto" { (product.name.as_deref().unwrap_or("–")) }
                    td.number.price { (price(product).as_deref().unwrap_or("–")) }
                    td.number { (number(product.labels)) }
                    td.number.bad[product.out_of_date > 0] { (number(product.out_of_date)) }
                } } }
            } }
        }
    }
}

fn url(store: &Store, sku: &Sku) -> String {
    format!("/stores/{store}/products/{}", escaped(sku.as_str()))
}

struct OneProduct {
    store: Store,
    sku: Sku,
    done: Done,
}

/// What was done before this is shown.
#[derive(Deserialize)]
pub(crate) struct Done {
    bound: Option<u64>,
    unbound: Option<u64>,
    #[serde(default)]
    confirm: bool,
}

/// What is to be done.
#[derive(Deserialize)]
pub(crate) struct Change {
    what: String,
    #[serde(default)]
    labels: String,
    count: Option<usize>,
}

fn read(visitor: &Visitor, (store, sku): &(String, String)) -> Result<(Store, Sku), Problem> {
    let wrong = |error: protocol::TextError| Problem::not_found(error.to_string());
    let (store, sku) = (store.parse().map_err(wrong)?, sku.parse().map_err(wrong)?);
    visitor.demand(&store)?;
    Ok((store, sku))
}

/// `GET /stores/{store}/products/{sku}`
pub(crate) async fn product(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    QueryOf(done): QueryOf<Done>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let (store, sku) = read(&visitor, &path)?;
    Ok(show(api, visitor, OneProduct { store, sku, done }).await)
}

impl View for OneProduct {
    const PLACE: Place = Place::Products;
    const IS_LIVE: bool = false;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, visitor: &Visitor) -> String {
        format!("{} {}", visitor.t("Product", "Produto"), self.sku)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let labels = api.ledger.labels_of(&self.store, &self.sku).await?;
        let listed = &labels[..labels.len().min(LISTED)];
        let records = api.ledger.desired_of(listed).await?;
        let name = records.values().find_map(|record| record.desired.as_ref()?.fields.name.clone());
        let language = visitor.language;
        Ok(html! {
            p.trail { a href={ "/stores/" (self.store) "/products" } { (visitor.t("Products", "Produtos")) } }
            h1.long dir="auto" { (name.as_deref().unwrap_or(self.sku.as_str())) }
            p { (visitor.t("Product ", "Produto ")) code { (self.sku) } ", " (language.labels(labels.len() as u64)) }
            (self.notice(visitor))
            @if self.done.confirm { (self.confirmation(visitor, labels.len())) }
            div.columns {
                section.card { (self.bound(visitor, &labels, &records)) }
                section.card { (self.bind(visitor)) }
            }
        })
    }
}

impl OneProduct {
    fn notice(&self, visitor: &Visitor) -> Markup {
        let language = visitor.language;
        let bound = self.done.bound.map(|count| {
            language.count(
                count,
                ["label is bound now.", "labels are bound now."],
                ["etiqueta vinculada.", "etiquetas vinculadas."],
            )
        });
        let unbound = self.done.unbound.map(|count| {
            language.count(
                count,
                ["label was unbound.", "labels were unbound."],
                ["etiqueta desvinculada.", "etiquetas desvinculadas."],
            )
        });
        html! { @for text in bound.iter().chain(&unbound) { p.notice role="status" { (text) } } }
    }

    fn confirmation(&self, visitor: &Visitor, count: usize) -> Markup {
        let url = url(&self.store, &self.sku);
        html! {
            section.confirm role="alertdialog" aria-labelledby="question" {
                h2 #question { (visitor.t("Unbind ", "Desvincular ")) (visitor.language.labels(count as u64)) "?" }
                p { (visitor.t("They keep what they show, but get no further price of this product.",
                    "Elas mantêm o que mostram, mas não recebem mais preços deste produto.")) }
                form method="post" action=(url) {
                    (form_key(visitor))
                    input type="hidden" name="count" value=(count);
                    button.primary name="what" value="unbind_all" { (visitor.t("Unbind all", "Desvincular todas")) }
                    a.button href=(url) { (visitor.t("Don't", "Não")) }
                }
            }
        }
    }

    fn bound(&self, visitor: &Visitor, labels: &[LabelMac], records: &HashMap<LabelMac, LabelRecord>) -> Markup {
        let url = url(&self.store, &self.sku);
        html! {
            h2 { (visitor.t("Its labels", "Suas etiquetas")) }
            @if labels.is_empty() {
                p.fine { (visitor.t("It has none.", "Não tem nenhuma.")) }
            } @else {
                table { tbody { @for label in labels.iter().take(LISTED) { tr {
                    th scope="row" { (parts::label_link(*label)) }
                    td { (stands(visitor, records.get(label))) }
                    td { form.inline method="post" action=(url) {
                        (form_key(visitor))
                        input type="hidden" name="labels" value=(label);
                        button name="what" value="unbind" aria-label={ (visitor.t("Unbind", "Desvincular")) " " (label) } {
                            (visitor.t("Unbind", "Desvincular"))
                        }
                    } }
                } } } }
                p { a.button href={ (url) "?confirm=true" } { (visitor.t("Unbind all…", "Desvincular todas…")) } }
            }
        }
    }

    fn bind(&self, visitor: &Visitor) -> Markup {
        html! {
            h2 { (visitor.t("Bind labels", "Vincular etiquetas")) }
            form method="post" action=(url(&self.store, &self.sku)) {
                (form_key(visitor))
                label for="labels" { (visitor.t("Their MACs, one per line", "Seus MACs, um por linha")) }
                textarea #labels name="labels" rows="5" required spellcheck="false" placeholder="001a2b3c4d5e" {}
                p.fine { (visitor.t("A label that stood for another product stands for this one then. It shows this product's price with its next update.",
                    "Uma etiqueta de outro produto passa a ser deste. Ela mostra o preço deste produto na próxima atualização.")) }
                button.primary name="what" value="bind" { (visitor.t("Bind", "Vincular")) }
            }
        }
    }
}

fn stands(visitor: &Visitor, record: Option<&LabelRecord>) -> Markup {
    let record = record.cloned().unwrap_or_default();
    let (desired, shown) = (record.desired.map(|desired| desired.version), record.shown.map(|shown| shown.version));
    match (desired, desired == shown) {
        (None, _) => html! { span.outcome { (visitor.t("never priced", "nunca precificada")) } },
        (Some(_), true) => html! { span.outcome.shown { (visitor.t("right", "certa")) } },
        (Some(_), false) => html! { span.outcome.rejected { (visitor.t("not right", "não certa")) } },
    }
}

/// `POST /stores/{store}/products/{sku}`
pub(crate) async fn change(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    visitor: Visitor,
    FormOf(change): FormOf<Change>,
) -> Result<Response, Problem> {
    let (store, sku) = read(&visitor, &path)?;
    let url = url(&store, &sku);
    let back = |query: String| Ok(Redirect::to(&format!("{url}?{query}")).into_response());
    let bound = api.ledger.labels_of(&store, &sku).await?;
    match change.what.as_str() {
        "bind" => {
            let labels = macs(&change.labels)?;
            let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
            demand_labels(&api, caller, &labels).await?;
            note(&api, &visitor, &store, "bind", &sku, &labels).await?;
            let bindings: Vec<_> =
                labels.iter().map(|&label| Binding { label, sku: sku.clone(), store: store.clone() }).collect();
            let report = api.ledger.bind(&bindings).await?;
            back(format!("bound={}", report.new + report.changed + report.unchanged))
        }
        "unbind_all" if change.count != Some(bound.len()) => back("confirm=true".to_owned()),
        "unbind" | "unbind_all" => {
            let named = if change.what == "unbind" { macs(&change.labels)? } else { bound.clone() };
            // Only what is this product's here.
            let labels: Vec<_> = named.into_iter().filter(|label| bound.binary_search(label).is_ok()).collect();
            note(&api, &visitor, &store, "unbind", &sku, &labels).await?;
            back(format!("unbound={}", api.ledger.unbind(&labels).await?))
        }
        other => Err(Problem::unprocessable(format!("what {other:?}: expected bind, unbind or unbind_all"))),
    }
}

async fn note(
    api: &Api,
    visitor: &Visitor,
    store: &Store,
    what: &'static str,
    sku: &Sku,
    labels: &[LabelMac],
) -> Result<(), Problem> {
    let named: Vec<String> = labels.iter().map(LabelMac::to_string).collect();
    record(api, visitor, Some(store), Act { what, target: sku.as_str(), detail: &named.join(" ") }).await
}

fn macs(text: &str) -> Result<Vec<LabelMac>, Problem> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|word| !word.is_empty());
    let labels: Result<Vec<LabelMac>, _> = words.map(str::parse).collect();
    let labels = labels.map_err(|error: protocol::MacError| Problem::unprocessable(error.to_string()))?;
    match labels.len() {
        1..=MOST => Ok(labels),
        count => Err(Problem::unprocessable(format!("{count} labels, expected 1 to {MOST}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_be_apart_by_anything() {
        let labels = macs("001a2b3c4d5e, 00:1A:2B:3C:4D:5F\r\n\n 001a2b3c4d60;").unwrap();
        assert_eq!(labels.len(), 3);
        assert!(macs(" ").is_err() && macs("001a2b3c4d5e x").is_err());
    }
}

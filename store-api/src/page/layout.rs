//! What is around every view.

use super::{
    assets,
    visitor::{Theme, Visitor},
};
use crate::problem::Problem;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use protocol::Store;

/// htmx evaluates nothing and adds no style: the policy would not let it.
const HTMX: &str =
    r#"{"allowEval":false,"includeIndicatorStyles":false,"selfRequestsOnly":true,"allowScriptTags":false}"#;

/// Which part of the page a view belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Stores,
    Store,
    Batches,
    Gateways,
    Products,
    DeadLetters,
    Actions,
    None,
}

/// A view and what is known of it.
pub(crate) struct Page<'a> {
    pub(crate) place: Place,
    pub(crate) store: Option<&'a Store>,
    pub(crate) title: &'a str,
    pub(crate) content: Markup,
    /// The content follows what happens.
    pub(crate) is_live: bool,
}

/// The whole page.
pub(crate) fn layout(visitor: &Visitor, page: &Page<'_>) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang=(visitor.language.tag()) data-theme=(visitor.theme.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (page.title) " · ESL" }
                link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                @for url in assets::styles() { link rel="stylesheet" href=(url); }
                @for url in assets::scripts() { script src=(url) defer {} }
            }
            body hx-ext="sse,morph" data-version=(assets::version()) {
                a.skip href="#main" { (visitor.t("Skip to the content", "Ir para o conteúdo")) }
                (header(visitor, page))
                (disconnected(visitor))
                main #main tabindex="-1" {
                    @if page.is_live {
                        div sse-connect=(visitor.url) {
                            div #view sse-swap="view" hx-swap="morph:innerHTML" { (page.content) }
                        }
                    } @else {
                        div #view { (page.content) }
                    }
                }
                (footer(visitor))
            }
        }
    };
    Html(page.into_string())
}

fn header(visitor: &Visitor, page: &Page<'_>) -> Markup {
    html! {
        header.top {
            a.brand href="/" {
                svg viewBox="0 0 24 24" aria-hidden="true" focusable="false" {
                    rect x="2" y="4" width="20" height="16" rx="3" {}
                    path d="M6 9h7M6 13h4M6 16h9" {}
                }
                span { "ESL" }
            }
            @if visitor.caller.is_some() {
                nav aria-label=(visitor.t("Views", "Telas")) { (views(visitor, page)) }
                @if let Some(store) = page.store {
                    form.find role="search" action={ "/stores/" (store) "/products" } {
                        label.hidden for="find" { (visitor.t("Product, name or label", "Produto, nome ou etiqueta")) }
                        input #find type="search" name="q" autocomplete="off"
                            placeholder=(visitor.t("Product, name or label", "Produto, nome ou etiqueta"));
                    }
                }
            }
        }
    }
}

fn views(visitor: &Visitor, page: &Page<'_>) -> Markup {
    let in_store = |path: &str| page.store.map(|store| format!("/stores/{store}{path}"));
    let links = [
        (Place::Stores, visitor.t("Stores", "Lojas"), Some("/".to_owned()).filter(|_| page.store.is_none())),
        (Place::Store, visitor.t("Store", "Loja"), in_store("")),
        (Place::Batches, visitor.t("Batches", "Lotes"), in_store("/batches")),
        (Place::Gateways, "Gateways", in_store("/gateways")),
        (Place::Products, visitor.t("Products", "Produtos"), in_store("/products")),
        (Place::DeadLetters, visitor.t("Dead letters", "Tarefas mortas"), Some(dead_letters(page.store))),
        (Place::Actions, visitor.t("Actions", "Ações"), in_store("/actions")),
    ];
    html! {
        ul {
            @for (place, name, url) in links {
                @if let Some(url) = url {
                    li { a href=(url) aria-current=[(place == page.place).then_some("page")] { (name) } }
                }
            }
        }
    }
}

/// Dead letters are of no store, but whoever comes from one wants to go back there.
fn dead_letters(store: Option<&Store>) -> String {
    store.map_or_else(|| "/dead-letters".to_owned(), |store| format!("/dead-letters?store={store}"))
}

fn disconnected(visitor: &Visitor) -> Markup {
    html! {
        div #disconnected role="status" hidden {
            strong { (visitor.t("No connection to the server.", "Sem conexão com o servidor.")) } " "
            (visitor.t("What you see is as of ", "O que você vê é de ")) span #as-of {} ". "
            (visitor.t("The page goes on by itself as soon as the server answers.",
                "A página continua sozinha assim que o servidor responder."))
        }
    }
}

fn footer(visitor: &Visitor) -> Markup {
    let themes = [
        (Theme::System, visitor.t("As the system", "Como o sistema")),
        (Theme::Light, visitor.t("Light", "Claro")),
        (Theme::Dark, visitor.t("Dark", "Escuro")),
    ];
    html! {
        footer {
            form.inline method="post" action="/preferences" {
                (form_key(visitor))
                input type="hidden" name="to" value=(visitor.url);
                fieldset {
                    legend { (visitor.t("Language", "Idioma")) }
                    @for (tag, name) in [("en", "English"), ("pt-BR", "Português")] {
                        button name="language" value=(tag) lang=(tag)
                            aria-pressed=(visitor.language.tag() == tag) { (name) }
                    }
                }
                fieldset {
                    legend { (visitor.t("Colours", "Cores")) }
                    @for (theme, name) in themes {
                        button name="theme" value=(theme.as_str()) aria-pressed=(visitor.theme == theme) { (name) }
                    }
                }
            }
            @if visitor.has_login && visitor.caller.is_some() {
                form.inline method="post" action="/logout" {
                    (form_key(visitor))
                    span { (visitor.name()) }
                    button { (visitor.t("Log out", "Sair")) }
                }
            }
        }
    }
}

/// What proves that a form is ours.
pub(crate) fn form_key(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="key" value=(visitor.form_key()); }
}

/// What is wrong, as a view.
pub(crate) fn trouble(visitor: &Visitor, problem: &Problem) -> Markup {
    let (title, advice) = match problem.status() {
        StatusCode::NOT_FOUND => (
            visitor.t("There is nothing here", "Não há nada aqui"),
            visitor.t("Look for it by the views above, or from the list of stores.", "Procure pelas telas acima ou a partir da lista de lojas."),
        ),
        StatusCode::FORBIDDEN => (
            visitor.t("This is not for you", "Isto não é para você"),
            visitor.t("Log in with another token, or go back.", "Entre com outro token, ou volte."),
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            visitor.t("A server does not answer", "Um servidor não responde"),
            visitor.t("This view comes by itself when it does. Labels keep what they show, and no task is lost.",
                "Esta tela volta sozinha quando ele responder. As etiquetas mantêm o que mostram e nenhuma tarefa se perde."),
        ),
        _ => (
            visitor.t("This does not work", "Isto não funciona"),
            visitor.t("Go back and mend what is named here.", "Volte e corrija o que está indicado aqui."),
        ),
    };
    html! {
        section.trouble {
            h1 { (title) }
            p { (problem.detail()) }
            p { (advice) }
        }
    }
}

/// What is wrong, as a page.
pub(crate) fn problem(visitor: &Visitor, problem: &Problem) -> Response {
    let title = visitor.t("Trouble", "Problema");
    let content = trouble(visitor, problem);
    let page = Page { place: Place::None, store: None, title, content, is_live: false };
    (problem.status(), layout(visitor, &page)).into_response()
}

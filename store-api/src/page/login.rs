//! Logging in with one of the API's tokens, and how the page is wanted.

use super::{
    door::{FormOf, own_path, set_cookie},
    language::Language,
    layout::{Page, Place, form_key, layout},
    visitor::{LANGUAGE, SESSION, THEME, Theme, Visitor},
};
use crate::api::Api;
use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use maud::html;
use serde::Deserialize;

/// Who is away for so long logs in again.
const SESSION_SECONDS: u32 = 12 * 3600;
const YEAR_SECONDS: u32 = 365 * 24 * 3600;

#[derive(Deserialize)]
pub(crate) struct To {
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(crate) struct Preference {
    language: Option<String>,
    theme: Option<String>,
    #[serde(default)]
    to: String,
}

/// The form, and where to go afterwards.
pub(crate) fn url(to: &str) -> String {
    let query = serde_urlencoded::to_string([("to", to)]).unwrap_or_default();
    format!("/login?{query}")
}

/// `GET /login`
pub(crate) async fn form(visitor: Visitor, Query(To { to }): Query<To>) -> Response {
    ask(&visitor, &to, false)
}

fn ask(visitor: &Visitor, to: &str, is_wrong: bool) -> Response {
    let title = visitor.t("Log in", "Entrar");
    let wrong = visitor.t("This token is not known here.", "Este token não é conhecido aqui.");
    let content = html! {
        section.card.login {
            h1 { (title) }
            p { (visitor.t("With a token of the store API. It says which stores you see.",
                "Com um token da API da loja. Ele diz quais lojas você vê.")) }
            form method="post" action="/login" {
                (form_key(visitor))
                input type="hidden" name="to" value=(own_path(to));
                label for="token" { "Token" }
                input #token type="password" name="token" required autocomplete="current-password"
                    aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("wrong")];
                @if is_wrong { p #wrong.wrong role="alert" { (wrong) } }
                button.primary { (title) }
            }
        }
    };
    let status = if is_wrong { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let page = Page { place: Place::None, store: None, title, content, is_live: false };
    (status, layout(visitor, &page)).into_response()
}

/// `POST /login`
pub(crate) async fn login(
    State(api): State<Api>,
    visitor: Visitor,
    headers: HeaderMap,
    FormOf(Login { token, to }): FormOf<Login>,
) -> Response {
    let token = token.trim();
    let is_known = api.tokens.as_ref().is_some_and(|tokens| tokens.caller(token).is_some());
    // What can't stand in a cookie is no token that a header could have either.
    let is_plain = token.bytes().all(|octet| octet.is_ascii_graphic() && !b"\",;\\".contains(&octet));
    if !is_known || !is_plain {
        return ask(&visitor, &to, true);
    }
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let cookie = set_cookie(SESSION, token, Some(SESSION_SECONDS)) + if secure { "; Secure" } else { "" };
    ([(header::SET_COOKIE, cookie)], Redirect::to(own_path(&to))).into_response()
}

/// `POST /logout`
pub(crate) async fn logout(FormOf(To { .. }): FormOf<To>) -> Response {
    ([(header::SET_COOKIE, set_cookie(SESSION, "", Some(0)))], Redirect::to("/login")).into_response()
}

/// `POST /preferences`
pub(crate) async fn prefer(FormOf(Preference { language, theme, to }): FormOf<Preference>) -> Response {
    let language = language.and_then(|tag| Language::of_tag(&tag)).map(|language| (LANGUAGE, language.tag()));
    let theme = theme.map(|theme| (THEME, Theme::of(&theme).as_str()));
    let chosen = language.into_iter().chain(theme);
    let cookies = chosen.map(|(name, value)| (header::SET_COOKIE, set_cookie(name, value, Some(YEAR_SECONDS))));
    (AppendHeaders(cookies.collect::<Vec<_>>()), Redirect::to(own_path(&to))).into_response()
}

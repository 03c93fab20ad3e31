//! What every request to the page passes.

use super::{
    layout,
    visitor::{FORM, SESSION, Visitor, cookie},
};
use crate::{api::Api, problem::Problem, tokens::Caller};
use axum::{
    body::to_bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use serde::de::DeserializeOwned;
use std::{net::IpAddr, time::Instant};

/// Nothing but our own files, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// No form has more.
const MAX_FORM: usize = 64 << 10;

/// Bounds and counts a request, and finds out who asks.
pub(crate) async fn door(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let mut visitor = Visitor::of(&parts, api.tokens.is_some());
    let entered = enter(&api, &parts.headers, &parts.method);
    let mut response = match entered {
        Err(problem) => problem.into_response(),
        Ok(caller) => {
            visitor.caller = caller;
            parts.extensions.insert(visitor.clone());
            let request = Request::from_parts(parts, body);
            bounded(&api, request, next).await.unwrap_or_else(Problem::into_response)
        }
    };
    if let Some(problem) = response.extensions().get::<Problem>() {
        response = layout::problem(&visitor, problem);
    }
    leave(&api, &visitor, response, began)
}

/// Answers a browser that has asked for a path that there is not.
pub(crate) fn unknown(api: &Api, request: Request) -> Response {
    let began = Instant::now();
    let (parts, _) = request.into_parts();
    let mut visitor = Visitor::of(&parts, api.tokens.is_some());
    let problem = match enter(api, &parts.headers, &parts.method) {
        Ok(caller) => {
            visitor.caller = caller;
            let text = visitor.t("no page has the address", "nenhuma página tem o endereço");
            Problem::not_found(format!("{text} {}", parts.uri.path()))
        }
        Err(problem) => problem,
    };
    let response = layout::problem(&visitor, &problem);
    leave(api, &visitor, response, began)
}

fn leave(api: &Api, visitor: &Visitor, mut response: Response, began: Instant) -> Response {
    guard(visitor, response.headers_mut());
    api.metrics.count_request(response.status().as_u16(), began.elapsed());
    response
}

fn enter(api: &Api, headers: &HeaderMap, method: &Method) -> Result<Option<Caller>, Problem> {
    if *method == Method::POST && !is_ours(headers) {
        return Err(Problem::forbidden("this form was sent by another site"));
    }
    match &api.tokens {
        Some(tokens) => Ok(cookie(headers, SESSION).and_then(|token| tokens.caller(token)).cloned()),
        // Without tokens whoever reaches loopback may do everything: also a site whose name leads there.
        None if names_this_machine(headers) => Ok(Some(Caller::local())),
        None => Err(Problem::forbidden("without tokens the page is only for this machine: open it by its address")),
    }
}

async fn bounded(api: &Api, request: Request, next: Next) -> Result<Response, Problem> {
    let busy = || Problem::unavailable("too many requests are served at this moment");
    let _permit = api.permits.try_acquire().map_err(|_| busy())?;
    let late = |_| Problem::unavailable(format!("not done within {:?}", api.timeout));
    tokio::time::timeout(api.timeout, next.run(request)).await.map_err(late)
}

/// Sends to the login whoever is not known.
pub(crate) async fn demand_caller(visitor: Visitor, request: Request, next: Next) -> Response {
    if visitor.caller.is_some() {
        return next.run(request).await;
    }
    if visitor.follows || request.method() != Method::GET {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Redirect::to(&super::login::url(&visitor.url)).into_response()
}

fn guard(visitor: &Visitor, headers: &mut HeaderMap) {
    let headers_of_all = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in headers_of_all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if visitor.is_new
        && let Ok(cookie) = HeaderValue::from_str(&set_cookie(FORM, &visitor.secret, None))
    {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// A cookie of ours; without an age it ends with the browser.
pub(crate) fn set_cookie(name: &str, value: &str, seconds: Option<u32>) -> String {
    let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}")
}

/// Browsers say where a form comes from; what says nothing at all is no browser, and has no cookies of one.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == text(header::HOST)
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// A path of ours that was handed on by the browser; anything else leads to the first view.
pub(crate) fn own_path(text: &str) -> &str {
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
    if is_path && text.parse::<Uri>().is_ok() { text } else { "/" }
}

/// A form that was filled in on our own page.
pub(crate) struct FormOf<T>(pub(crate) T);

#[derive(serde::Deserialize)]
struct Key {
    key: String,
}

impl<T: DeserializeOwned> FromRequest<Api> for FormOf<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let visitor = visitor.ok_or_else(|| Problem::forbidden("the request passed no door"))?;
        let body = to_bytes(request.into_body(), MAX_FORM).await;
        let body = body.map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large"))?;
        let stale = || Problem::forbidden("this form is too old: open the page again");
        let Key { key } = serde_urlencoded::from_bytes(&body).map_err(|_| stale())?;
        if key != visitor.form_key() {
            return Err(stale());
        }
        let form = serde_urlencoded::from_bytes(&body);
        form.map(Self).map_err(|error| Problem::unprocessable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        assert!(is_ours(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_ours(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(!is_ours(&headers(&[("sec-fetch-site", "same-site"), ("host", "a")])));
        assert!(is_ours(&headers(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")])));
        assert!(!is_ours(&headers(&[("origin", "http://evil"), ("host", "127.0.0.1:8080")])));
        assert!(!is_ours(&headers(&[("origin", "null"), ("host", "127.0.0.1:8080")])));
    }

    #[test]
    fn a_name_that_leads_to_loopback_is_not_this_machine() {
        for ours in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"] {
            assert!(names_this_machine(&[(header::HOST, ours.parse().unwrap())].into_iter().collect()), "{ours}");
        }
        assert!(!names_this_machine(&headers(&[("host", "rebound.example:8080")])));
        assert!(!names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn one_is_sent_back_only_to_our_own_paths() {
        assert_eq!(own_path("/stores/sp-014?a=b"), "/stores/sp-014?a=b");
        for foreign in ["//evil", "https://evil", "/\\evil", "", "javascript:x"] {
            assert_eq!(own_path(foreign), "/");
        }
    }
}

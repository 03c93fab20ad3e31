//! What every request passes: who asks, how many at a time, for how long.

use crate::{api::Api, page, problem::Problem, tokens::Caller};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::time::Instant;

/// Bounds, authenticates and counts a request.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    // Every path of the API begins so, and the page has routes of its own.
    if !request.uri().path().starts_with("/v1/") && is_of_a_browser(&request) {
        return page::unknown(&api, request);
    }
    let began = Instant::now();
    let response = bounded(&api, request, next).await.unwrap_or_else(Problem::into_response);
    api.metrics.count_request(response.status().as_u16(), began.elapsed());
    response
}

/// A person who has mistyped an address reads a page, not a problem document.
fn is_of_a_browser(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    request.method() == Method::GET && accept.is_some_and(|accept| accept.contains("text/html"))
}

async fn bounded(api: &Api, mut request: Request, next: Next) -> Result<Response, Problem> {
    let busy = || Problem::unavailable("too many requests are served at this moment; repeat it after Retry-After");
    let _permit = api.permits.try_acquire().map_err(|_| busy())?;
    let caller = match &api.tokens {
        None => Caller::local(),
        Some(_) if matches!(request.uri().path(), "/v1/openapi.json" | "/v1/asyncapi.json") => Caller::local(),
        Some(tokens) => {
            let token = bearer(request.headers()).ok_or_else(|| unauthorized("no bearer token"))?;
            tokens.caller(token).ok_or_else(|| unauthorized("an unknown token"))?.clone()
        }
    };
    tracing::debug!(caller.name = %caller.name, http.path = request.uri().path(), "request");
    request.extensions_mut().insert(caller);
    let late =
        |_| Problem::unavailable(format!("not done within {:?}; repeat it with the same Idempotency-Key", api.timeout));
    tokio::time::timeout(api.timeout, next.run(request)).await.map_err(late)
}

fn unauthorized(what: &str) -> Problem {
    let detail = format!("{what}: send the header Authorization: Bearer TOKEN with one of the server's tokens");
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

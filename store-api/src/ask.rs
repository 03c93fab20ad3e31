//! Reading what is asked: paths, queries and bodies, with problem documents for what can't be read.

use crate::{api::Api, problem::Problem, tokens::Caller};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use protocol::{LabelMac, Store};
use serde::de::DeserializeOwned;
use std::{fmt::Display, str::FromStr, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;

/// The one parameter of a path.
pub(crate) struct PathOf<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|error| Problem::bad(error.body_text()))?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::unprocessable(error.to_string()))
    }
}

/// The two parameters of a path.
pub(crate) struct PathOfTwo<A, B>(pub(crate) A, pub(crate) B);

impl<S, A, B> FromRequestParts<S> for PathOfTwo<A, B>
where
    S: Send + Sync,
    A: FromStr<Err: Display>,
    B: FromStr<Err: Display>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts: Result<Path<(String, String)>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path((one, other)) = texts.map_err(|error| Problem::bad(error.body_text()))?;
        let one = one.parse().map_err(|error: A::Err| Problem::unprocessable(error.to_string()))?;
        let other = other.parse().map_err(|error: B::Err| Problem::unprocessable(error.to_string()))?;
        Ok(Self(one, other))
    }
}

/// The parameters of a query.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| Problem::unprocessable(error.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request passed no guard"))
    }
}

/// A body in one of the two formats that files of prices and bindings have.
pub(crate) struct Sent {
    pub(crate) format: Format,
    pub(crate) body: Bytes,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

impl Sent {
    /// It has been read, and what comes of it takes a while.
    pub(crate) fn forget_body(&mut self) {
        self.body = Bytes::new();
    }
}

impl FromRequest<Api> for Sent {
    type Rejection = Problem;
    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let kind = media_type(request.headers());
        let format = match kind.as_deref() {
            Some("application/json") => Format::Json,
            Some("text/csv") => Format::Csv,
            other => {
                let detail = format!("Content-Type {}: expected application/json or text/csv", said(other));
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
        };
        let permit = Arc::clone(&api.bodies).acquire_owned().await;
        let _permit = permit.map_err(|_| Problem::unavailable("stopping"))?;
        Ok(Self { format, body: read(api, request.into_body()).await?, _permit })
    }
}

/// A body in JSON.
pub(crate) struct JsonOf<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for JsonOf<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let kind = media_type(request.headers());
        if kind.as_deref() != Some("application/json") {
            let detail = format!("Content-Type {}: expected application/json", said(kind.as_deref()));
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let body = read(api, request.into_body()).await?;
        from_json(&body).map(Self)
    }
}

/// Reads JSON; what is JSON, but of another shape or with other values than expected, is told apart from what is none.
pub(crate) fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body: {error}");
        if error.is_data() { Problem::unprocessable(detail) } else { Problem::bad(detail) }
    })
}

fn said(kind: Option<&str>) -> String {
    kind.map_or_else(|| "absent".to_owned(), |kind| format!("{kind:?}"))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

async fn read(api: &Api, body: Body) -> Result<Bytes, Problem> {
    // Nothing else fails but a caller that goes away, who does not read this.
    to_bytes(body, api.max_body).await.map_err(|_| {
        let detail = format!("the body has more than {} bytes: send it in parts", api.max_body);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })
}

/// Refuses a caller whose token is not for this store.
pub(crate) fn demand_store(caller: &Caller, store: &Store) -> Result<(), Problem> {
    if caller.may(store) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this token is not for store {store}; use one that is")))
}

/// Refuses a caller whose token is not for the stores that these labels are in.
pub(crate) async fn demand_labels(api: &Api, caller: &Caller, labels: &[LabelMac]) -> Result<(), Problem> {
    if caller.may_all() || labels.is_empty() {
        return Ok(());
    }
    let known = api.ledger.desired_of(labels).await?;
    let foreign = |label: &&LabelMac| {
        let store = known.get(label).and_then(|record| record.store.as_ref());
        store.is_some_and(|store| !caller.may(store))
    };
    match labels.iter().find(foreign) {
        Some(label) => Err(Problem::forbidden(format!("label {label} is in a store that this token is not for"))),
        None => Ok(()),
    }
}

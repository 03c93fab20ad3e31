//! Problem documents (RFC 9457): every answer that is not a success says what is wrong and what to do.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use backbone::{ledger::LedgerError, queue::QueueError, registry::RegistryError, sheet::BadCell};
use serde::Serialize;
use std::error::Error;
use utoipa::ToSchema;

/// Those who are told to come back are told to wait so long.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Why a request was not served, and what to do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// What is wrong with each task or line, where that is why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// What to repeat the request with, where part of it may have been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

/// One thing that is wrong in a body.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The place in the array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
    /// The line of the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    /// The column of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<String>,
    /// What is wrong.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            idempotency_key: None,
        }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// The answer is to come back soon.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }
}

impl From<&BadCell> for Fault {
    fn from(cell: &BadCell) -> Self {
        let detail = format!("{:?}: expected {}", cell.value, cell.expected);
        Self { index: None, line: Some(cell.line), column: cell.column.map(str::to_owned), detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(&self)).into_response();
        // The page says it in another form.
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Logged here, where it is handled; the caller learns which server it is, not where.
fn server_down(server: &str, error: &(dyn Error + 'static)) -> Problem {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let chain = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    tracing::warn!(error = chain, "{server} does not serve a request");
    Problem::unavailable(format!("{server} does not answer; repeat the request after the time in Retry-After"))
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        if let LedgerError::Refused { .. } = error {
            tracing::warn!(%error, "the ledger refuses a request");
            return Self::unprocessable("the ledger can't store this; look for zero bytes in names of fields");
        }
        server_down("the ledger", &error)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        server_down("the broker", &error)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        server_down("the registry", &error)
    }
}

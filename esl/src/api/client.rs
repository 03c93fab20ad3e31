//! Requests to the API: what is passing is told from what is final, and waited for where that is wanted.

use super::url::{ApiUrl, Token};
use crate::{failure::Failure, progress, text::seconds};
use anyhow::Context;
use backbone::service::{Authorities, Backoff, advice};
use indicatif::ProgressBar;
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than the API works at a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// However late the API wants to be asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So many faults of a body are said.
const FAULTS: usize = 3;

/// Why the API did not do what it was asked to; each text is one sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// For a reason that may pass.
    #[error("{text}")]
    Away {
        /// Which API, and why.
        text: String,
        /// When it wants to be asked again.
        pause: Duration,
    },
    /// It knows no such thing.
    #[error("{0}")]
    Unknown(String),
    /// For good.
    #[error("{text}")]
    Refused {
        /// How it answered.
        status: StatusCode,
        /// Which API, and why.
        text: String,
    },
}

fn certificates(authorities: &Authorities) -> anyhow::Result<Vec<reqwest::Certificate>> {
    Ok(reqwest::Certificate::from_pem_bundle(authorities.pem()?.as_bytes())?)
}

/// A problem document, as far as it is used.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    index: Option<usize>,
    line: Option<u64>,
    column: Option<String>,
    detail: String,
}

/// Asks one API.
pub(crate) struct Client {
    http: reqwest::Client,
    url: ApiUrl,
    has_token: bool,
    /// How long an API that is away is waited for.
    wait: Duration,
}

impl Client {
    /// Makes ready to ask.
    ///
    /// # Errors
    /// When the token can't be read or used.
    pub(crate) fn new(
        url: ApiUrl,
        token: Option<&Token>,
        file: Option<&Path>,
        authorities: Option<&Authorities>,
        wait: Duration,
    ) -> Result<Self, Failure> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path);
            text.map(|text| text.trim().to_owned())
                .map_err(|error| Failure::Input(format!("--token-file {}: {error}", path.display())))
        };
        let from_file = file.map(read).transpose()?;
        let token =
            from_file.or_else(|| token.map(|token| token.expose().to_owned())).filter(|token| !token.is_empty());
        let mut headers = HeaderMap::new();
        if let Some(token) = &token {
            let wrong =
                |_| Failure::Input("the token has characters that no token has: give it as one word".to_owned());
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(wrong)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // reqwest is built without a provider of its own; whether this one was there before does not matter.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).default_headers(headers);
        let http = http.connect_timeout(CONNECT_LIMIT).timeout(ANSWER_LIMIT);
        // Without TLS no certificates are looked for, which a small machine may not have.
        let http = match authorities {
            _ if !url.is_https() => http.tls_certs_only([]),
            Some(authorities) => http.tls_certs_only(certificates(authorities).context("reading TLS_CA_FILE")?),
            None => http,
        };
        let http = http.build().context("preparing HTTP")?;
        Ok(Self { http, url, has_token: token.is_some(), wait })
    }

    pub(crate) fn url(&self) -> &ApiUrl {
        &self.url
    }

    pub(crate) fn get(&self, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.url.path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.get(url)
    }

    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url.path(path))
    }

    /// Asks once.
    ///
    /// # Errors
    /// When the API is away or refuses.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| self.lost(&error))?;
        if status.is_success() {
            let wrong =
                |error| self.refused(status, format!("its answer is not understood: {error}; is it a store-api?"));
            return serde_json::from_slice(&body).map_err(wrong);
        }
        Err(self.problem(status, &headers, &body))
    }

    /// Asks until it is answered: while the API is away it is waited for, and that is said. Only for what may be asked
    /// twice.
    ///
    /// # Errors
    /// When the API refuses, has been away for too long, or `stop` is cancelled meanwhile.
    pub(crate) async fn insist<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
        bar: &ProgressBar,
        stop: &CancellationToken,
    ) -> Result<T, ApiError> {
        let mut backoff = Backoff::for_connections();
        let mut away_since = None;
        loop {
            let error = match self.ask(request()).await {
                Err(error @ ApiError::Away { .. }) => error,
                ended => {
                    if away_since.is_some() {
                        progress::say(bar, "the API answers again");
                    }
                    return ended;
                }
            };
            let since = *away_since.get_or_insert_with(|| {
                progress::say(bar, &format!("{error}; waiting for it, at most {}", seconds(self.wait)));
                Instant::now()
            });
            let ApiError::Away { pause, .. } = &error else { return Err(error) };
            let pause = backoff.next_delay().max(*pause);
            if since.elapsed() + pause > self.wait
                || stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none()
            {
                return Err(error);
            }
        }
    }

    fn lost(&self, error: &reqwest::Error) -> ApiError {
        let innermost = std::iter::successors(error.source(), |&cause| cause.source()).last();
        let why = match innermost {
            _ if error.is_timeout() && error.is_connect() => format!("no connection within {CONNECT_LIMIT:?}"),
            _ if error.is_timeout() => format!("no answer within {ANSWER_LIMIT:?}"),
            Some(cause) => advice(cause).unwrap_or_else(|| cause.to_string()),
            None => error.to_string(),
        };
        ApiError::Away { text: self.says(&why), pause: Duration::ZERO }
    }

    fn problem(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ApiError {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            let why = format!("it answered {status} without saying why; is it a store-api?");
            return if passes(status) { self.away(headers, &why) } else { self.refused(status, why) };
        };
        if passes(status) {
            // What is to be done, this program does.
            let why = problem.detail.split("; repeat").next().unwrap_or(&problem.detail);
            return self.away(headers, why);
        }
        let why = match status {
            StatusCode::UNAUTHORIZED if self.has_token => {
                "it does not know this token; see ESL_TOKEN or --token-file".into()
            }
            StatusCode::UNAUTHORIZED => "it wants a token; give it in ESL_TOKEN or by --token-file".into(),
            StatusCode::NOT_FOUND => return ApiError::Unknown(self.says(&problem.detail)),
            _ => sentence(problem),
        };
        self.refused(status, why)
    }

    fn away(&self, headers: &HeaderMap, why: &str) -> ApiError {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_PAUSE);
        ApiError::Away { text: self.says(why), pause }
    }

    fn refused(&self, status: StatusCode, why: String) -> ApiError {
        ApiError::Refused { status, text: self.says(&why) }
    }

    fn says(&self, why: &str) -> String {
        // Others wrote it: nothing in it may move the cursor.
        format!("the API at {}: {}", self.url, why.replace(char::is_control, " "))
    }
}

/// Whether the same request may be served later.
fn passes(status: StatusCode) -> bool {
    use StatusCode as S;
    [S::TOO_MANY_REQUESTS, S::BAD_GATEWAY, S::SERVICE_UNAVAILABLE, S::GATEWAY_TIMEOUT].contains(&status)
}

/// A problem with its first faults.
fn sentence(Problem { detail, errors }: Problem) -> String {
    if errors.is_empty() {
        return detail;
    }
    let place = |fault: &Fault| match (fault.line, fault.index, &fault.column) {
        (Some(line), _, Some(column)) => format!("line {line}, {column}: "),
        (Some(line), _, None) => format!("line {line}: "),
        (None, Some(index), _) => format!("task {index}: "),
        (None, None, _) => String::new(),
    };
    let faults = errors.iter().take(FAULTS).map(|fault| format!("{}{}", place(fault), fault.detail));
    format!("{detail}: {}", faults.collect::<Vec<_>>().join("; "))
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { status, text } if status.is_client_error() => Self::Input(text),
            ApiError::Refused { text, .. } | ApiError::Away { text, .. } | ApiError::Unknown(text) => {
                Self::Server(anyhow::anyhow!(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> ApiError {
        let url = "http://h:1/".parse().unwrap();
        let client = Client::new(url, None, None, None, Duration::ZERO).unwrap();
        client.problem(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_problem_is_one_plain_sentence() {
        let body = r#"{"type":"about:blank","title":"x","status":422,"detail":"faults in lines: 2",
            "errors":[{"line":3,"column":"price","detail":"bad"},{"index":4,"detail":"no\nobject"}]}"#;
        let error = said(422, body);
        assert_eq!(
            error.to_string(),
            "the API at http://h:1: faults in lines: 2: line 3, price: bad; task 4: no object"
        );
        assert!(matches!(Failure::from(error), Failure::Input(_)));
        assert_eq!(
            said(404, "<html>").to_string(),
            "the API at http://h:1: it answered 404 Not Found without saying why; is it a store-api?"
        );
        assert!(
            said(401, r#"{"detail":"send a header"}"#).to_string().contains("it wants a token; give it in ESL_TOKEN")
        );
    }

    #[test]
    fn what_passes_is_told_from_what_is_final() {
        for status in [429, 502, 503, 504] {
            let error = said(status, r#"{"detail":"the broker is away; repeat it after Retry-After"}"#);
            assert!(
                matches!(&error, ApiError::Away { text, .. } if text.ends_with(": the broker is away")),
                "{error:?}"
            );
        }
        assert!(matches!(said(404, r#"{"detail":"x"}"#), ApiError::Unknown(_)));
        for status in [400, 401, 403, 409, 413, 422, 500] {
            assert!(matches!(said(status, r#"{"detail":"x"}"#), ApiError::Refused { .. }), "{status}");
        }
    }
}

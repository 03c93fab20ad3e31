//! The asker's side of an RPC in the HTTP-RPC design: the request is posted, and the answer to that is the reply.

use crate::{
    queue::RpcRequest,
    service::{SecretUrl, TlsArgs, UrlError},
};
use anyhow::Context;
use protocol::{
    Reply,
    names::{amqp, http},
};
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use std::{fmt, str::FromStr, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the HTTP routers are, or what balances between them: `http://host:port`, or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRpcUrl(SecretUrl);

impl FromStr for HttpRpcUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        SecretUrl::parse(text, &["http", "https"]).map(Self)
    }
}

impl fmt::Display for HttpRpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why an RPC brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum HttpRpcError {
    /// No reply within the timeout.
    #[error("no reply within the timeout")]
    Timeout,
    /// No router took the request, or it came back without a reply; the text says why.
    #[error("{0}")]
    NotTaken(String),
}

/// Makes RPCs over HTTP, each on a connection that is free, or on a new one. Clones share them.
#[derive(Debug, Clone)]
pub struct HttpRpcClient {
    http: reqwest::Client,
    url: Url,
}

impl HttpRpcClient {
    /// Connects when there is something to ask.
    ///
    /// # Errors
    /// When the authorities to trust can't be read.
    pub fn new(url: &HttpRpcUrl, tls: &TlsArgs) -> anyhow::Result<Self> {
        let url = url.0.expose().join(http::RPC_PATH).context("naming the HTTP router")?;
        // reqwest is built without a provider of its own; whether this one was there before does not matter.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).connect_timeout(CONNECT_TIMEOUT);
        let http = match &tls.tls_ca_file {
            _ if url.scheme() == "http" => http.tls_certs_only([]),
            Some(authorities) => {
                let pem = authorities.pem().context("reading TLS_CA_FILE")?;
                http.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?)
            }
            None => http,
        };
        Ok(Self { http: http.build().context("preparing HTTP")?, url })
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    /// When no reply comes in time, or no router took the request.
    pub async fn call(&self, request: RpcRequest<'_>) -> Result<Reply, HttpRpcError> {
        let RpcRequest { id: _, label, body, timeout, turn } = request;
        let post = self.http.post(self.url.clone()).body(body.to_vec()).timeout(timeout);
        let post =
            post.header(CONTENT_TYPE, "application/json").header(http::PRIORITY, amqp::priority(turn).to_string());
        let response = post.header(http::TIMEOUT, timeout.as_millis().to_string()).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GATEWAY_TIMEOUT => return Err(HttpRpcError::Timeout),
            status => return Err(HttpRpcError::NotTaken(format!("the HTTP router answered {status}"))),
        }
        let body = response.bytes().await.map_err(failed)?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|error| HttpRpcError::NotTaken(error.to_string()))?;
        if reply.label != label {
            return Err(HttpRpcError::NotTaken(format!("the HTTP router answered for label {}", reply.label)));
        }
        Ok(reply)
    }
}

fn failed(error: reqwest::Error) -> HttpRpcError {
    if error.is_timeout() && !error.is_connect() {
        return HttpRpcError::Timeout;
    }
    HttpRpcError::NotTaken(format!("{:#}", anyhow::Error::from(error.without_url())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_one_path_whatever_the_url_ends_with() {
        for text in ["http://h:8081", "http://h:8081/"] {
            let client = HttpRpcClient::new(&text.parse().unwrap(), &TlsArgs::default()).unwrap();
            assert_eq!(client.url.as_str(), "http://h:8081/rpc");
        }
        assert!("amqp://h".parse::<HttpRpcUrl>().is_err());
    }
}

//! Scripts and styles, from the binary itself. Their URL has a digest of them all in it, so that a browser may keep them
//! for ever, and asks again when one has changed.

use crate::request::hex;
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::LazyLock;

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:expr) => {
        Asset { name: $name, kind: $kind, text: include_str!(concat!("../../page/", $name)) }
    };
}

static ASSETS: [Asset; 8] = [
    asset!("htmx-2.0.11.min.js", JAVASCRIPT),
    asset!("htmx-sse-2.2.4.min.js", JAVASCRIPT),
    asset!("idiomorph-ext-0.7.4.min.js", JAVASCRIPT),
    asset!("uplot-1.6.32.min.js", JAVASCRIPT),
    asset!("page.js", JAVASCRIPT),
    asset!("uplot-1.6.32.min.css", CSS),
    asset!("page.css", CSS),
    asset!("icon.svg", "image/svg+xml"),
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = ASSETS.iter().map(|asset| asset.text).collect();
    hex(&all)[..16].to_owned()
});

/// Tells one set of assets from another.
pub(crate) fn version() -> &'static str {
    &VERSION
}

/// Where an asset is.
pub(crate) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", version())
}

/// The scripts, in the order in which they need each other.
pub(crate) fn scripts() -> impl Iterator<Item = String> {
    ASSETS.iter().filter(|asset| asset.kind == JAVASCRIPT).map(|asset| url(asset.name))
}

/// The style sheets.
pub(crate) fn styles() -> impl Iterator<Item = String> {
    ASSETS.iter().filter(|asset| asset.kind == CSS).map(|asset| url(asset.name))
}

/// `GET /assets/{version}/{name}`. A page of an older program may still ask with its version: it gets what there is now,
/// and does not keep it.
pub(crate) async fn asset(Path((asked, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "no such asset").into_response();
    };
    let tag = format!("\"{}\"", version());
    let keep = if asked == version() { IMMUTABLE } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.text.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

//! The operator's page: HTML from the server, so that a view is a URL, and is readable before any script has run.
//!
//! 1. [`door`] bounds a request, finds out who asks by the cookie that [`login`] sets, and refuses what another site
//!    has sent; every answer carries a Content-Security-Policy under which nothing inline runs;
//! 2. a [`View`](show::View) renders itself; [`show`] answers with the whole page, or, to an `EventSource` that asks
//!    for the same URL, with the view again each time it has changed;
//! 3. forms are posted, [recorded](actions) with who posted them, and answered with a redirect to a view that shows what
//!    came of them.
//!
//! # Invariants
//!
//! - No state is kept but caches: any replica answers any request, also after a restart.
//! - Whoever sees a label or a store here may ask the API for it with the same token.
//! - Each text is written in both languages where it is used; the compiler misses none.

mod actions;
mod assets;
mod batch;
mod batches;
mod cause;
mod dead;
mod door;
mod drawing;
mod gateways;
mod kept;
mod known;
mod label;
mod language;
mod latency;
mod layout;
mod login;
mod out_of_date;
mod parts;
mod products;
mod show;
mod store;
mod stores;
mod survey;
mod visitor;
mod window;

pub(crate) use door::unknown;
pub(crate) use known::Known;

use crate::api::Api;
use axum::{
    Router, middleware,
    routing::{get, post},
};

/// Every path of the page; none begins with `/v1`.
pub(crate) fn router(api: &Api) -> Router {
    Router::new()
        .route("/", get(stores::stores))
        .route("/stores/{store}", get(store::store))
        .route("/stores/{store}/out-of-date", get(out_of_date::out_of_date))
        .route("/stores/{store}/batches", get(batches::batches))
        .route("/stores/{store}/batches/{batch}", get(batch::batch).post(batch::change))
        .route("/stores/{store}/gateways", get(gateways::gateways))
        .route("/stores/{store}/gateways/{gateway}", get(gateways::gateway))
        .route("/stores/{store}/products", get(products::products))
        .route("/stores/{store}/products/{sku}", get(products::product).post(products::change))
        .route("/stores/{store}/actions", get(actions::actions))
        .route("/labels/{label}", get(label::label).post(label::act))
        .route("/dead-letters", get(dead::dead_letters).post(dead::replay))
        .route("/logout", post(login::logout))
        .route("/preferences", post(login::prefer))
        .layer(middleware::from_fn_with_state(api.clone(), door::demand_caller))
        .route("/login", get(login::form).post(login::login))
        .route("/assets/{version}/{name}", get(assets::asset))
        .layer(middleware::from_fn_with_state(api.clone(), door::door))
        .with_state(api.clone())
}

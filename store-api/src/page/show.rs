//! A view, once as a page or again and again as it changes.

use super::{
    layout::{Page, Place, layout, trouble},
    visitor::Visitor,
};
use crate::{api::Api, problem::Problem};
use axum::{
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use maud::{Markup, html};
use protocol::Store;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// A view that is followed is looked at so often, and less often where a look takes long.
const LOOK: Duration = Duration::from_secs(1);
/// Looking takes at most such a part of the time.
const SHARE: u32 = 5;
/// A view that takes longer opens without its content, which follows.
const PATIENCE: Duration = Duration::from_millis(400);
/// Browsers that have lost us come again after so long.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Something with a URL of its own that can be looked at.
pub(crate) trait View: Send + Sync + 'static {
    /// Where in the page it is.
    const PLACE: Place;
    /// It follows what happens.
    const IS_LIVE: bool = true;
    /// The store that it is about.
    fn store(&self) -> Option<&Store>;
    /// What the browser calls it.
    fn title(&self, visitor: &Visitor) -> String;
    /// Its content at this moment.
    fn content(&self, api: &Api, visitor: &Visitor) -> impl Future<Output = Result<Markup, Problem>> + Send;
}

/// Answers with the whole page, or follows the view for whoever has it open.
pub(crate) async fn show<V: View>(api: Api, visitor: Visitor, view: V) -> Response {
    if visitor.follows {
        return follow(api, visitor, view);
    }
    let patience = if V::IS_LIVE { PATIENCE } else { api.timeout };
    let (status, content) = match tokio::time::timeout(patience, view.content(&api, &visitor)).await {
        Ok(Ok(content)) => (StatusCode::OK, content),
        Ok(Err(problem)) => (problem.status(), trouble(&visitor, &problem)),
        Err(_) => (StatusCode::OK, loading(&visitor)),
    };
    let title = view.title(&visitor);
    let may_change = status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE;
    let is_live = may_change && V::IS_LIVE;
    let page = Page { place: V::PLACE, store: view.store(), title: &title, content, is_live };
    (status, layout(&visitor, &page)).into_response()
}

fn loading(visitor: &Visitor) -> Markup {
    html! {
        section.loading aria-busy="true" {
            h1 { (visitor.t("One moment", "Um momento")) }
            p { (visitor.t("The records are being counted.", "Os registros estão sendo contados.")) }
            div.skeleton {} div.skeleton {} div.skeleton {}
        }
    }
}

/// One who has a view open.
struct Follower<V> {
    api: Api,
    visitor: Visitor,
    view: V,
    until: Instant,
    next: Instant,
    said: Option<String>,
    _permit: OwnedSemaphorePermit,
}

fn follow<V: View>(api: Api, visitor: Visitor, view: V) -> Response {
    let Ok(_permit) = Arc::clone(&api.followers).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    api.metrics.followers.inc();
    let (until, next) = (Instant::now() + api.follow_for, Instant::now());
    let follower = Follower { api, visitor, view, until, next, said: None, _permit };
    Sse::new(stream::unfold(follower, Follower::step)).keep_alive(KeepAlive::default()).into_response()
}

impl<V> Drop for Follower<V> {
    fn drop(&mut self) {
        self.api.metrics.followers.dec();
    }
}

impl<V: View> Follower<V> {
    /// The view when it has changed; `None` at the end of patience, after which the browser comes again, and when the
    /// server stops.
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                () = self.api.stop.cancelled() => return None,
            }
            let began = Instant::now();
            if began >= self.until {
                return None;
            }
            let content = match self.view.content(&self.api, &self.visitor).await {
                Ok(content) => content,
                Err(problem) => trouble(&self.visitor, &problem),
            };
            self.next = Instant::now() + LOOK.max(began.elapsed() * SHARE);
            // A name may have one in it, and an event ends a line with it.
            let content = content.into_string().replace('\r', " ");
            if self.said.as_ref() != Some(&content) {
                let event = Event::default().event("view").retry(COME_AGAIN).data(&content);
                self.said = Some(content);
                return Some((Ok(event), self));
            }
        }
    }
}

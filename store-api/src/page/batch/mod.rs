//! `/stores/{store}/batches/{batch}`: how far it is, what holds it up; pausing, resuming and cancelling it, and sending
//! its failures again.

mod change;
mod confirm;
mod labels;
mod progress;

pub(crate) use change::change;

use super::{
    layout::Place,
    parts::escaped,
    show::{View, show},
    visitor::Visitor,
    window::Windows,
};
use crate::{api::Api, batches::BatchView, problem::Problem};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use backbone::ledger::{BatchControl, BatchKey, Late};
use confirm::Question;
use maud::{Markup, html};
use protocol::{BatchId, BatchState, GatewayMac, LabelMac, Store};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Deserialize)]
pub(crate) struct Asked {
    confirm: Option<Question>,
}

struct Batch {
    store: Store,
    batch: BatchId,
    confirm: Option<Question>,
}

/// `GET /stores/{store}/batches/{batch}`
pub(crate) async fn batch(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    Query(asked): Query<Asked>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let (store, batch) = read(&visitor, &path)?;
    Ok(show(api, visitor, Batch { store, batch, confirm: asked.confirm }).await)
}

fn read(visitor: &Visitor, (store, batch): &(String, String)) -> Result<(Store, BatchId), Problem> {
    let wrong = |error: protocol::TextError| Problem::not_found(error.to_string());
    let (store, batch) = (store.parse().map_err(wrong)?, batch.parse().map_err(wrong)?);
    visitor.demand(&store)?;
    Ok((store, batch))
}

/// What the view shows.
struct Seen {
    view: BatchView,
    control: Option<BatchControl>,
    /// By the gateway that hears them best, those that hear most first.
    held_up: Vec<(Option<GatewayMac>, u64)>,
    windows: Windows,
    late: Arc<Vec<Late>>,
}

impl View for Batch {
    const PLACE: Place = Place::Batches;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, visitor: &Visitor) -> String {
        format!("{} {}", visitor.t("Batch", "Lote"), self.batch)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
        let view = api.progress(&self.batch).await?.view_for(api, &self.batch, caller).await?;
        let key = self.key();
        let control = api.ledger.controls_of(std::slice::from_ref(&key)).await?.remove(&key);
        let (late, survey) = futures::try_join!(api.late(&key), api.survey(&self.store))?;
        let mut held_up: BTreeMap<Option<GatewayMac>, u64> = BTreeMap::new();
        for late in late.iter().filter(|late| !late.has_ended) {
            *held_up.entry(survey.best.get(&late.label).copied()).or_default() += 1;
        }
        let mut held_up: Vec<_> = held_up.into_iter().collect();
        held_up.sort_by_key(|(_, labels)| std::cmp::Reverse(*labels));
        let windows = Windows::read(api).await?;
        Ok(self.draw(visitor, &Seen { view, control, held_up, windows, late }))
    }
}

impl Batch {
    fn key(&self) -> BatchKey {
        BatchKey { store: self.store.clone(), batch: self.batch.clone() }
    }

    fn url(&self) -> String {
        format!("/stores/{}/batches/{}", self.store, escaped(self.batch.as_str()))
    }

    fn draw(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        html! {
            p.trail { a href={ "/stores/" (self.store) "/batches" } { (visitor.t("Batches", "Lotes")) } }
            h1.long dir="auto" { (visitor.t("Batch", "Lote")) " " (self.batch) }
            @match self.confirm {
                Some(Question::SendAgain) => (self.confirm_sending(visitor, seen.failed().count().min(change::MOST_AGAIN))),
                Some(Question::Cancel) if seen.may_be_held() => (self.confirm_cancelling(visitor, &seen.view)),
                _ => {}
            }
            (seen.progress(visitor))
            (self.buttons(visitor, seen))
            div.columns {
                section.card { (seen.balance(visitor)) }
                section.card { (self.holders(visitor, seen)) }
                section.card { (self.failures(visitor, seen)) }
            }
        }
    }
}

impl Seen {
    fn state(&self) -> BatchState {
        self.control.as_ref().map(|control| control.state).unwrap_or_default()
    }

    /// There may be something left to pause or to cancel.
    fn may_be_held(&self) -> bool {
        !self.view.complete && self.state() != BatchState::Cancelled
    }

    /// Labels whose task has not ended.
    fn waiting(&self) -> impl Iterator<Item = LabelMac> {
        self.late.iter().filter(|late| !late.has_ended).map(|late| late.label)
    }

    /// Labels that it failed on.
    fn failed(&self) -> impl Iterator<Item = &Late> {
        self.late.iter().filter(|late| late.has_ended)
    }
}

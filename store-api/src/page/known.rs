//! What the page keeps of stores and batches, for all who look at them: a store of 50,000 labels is counted as often for
//! a hundred screens as for one.

use super::{
    kept::{Kept, Pace},
    survey::{Survey, millis},
};
use crate::{api::Api, batches::Found, problem::Problem};
use backbone::{
    ledger::{BatchKey, BatchSeen, EndedIn, Late, Standing},
    service::now,
};
use protocol::{BatchId, Store, Timestamp};
use std::{sync::Arc, time::Duration};

/// What is followed live: finding it out takes at most such a part of the time.
const LIVE: Pace = Pace { keep: Duration::from_secs(1), share: 5 };
/// What costs most and changes least.
const SLOW: Pace = Pace { keep: Duration::from_secs(5), share: 20 };
/// Of what has ended.
const ENDED: Pace = Pace { keep: Duration::from_secs(10), share: 20 };
/// The plot of the rate covers so much, in spans of this length.
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
pub(crate) const SPAN: Duration = Duration::from_secs(5);
/// Latencies are of so many labels at most, that were shown within this time.
const MEASURED: u32 = 5_000;
const MEASURED_FOR: Duration = Duration::from_secs(900);
/// So many batches are listed: older ones are found by their names.
const MOST_BATCHES: u32 = 25;
/// So many labels of a batch that don't show what they should are looked at.
pub(crate) const MOST_LATE: u32 = 50_000;

/// What has lately ended in a store.
pub(crate) struct Lately {
    pub(crate) spans: Vec<EndedIn>,
    /// In milliseconds.
    pub(crate) latencies: Vec<u64>,
    pub(crate) at: Timestamp,
}

/// All that is kept.
pub(crate) struct Known {
    stores: Kept<(), Vec<Store>>,
    standings: Kept<Store, Standing>,
    lately: Kept<Store, Lately>,
    surveys: Kept<Store, Survey>,
    batches: Kept<Store, Vec<BatchSeen>>,
    progress: Kept<BatchId, Found>,
    late: Kept<BatchKey, Vec<Late>>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            stores: Kept::new(|_| LIVE),
            standings: Kept::new(|_| LIVE),
            lately: Kept::new(|_| LIVE),
            surveys: Kept::new(|_| SLOW),
            batches: Kept::new(|_| LIVE),
            progress: Kept::new(|found: &Found| if found.is_complete() { ENDED } else { LIVE }),
            late: Kept::new(|_| LIVE),
        }
    }
}

impl Api {
    /// The stores that have labels.
    pub(crate) async fn stores(&self) -> Result<Arc<Vec<Store>>, Problem> {
        self.known.stores.of(self, &(), |api| async move { Ok(api.ledger.stores().await?) }).await
    }

    /// How the labels of a store stand.
    pub(crate) async fn standing(&self, store: &Store) -> Result<Arc<Standing>, Problem> {
        let of = store.clone();
        self.known.standings.of(self, store, |api| async move { Ok(api.ledger.standing(&of).await?) }).await
    }

    /// What has lately ended in a store.
    pub(crate) async fn lately(&self, store: &Store) -> Result<Arc<Lately>, Problem> {
        let of = store.clone();
        self.known.lately.of(self, store, |api| async move { lately(&api, &of).await }).await
    }

    /// Who hears the labels of a store, and what ended there in the last day.
    pub(crate) async fn survey(&self, store: &Store) -> Result<Arc<Survey>, Problem> {
        let of = store.clone();
        self.known.surveys.of(self, store, |api| async move { Survey::make(&api, &of).await }).await
    }

    /// The latest batches of a store.
    pub(crate) async fn batches(&self, store: &Store) -> Result<Arc<Vec<BatchSeen>>, Problem> {
        let of = store.clone();
        let seek = |api: Self| async move { Ok(api.ledger.batches(&of, MOST_BATCHES).await?) };
        self.known.batches.of(self, store, seek).await
    }

    /// How far a batch is.
    pub(crate) async fn progress(&self, batch: &BatchId) -> Result<Arc<Found>, Problem> {
        let of = batch.clone();
        self.known.progress.of(self, batch, |api| async move { Found::find(&api, &of).await }).await
    }

    /// The labels of a batch that don't show what they should.
    pub(crate) async fn late(&self, key: &BatchKey) -> Result<Arc<Vec<Late>>, Problem> {
        let BatchKey { store, batch } = key.clone();
        let seek = |api: Self| async move { Ok(api.ledger.late(&store, Some(&batch), MOST_LATE).await?) };
        self.known.late.of(self, key, seek).await
    }
}

async fn lately(api: &Api, store: &Store) -> Result<Lately, Problem> {
    let at = now();
    let since = |duration| Timestamp::from_unix_millis(at.unix_millis() - millis(duration));
    let spans = api.ledger.ended_by(store, since(WINDOW), SPAN).await?;
    let latencies = api.ledger.latest_latencies(store, since(MEASURED_FOR), MEASURED).await?;
    Ok(Lately { spans, latencies, at })
}

//! What is known of a whole store and takes too long to be asked for each time that somebody looks: it is kept for some
//! seconds, and whoever comes meanwhile is told the same.

use crate::{api::Api, problem::Problem};
use backbone::{ledger::EndedIn, service::now};
use protocol::{GatewayMac, LabelMac, Store, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// A survey is as good as new for so long, and for longer where it took long.
const KEEP: Duration = Duration::from_secs(5);
/// Surveying takes at most such a part of the time.
const SHARE: u32 = 20;
/// So many labels' routes are asked for at a time.
const CHUNK: usize = 5_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Of the labels that don't show what they should, so many are counted by gateway.
const MOST_LATE: u32 = 10_000;

/// What a gateway means to a store.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Labels that it hears.
    pub(crate) labels: u64,
    /// Labels that no other hears.
    pub(crate) only: Vec<LabelMac>,
    /// Labels that it hears best, and whose task has not ended.
    pub(crate) waiting: u64,
    /// Labels that it hears best, whose task has ended otherwise than shown.
    pub(crate) failed: u64,
}

/// A store at a moment.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) gateways: BTreeMap<GatewayMac, Heard>,
    /// Who hears a label best.
    pub(crate) best: HashMap<LabelMac, GatewayMac>,
    /// Labels that nobody hears.
    pub(crate) unheard: Vec<LabelMac>,
    /// How labels ended in the last day, by the hour.
    pub(crate) day: Vec<EndedIn>,
}

struct Kept {
    survey: Arc<Survey>,
    until: Instant,
}

type Slot = Arc<Mutex<Option<Kept>>>;

/// The surveys that are kept, one per store.
#[derive(Default)]
pub(crate) struct Surveys(Mutex<HashMap<Store, Slot>>);

impl Surveys {
    /// The survey of a store, made now where there is none that is good enough.
    pub(crate) async fn of(&self, api: &Api, store: &Store) -> Result<Arc<Survey>, Problem> {
        let slot = Arc::clone(self.0.lock().await.entry(store.clone()).or_default());
        let mut slot = slot.lock().await;
        if let Some(kept) = slot.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(Arc::clone(&kept.survey));
        }
        let began = Instant::now();
        let survey = Arc::new(Survey::make(api, store).await?);
        if survey.best.is_empty() && survey.unheard.is_empty() {
            // A store that nobody has: it is not kept, whatever names are asked for.
            self.0.lock().await.remove(store);
            return Ok(survey);
        }
        let until = Instant::now() + KEEP.max(began.elapsed() * SHARE);
        *slot = Some(Kept { survey: Arc::clone(&survey), until });
        Ok(survey)
    }
}

impl Survey {
    async fn make(api: &Api, store: &Store) -> Result<Self, Problem> {
        let since = Timestamp::from_unix_millis(now().unix_millis() - millis(DAY));
        let day = api.ledger.ended_by(store, since, HOUR).await?;
        let labels = api.ledger.labels_in(store).await?;
        let mut survey = Self { gateways: BTreeMap::new(), best: HashMap::new(), unheard: Vec::new(), day };
        for chunk in labels.chunks(CHUNK) {
            survey.hear(api, chunk).await?;
        }
        survey.unheard.sort_unstable();
        survey.blame(api, store).await?;
        Ok(survey)
    }

    async fn hear(&mut self, api: &Api, labels: &[LabelMac]) -> Result<(), Problem> {
        let fresh = now().unix_millis() - millis(api.stale_after);
        for (&label, routes) in labels.iter().zip(api.registry.routes_of(labels).await?) {
            // One that has heard it before is shown, too: it may be the one that is missing.
            for route in &routes {
                self.gateways.entry(route.gateway).or_default();
            }
            let routes: Vec<_> = routes.into_iter().filter(|route| route.at.unix_millis() >= fresh).collect();
            for route in &routes {
                let heard = self.gateways.entry(route.gateway).or_default();
                heard.labels += 1;
                if routes.len() == 1 {
                    heard.only.push(label);
                }
            }
            match routes.iter().max_by_key(|route| route.rssi) {
                Some(best) => drop(self.best.insert(label, best.gateway)),
                None => self.unheard.push(label),
            }
        }
        Ok(())
    }

    async fn blame(&mut self, api: &Api, store: &Store) -> Result<(), Problem> {
        for late in api.ledger.out_of_date(store, None, MOST_LATE).await? {
            let Some(gateway) = self.best.get(&late.label) else { continue };
            let heard = self.gateways.entry(*gateway).or_default();
            let counted = if late.outcome.is_none() { &mut heard.waiting } else { &mut heard.failed };
            *counted += 1;
        }
        Ok(())
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

//! Who hears the labels of a store, and what ended there in a day.

use crate::{api::Api, problem::Problem};
use backbone::{ledger::EndedIn, service::now};
use protocol::{GatewayMac, LabelMac, Store, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// So many labels' routes are asked for at a time.
const CHUNK: usize = 5_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Of the labels that don't show what they should, so many are counted by gateway.
const MOST_LATE: u32 = 50_000;

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
    /// How labels ended in the last day and why, by the hour.
    pub(crate) day: Vec<EndedIn>,
}

impl Survey {
    pub(crate) async fn make(api: &Api, store: &Store) -> Result<Self, Problem> {
        let since = Timestamp::from_unix_millis(now().unix_millis() - millis(DAY));
        let day = api.ledger.ended_by(store, since, HOUR);
        let (day, labels) = futures::try_join!(day, api.ledger.labels_in(store))?;
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
        for late in api.ledger.late(store, None, MOST_LATE).await? {
            let Some(gateway) = self.best.get(&late.label) else { continue };
            let heard = self.gateways.entry(*gateway).or_default();
            let counted = if late.has_ended { &mut heard.failed } else { &mut heard.waiting };
            *counted += 1;
        }
        Ok(())
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

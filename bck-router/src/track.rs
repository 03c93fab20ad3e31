//! From gateways' reports to the route table.

use crate::{
    Config,
    heard::{HeardLabels, HeardPolicy, Verdict},
    metrics::Metrics,
};
use backbone::{
    mqtt::{BrokerName, Incoming},
    registry::{GatewayDirectory, GatewayState, Registry, RouteEntry},
    service::now,
};
use protocol::{
    GatewayMac, Report, Sighting, Timestamp,
    names::mqtt::{Channel, parse_topic},
};
use std::{collections::HashMap, time::Duration};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Reports in hand per MQTT broker.
pub(crate) const RECEIVE_MAXIMUM: u16 = 100;
/// Reports read before their entries are written.
const CHUNK: usize = 64;
/// Entries written in one round trip.
const ENTRIES_PER_WRITE: usize = 1000;
/// A gateway's presence is written again when it is so old.
const PRESENCE_REFRESH_MS: i64 = 10_000;
/// A gateway that was silent for so long makes room for another, where there are too many: a day.
const GONE_AFTER_MS: i64 = 24 * 3_600_000;
/// A report that arrives so soon after the gateway's last will may have been sent before it.
const WILL_MARGIN_MS: i64 = 1_000;

/// Keeps the route table.
pub(crate) struct Tracker {
    registry: Registry,
    metrics: Metrics,
    heard: HeardLabels,
    /// Presence as this tracker wrote it: the directory lags by half a second.
    written: HashMap<GatewayMac, GatewayState>,
    epoch: Option<String>,
    forget_after: Duration,
    /// How many gateways there may be.
    gateways_max: usize,
    closed: CancellationToken,
}

impl Tracker {
    pub(crate) fn new(config: &Config, registry: Registry, metrics: Metrics, closed: CancellationToken) -> Self {
        let policy = HeardPolicy {
            change_db: config.route_change_db,
            refresh_after: config.route_stale_after / 3,
            forget_after: config.route_stale_after * 2,
            labels_per_gateway: config.labels_per_gateway,
            gateways_per_label: config.gateways_per_label,
            pairs: config.sightings_max,
        };
        Self {
            registry,
            metrics,
            heard: HeardLabels::new(policy),
            written: HashMap::new(),
            epoch: None,
            forget_after: config.route_stale_after * 2,
            gateways_max: config.gateways_max,
            closed,
        }
    }

    /// Tracks until closed.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Incoming>) {
        let background = TaskTracker::new();
        let (directory, follow) = GatewayDirectory::follow(self.registry.clone(), self.closed.clone());
        background.spawn(follow);
        background.close();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = self.closed.clone();
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            tokio::select! {
                count = inbox.recv_many(&mut chunk, CHUNK) => match count {
                    0 => break,
                    _ => self.take(chunk.drain(..), &directory).await,
                },
                _ = ticks.tick() => {
                    self.look_after_memory().await;
                    self.make_room(&directory).await;
                }
                () = closed.cancelled() => break,
            }
        }
        background.wait().await;
    }

    async fn take(&mut self, reports: impl Iterator<Item = Incoming>, directory: &GatewayDirectory) {
        let at = now();
        let (mut entries, mut samples) = (Vec::new(), Vec::new());
        for incoming in reports {
            self.metrics.reports.inc();
            let Some((gateway, Channel::Status)) = parse_topic(&incoming.topic) else {
                self.metrics.drop_sightings("bad_topic", 1);
                continue;
            };
            match Report::parse(&incoming.payload) {
                Ok(report) => {
                    if self.is_one_too_many(gateway, directory) {
                        self.metrics.drop_sightings("too_many_gateways", 1);
                        continue;
                    }
                    self.see(gateway, &report, &incoming.broker, at, directory).await;
                    let written = entries.len();
                    self.hear(gateway, &report, at, &mut entries);
                    let is_sample = |entry: &&RouteEntry| self.heard.is_sample(gateway, entry.label, at);
                    samples.extend(entries[written..].iter().filter(is_sample));
                }
                Err(error) => {
                    tracing::debug!(gateway.mac = %gateway, "report dropped: {error}");
                    self.metrics.drop_sightings("malformed", 1);
                }
            }
        }
        self.write(&entries).await;
        self.keep(&samples).await;
    }

    /// Nothing is kept of a gateway that is new where there are as many as there may be.
    fn is_one_too_many(&self, gateway: GatewayMac, directory: &GatewayDirectory) -> bool {
        let directory = directory.get();
        let known = self.written.contains_key(&gateway) || directory.contains_key(&gateway);
        !known && self.written.len().max(directory.len()) >= self.gateways_max
    }

    fn hear(&mut self, gateway: GatewayMac, report: &Report, at: Timestamp, entries: &mut Vec<RouteEntry>) {
        self.metrics.sightings.inc_by(report.sightings.len() as u64);
        if report.nonsense > 0 {
            self.metrics.drop_sightings("nonsense", report.nonsense);
        }
        let mut too_many = 0;
        for sighting in &report.sightings {
            match self.heard.hear(gateway, sighting, at) {
                Verdict::Write(rssi) => {
                    let &Sighting { label, battery_mv, .. } = sighting;
                    entries.push(RouteEntry { label, gateway, rssi, at, battery_mv });
                }
                Verdict::Keep => {}
                Verdict::TooMany => too_many += 1,
            }
        }
        if too_many > 0 {
            self.metrics.drop_sightings("too_many", too_many);
        }
    }

    async fn write(&mut self, entries: &[RouteEntry]) {
        for part in entries.chunks(ENTRIES_PER_WRITE) {
            match self.registry.write_routes(part, self.forget_after).await {
                Ok(()) => drop(self.metrics.route_writes.inc_by(part.len() as u64)),
                Err(error) => {
                    tracing::debug!("routes not written: {error}");
                    self.metrics.registry_errors.inc();
                    // What was not written must not be taken for written.
                    self.heard.clear();
                }
            }
        }
    }

    /// Keeps samples for whoever looks at a label. Nothing depends on them: what is not kept is missing.
    async fn keep(&self, samples: &[RouteEntry]) {
        for part in samples.chunks(ENTRIES_PER_WRITE) {
            if let Err(error) = self.registry.write_signals(part).await {
                tracing::debug!("signal strengths not kept: {error}");
                self.metrics.registry_errors.inc();
            }
        }
    }

    /// Notes where a gateway is, when that is news.
    async fn see(
        &mut self,
        gateway: GatewayMac,
        report: &Report,
        broker: &BrokerName,
        at: Timestamp,
        directory: &GatewayDirectory,
    ) {
        let directory = directory.get();
        let known = newest(self.written.get(&gateway), directory.get(&gateway));
        let Some(state) = presence(known, report.online, broker, at) else { return };
        if known.is_none_or(|known| known.online != state.online || known.broker != state.broker) {
            tracing::info!(gateway.mac = %gateway, mqtt.broker = %broker, online = state.online, "gateway");
        }
        match self.registry.write_gateways(&[(gateway, state.clone())]).await {
            Ok(()) => drop(self.written.insert(gateway, state)),
            Err(error) => {
                tracing::debug!("presence not written: {error}");
                self.metrics.registry_errors.inc();
            }
        }
    }

    /// Writes everything anew when Redis has lost its data, and forgets what is long gone.
    async fn look_after_memory(&mut self) {
        let mark = format!("{:016x}", now().unix_millis());
        if let Ok(epoch) = self.registry.epoch(&mark).await
            && self.epoch.as_ref() != Some(&epoch)
        {
            if self.epoch.replace(epoch).is_some() {
                tracing::warn!("Redis has lost its data: writing all routes again");
            }
            self.heard.clear();
            self.written.clear();
        }
        self.heard.tidy(now());
        self.metrics.labels_tracked.set(self.heard.len() as i64);
    }
}

impl Tracker {
    /// Forgets gateways that were silent for long, where there are as many as there may be.
    async fn make_room(&mut self, directory: &GatewayDirectory) {
        let directory = directory.get();
        if directory.len() < self.gateways_max {
            return;
        }
        let oldest = now().unix_millis() - GONE_AFTER_MS;
        let gone: Vec<_> = directory.iter().filter(|(_, state)| state.at.unix_millis() < oldest).collect();
        let gone: Vec<_> = gone.into_iter().map(|(gateway, _)| *gateway).take(ENTRIES_PER_WRITE).collect();
        if let Err(error) = self.registry.forget_gateways(&gone).await {
            tracing::debug!("gateways not forgotten: {error}");
            self.metrics.registry_errors.inc();
        }
        gone.iter().for_each(|gateway| drop(self.written.remove(gateway)));
    }
}

fn newest<'a>(written: Option<&'a GatewayState>, read: Option<&'a GatewayState>) -> Option<&'a GatewayState> {
    match (written, read) {
        (Some(written), Some(read)) if read.at > written.at => Some(read),
        (Some(written), _) => Some(written),
        (None, read) => read,
    }
}

/// What to write about a gateway's presence, if anything.
///
/// A last will only counts where the gateway was last heard: when it has moved on to another broker, the old one may
/// notice much later. A report shows that a gateway is there, unless it may have been overtaken by the last will.
fn presence(
    known: Option<&GatewayState>,
    online: Option<bool>,
    broker: &BrokerName,
    at: Timestamp,
) -> Option<GatewayState> {
    let state = |online| Some(GatewayState { online, broker: broker.clone(), at });
    let Some(known) = known else { return state(online.unwrap_or(true)) };
    let age = at.unix_millis() - known.at.unix_millis();
    match online {
        Some(false) if known.broker == *broker => state(false),
        Some(false) => None,
        Some(true) => state(true),
        None if !known.online && age < WILL_MARGIN_MS => None,
        None if known.online && known.broker == *broker && age < PRESENCE_REFRESH_MS => None,
        None => state(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(online: bool, broker: &str, seconds: i64) -> GatewayState {
        GatewayState { online, broker: broker.into(), at: at(seconds) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_gateway_is_where_it_last_spoke() {
        let (a, b) = (BrokerName::from("a:1"), BrokerName::from("b:1"));
        assert_eq!(presence(None, None, &a, at(0)), Some(state(true, "a:1", 0)));
        let known = state(true, "a:1", 0);
        assert_eq!(presence(Some(&known), None, &a, at(2)), None, "nothing new");
        assert_eq!(presence(Some(&known), None, &a, at(10)), Some(state(true, "a:1", 10)), "would look old");
        assert_eq!(presence(Some(&known), None, &b, at(2)), Some(state(true, "b:1", 2)), "it has moved");
        assert_eq!(presence(Some(&known), Some(false), &b, at(2)), None, "the will of a connection that was left");
        assert_eq!(presence(Some(&known), Some(false), &a, at(2)), Some(state(false, "a:1", 2)));
        let gone = state(false, "a:1", 0);
        assert_eq!(presence(Some(&gone), None, &a, at(0)), None, "sent before the will");
        assert_eq!(presence(Some(&gone), None, &a, at(1)), Some(state(true, "a:1", 1)));
        assert_eq!(presence(Some(&gone), Some(true), &a, at(0)), Some(state(true, "a:1", 0)));
    }
}

//! The backbone's part: commands to the gateway, one purpose after the other.

use super::record::{Away, Echo, Purpose, Record, Sent};
use crate::{cli::GatewayCheckArgs, failure::Failure};
use anyhow::anyhow;
use backbone::{
    mqtt::{Observed, Observer, Publication, Tap},
    service::now,
};
use futures::future::join_all;
use indicatif::ProgressBar;
use protocol::{
    Action, Command, CorrelationId, Fields, LabelMac, Version,
    names::mqtt::{Channel, topic},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// A label that there is not: the range is for local use (IEEE 802, section 8.4), so nobody makes labels with it.
const UNKNOWN_LABEL: LabelMac = LabelMac::from_octets([0x02, 0xe5, 0x1c, 0xff, 0xff, 0xfe]);
/// How often a label must be in reports before their interval is known.
const SIGHTINGS: usize = 3;
/// Commands to one label at once, to see their order.
const IN_ORDER: u32 = 6;
/// MQTT's message expiry is in whole seconds.
const SHORT: Duration = Duration::from_secs(1);
/// How long a label is kept busy, so that a command behind has expired by then.
const BUSY: Duration = Duration::from_millis(2_500);
/// A gateway that is so quick can't be kept busy.
const MOST_FILLINGS: u32 = 64;
/// How long a gateway that was cut off stays so, at least; and until when it is expected back.
const AWAY: Duration = Duration::from_secs(1);
const WILL_PATIENCE: Duration = Duration::from_secs(10);
const BACK_PATIENCE: Duration = Duration::from_secs(60);
const TAP_LOOK: Duration = Duration::from_millis(50);

/// What is subscribed to: where gateways speak, and where they would if they forgot the first slash. Not where commands
/// go: the broker says itself if nobody listens there.
pub(super) fn filters() -> Vec<String> {
    ["/gw/+/response", "/gw/+/status", "gw/+/response", "gw/+/status"].map(str::to_owned).to_vec()
}

pub(super) struct Player<'a> {
    pub(super) args: &'a GatewayCheckArgs,
    pub(super) observer: Observer,
    pub(super) inbox: mpsc::Receiver<Observed>,
    pub(super) tap: Option<Tap>,
    pub(super) record: Record,
    pub(super) bar: ProgressBar,
}

impl Player<'_> {
    /// All of it.
    pub(super) async fn play(&mut self) -> Result<(), Failure> {
        self.hear_reports().await?;
        if self.record.labels.is_empty() || !self.ask_first().await? {
            return self.wait_for_late_answers().await;
        }
        self.ask_one_by_one().await?;
        self.ask_in_order().await?;
        self.ask_many().await?;
        self.ask_what_expires().await?;
        if self.tap.is_some() {
            self.cut_off().await?;
        }
        self.wait_for_late_answers().await
    }

    /// Takes in what comes until this holds, or for so long; says whether it does.
    async fn until(&mut self, limit: Duration, holds: impl Fn(&Record) -> bool) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.record.take(message);
            }
            self.look_at_tap();
            let left = deadline.saturating_duration_since(Instant::now());
            if holds(&self.record) || left.is_zero() {
                return Ok(holds(&self.record));
            }
            // Connections through the tap are no messages: they are looked for now and then.
            let turn = if self.tap.is_some() { left.min(TAP_LOOK) } else { left };
            match tokio::time::timeout(turn, self.inbox.recv()).await {
                Ok(Some(message)) => self.record.take(message),
                Ok(None) => {
                    let lost = anyhow!("the connection was lost, so what the gateway said is not known; try again");
                    return Err(lost.context(format!("MQTT broker at {}", self.args.mqtt)).into());
                }
                Err(_) => {}
            }
        }
    }

    fn look_at_tap(&mut self) {
        if let (Some(tap), Some(known)) = (&self.tap, &mut self.record.handshakes) {
            known.clone_from(&tap.handshakes().borrow());
        }
    }

    async fn hear_reports(&mut self) -> Result<(), Failure> {
        self.bar.set_message(format!("listening to reports of gateway {}", self.record.gateway));
        let enough = |record: &Record| sightings(record).values().any(|(times, _)| *times >= SIGHTINGS);
        self.until(self.args.report_wait, enough).await?;
        if self.record.labels.is_empty() {
            let mut heard: Vec<_> =
                sightings(&self.record).into_iter().map(|(label, (_, dbm))| (-dbm, label)).collect();
            heard.sort_unstable();
            self.record.labels = heard.into_iter().map(|(_, label)| label).take(self.args.burst.into()).collect();
        }
        Ok(())
    }

    /// Whether the gateway answers at all. Of two labels, one may be out of order.
    async fn ask_first(&mut self) -> Result<bool, Failure> {
        for label in self.record.labels.iter().copied().take(2).collect::<Vec<_>>() {
            self.bar.set_message(format!("a price for label {label}"));
            let sent = self.send(self.price(Purpose::First, label)).await?;
            if self.until(self.args.timeout, |record| record.is_answered(sent)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn ask_one_by_one(&mut self) -> Result<(), Failure> {
        let label = self.label();
        let mut asked = vec![
            self.with(self.price(Purpose::Tolerance, label), |body| {
                body["from_a_later_version"] = json!({"nested": [1, 2]});
                body["fields"]["name"] = json!("Ação \"Furadeira\" <650 W> 电钻 ".repeat(6));
                body["fields"]["was"] = json!("349.90");
                body["fields"]["page"] = json!(1);
                body["fields"]["sale"] = json!(true);
            }),
            Draft { copies: 2, ..self.price(Purpose::Copies, label) },
        ];
        for action in [Action::Ping, Action::Blink, Action::Refresh, Action::Page] {
            asked.push(self.draft(Purpose::Action(action), label, action));
        }
        asked.push(
            self.with(self.draft(Purpose::UnknownAction, label, Action::Ping), |body| body["type"] = json!("dance")),
        );
        asked.push(self.price(Purpose::UnknownLabel, UNKNOWN_LABEL));
        for draft in asked {
            self.bar.set_message(draft.purpose.doing());
            let (copies, sent) = (draft.copies, self.send(draft).await?);
            self.until(self.args.timeout, |record| record.is_answered(sent)).await?;
            if copies > 1 {
                // Whether it answers the second, too, is its own affair.
                let both = |record: &Record| record.answers_to(sent).count() >= copies;
                self.until(self.pause(), both).await?;
            }
        }
        Ok(())
    }

    async fn ask_in_order(&mut self) -> Result<(), Failure> {
        if self.record.echo() == Some(Echo::Neither) {
            return Ok(());
        }
        self.bar.set_message(Purpose::Order.doing());
        let (label, mut sent) = (self.label(), Vec::new());
        // The last has to wait for all others; the backbone itself never has two under way to one label.
        let expiry = self.args.timeout + self.record.median().unwrap_or_default() * IN_ORDER;
        for _ in 0..IN_ORDER {
            sent.push(self.send(Draft { expiry, ..self.price(Purpose::Order, label) }).await?);
        }
        self.until(expiry, all_answered(sent)).await?;
        Ok(())
    }

    async fn ask_many(&mut self) -> Result<(), Failure> {
        let labels: Vec<_> = self.record.labels.iter().copied().take(self.args.burst.into()).collect();
        if labels.len() < 2 {
            return Ok(());
        }
        self.bar.set_message(Purpose::Burst.doing());
        let first = self.record.sent.len();
        let drafts: Vec<_> = labels.into_iter().map(|label| self.price(Purpose::Burst, label)).collect();
        let publications: Vec<_> = drafts.into_iter().map(|draft| self.note(draft)).collect();
        let published = join_all(publications.into_iter().map(|publication| self.observer.publish(publication))).await;
        for (at, published) in (first..).zip(published) {
            self.record.sent[at].published = published;
        }
        self.until(self.args.timeout, all_answered((first..self.record.sent.len()).collect())).await?;
        Ok(())
    }

    async fn ask_what_expires(&mut self) -> Result<(), Failure> {
        let Some(median) = self.record.median() else { return Ok(()) };
        let fillings = BUSY.as_secs_f64() / median.as_secs_f64().max(0.001);
        if fillings > f64::from(MOST_FILLINGS) {
            return Ok(());
        }
        self.bar.set_message(Purpose::Expiring.doing());
        let (label, mut sent) = (self.label(), Vec::new());
        // The last has to wait for all others.
        let expiry = self.args.timeout + BUSY * 2;
        for _ in 0..fillings.ceil() as u32 {
            sent.push(self.send(Draft { expiry, ..self.price(Purpose::Filling, label) }).await?);
        }
        let expiring = self.send(Draft { expiry: SHORT, ..self.price(Purpose::Expiring, label) }).await?;
        self.until(expiry, all_answered(sent)).await?;
        self.until(self.pause(), |record| record.is_answered(expiring)).await?;
        Ok(())
    }

    async fn cut_off(&mut self) -> Result<(), Failure> {
        self.bar.set_message(Purpose::Away.doing());
        let Some(tap) = &self.tap else { return Ok(()) };
        let before = tap.handshakes().borrow().len();
        tap.cut();
        let cut = Instant::now();
        self.record.away = Some(Away { cut, command: None, back: None });
        let offline = |record: &Record| record.says_online(cut, false).is_some();
        self.until(WILL_PATIENCE, offline).await?;
        let command = self.send(Draft { expiry: BACK_PATIENCE, ..self.price(Purpose::Away, self.label()) }).await?;
        self.until(AWAY, |_| false).await?;
        if let Some(tap) = &self.tap {
            tap.mend();
        }
        let connections = |record: &Record| record.handshakes.as_ref().map_or(0, Vec::len);
        let is_back = self.until(BACK_PATIENCE, |record| connections(record) > before).await?;
        let back = is_back.then(Instant::now);
        self.record.away = Some(Away { cut, command: Some(command), back });
        if let Some(back) = back {
            let settled = |record: &Record| record.is_answered(command) && record.says_online(cut, true).is_some();
            self.until(self.args.timeout.max(back - cut), settled).await?;
        }
        Ok(())
    }

    /// What was not answered may still be: for as long as the backbone waits before it asks the label again.
    async fn wait_for_late_answers(&mut self) -> Result<(), Failure> {
        let owed: Vec<_> = self.record.sent_for(Purpose::is_owed).filter(|at| !self.record.is_answered(*at)).collect();
        let ends = |at: &usize| self.record.sent[*at].at + self.record.sent[*at].expiry + self.args.timeout;
        let Some(end) = owed.iter().map(ends).max() else { return Ok(()) };
        self.bar.set_message(format!("waiting for {} answers that are late", owed.len()));
        self.until(end.saturating_duration_since(Instant::now()), all_answered(owed)).await?;
        Ok(())
    }

    fn label(&self) -> LabelMac {
        let acked = |at: &usize| self.record.fared(*at).is_some_and(|(_, said)| said.is_ok());
        let first = self.record.sent_for(|purpose| purpose == Purpose::First).find(acked);
        first.map_or(self.record.labels[0], |at| self.record.sent[at].label)
    }

    /// Long enough for one more answer.
    fn pause(&self) -> Duration {
        let usual = self.record.median().unwrap_or(self.args.timeout) * 3;
        usual.clamp(Duration::from_millis(500), self.args.timeout.max(Duration::from_millis(500)))
    }

    fn price(&self, purpose: Purpose, label: LabelMac) -> Draft {
        self.draft(purpose, label, Action::PriceUpdate)
    }

    fn draft(&self, purpose: Purpose, label: LabelMac, action: Action) -> Draft {
        Draft { purpose, label, action, change: None, expiry: self.args.timeout, copies: 1 }
    }

    fn with(&self, draft: Draft, change: fn(&mut Value)) -> Draft {
        Draft { change: Some(change), ..draft }
    }

    async fn send(&mut self, draft: Draft) -> Result<usize, Failure> {
        let (at, copies) = (self.record.sent.len(), draft.copies);
        let publication = self.note(draft);
        for _ in 0..copies {
            self.record.sent[at].published = self.observer.publish(publication.clone()).await;
        }
        Ok(at)
    }

    /// Writes down that a command is sent from now on.
    fn note(&mut self, draft: Draft) -> Publication {
        let Draft { purpose, label, action, change, expiry, copies } = draft;
        let id = CorrelationId::from_uuid(uuid::Uuid::now_v7());
        let number = self.record.sent.len() as u64;
        let is_price = action == Action::PriceUpdate;
        let version = Version::try_from(now().unix_millis().max(0).unsigned_abs() + number).ok().filter(|_| is_price);
        let fields = if is_price { test_price(number) } else { Fields::default() };
        let mut body = json!(Command { id: id.clone(), label, action, version, fields });
        if let Some(change) = change {
            change(&mut body);
        }
        let at = Instant::now();
        self.record.sent.push(Sent { id: id.clone(), label, purpose, at, expiry, copies, published: Ok(()) });
        Publication {
            topic: topic(self.record.gateway, Channel::Action),
            payload: body.to_string().into_bytes(),
            expiry,
            response_topic: topic(self.record.gateway, Channel::Response),
            correlation: id.to_string(),
        }
    }
}

/// A command to be sent.
struct Draft {
    purpose: Purpose,
    label: LabelMac,
    action: Action,
    change: Option<fn(&mut Value)>,
    expiry: Duration,
    copies: usize,
}

impl Purpose {
    fn doing(self) -> String {
        match self {
            Self::First => "a first price".to_owned(),
            Self::Tolerance => "a price with more in it than expected".to_owned(),
            Self::Copies => "the same command twice".to_owned(),
            Self::Action(action) => format!("the action {action}"),
            Self::UnknownAction => "an action that there is not".to_owned(),
            Self::UnknownLabel => "a label that there is not".to_owned(),
            Self::Order => format!("{IN_ORDER} prices for one label"),
            Self::Burst => "prices for many labels at once".to_owned(),
            Self::Filling | Self::Expiring => "a command that expires while it waits".to_owned(),
            Self::Away => "the connection is cut".to_owned(),
        }
    }

    /// Whether a gateway owes an answer: not to what it may drop, since nobody waits for it any more.
    pub(super) fn is_owed(self) -> bool {
        !matches!(self, Self::Expiring | Self::UnknownLabel | Self::UnknownAction | Self::Away)
    }
}

fn test_price(number: u64) -> Fields {
    let price = format!("{}.{:02}", 1 + number / 100, number % 100).parse().ok();
    Fields { name: Some("esl gateway-check".to_owned()), price, currency: "BRL".parse().ok(), ..Fields::default() }
}

fn all_answered(sent: Vec<usize>) -> impl Fn(&Record) -> bool {
    move |record: &Record| sent.iter().all(|at| record.is_answered(*at))
}

/// How often each label was reported, and how strongly at last.
fn sightings(record: &Record) -> HashMap<LabelMac, (usize, i32)> {
    let mut seen = HashMap::new();
    let readable = record.fresh_reports().filter_map(|reported| reported.report.as_ref().ok());
    for sighting in readable.flat_map(|report| &report.sightings) {
        let entry = seen.entry(sighting.label).or_insert((0, 0));
        *entry = (entry.0 + 1, i32::from(sighting.rssi.dbm()));
    }
    seen
}

//! All that was sent to a gateway, and all that came from it.

use backbone::mqtt::{Handshake, Observed, PublishError};
use protocol::{
    Action, Answer, CorrelationId, GatewayMac, LabelMac,
    names::mqtt::{Channel, parse_topic},
};
use std::time::{Duration, Instant};

/// Why a command was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first, which shows whether the gateway works at all.
    First,
    /// With more in it than a gateway knows.
    Tolerance,
    /// Twice.
    Copies,
    /// Another action than a price update.
    Action(Action),
    /// An action that there is not.
    UnknownAction,
    /// To a label that there is not.
    UnknownLabel,
    /// One of several to one label.
    Order,
    /// One of many to as many labels.
    Burst,
    /// Keeps the label busy, so that [`Purpose::Expiring`] has to wait.
    Filling,
    /// Waits for longer than it is good for.
    Expiring,
    /// While the gateway is away.
    Away,
}

/// A command.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: CorrelationId,
    pub(super) label: LabelMac,
    pub(super) purpose: Purpose,
    pub(super) at: Instant,
    pub(super) expiry: Duration,
    /// How many times it was sent.
    pub(super) copies: usize,
    pub(super) published: Result<(), PublishError>,
}

/// How an answer names its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Body,
    Property,
    Neither,
    /// By an ID that was not sent to it, or by two different ones.
    Wrong,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) message: Observed,
    pub(super) topic_is_exact: bool,
    /// What it says, or why that can't be read.
    pub(super) answer: Result<Answer, String>,
    /// The command that it answers, by its place in the record.
    pub(super) of: Option<usize>,
    pub(super) echo: Echo,
}

/// A report.
#[derive(Debug, Clone)]
pub(super) struct Reported {
    pub(super) message: Observed,
    pub(super) topic_is_exact: bool,
    /// What it says, or why that can't be read.
    pub(super) report: Result<protocol::Report, String>,
}

/// What happened when the gateway's connection was cut.
#[derive(Debug, Clone)]
pub(super) struct Away {
    pub(super) cut: Instant,
    /// The command that was sent meanwhile.
    pub(super) command: Option<usize>,
    /// When it connected again.
    pub(super) back: Option<Instant>,
}

/// What is known of a gateway.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) gateway: GatewayMac,
    pub(super) timeout: Duration,
    /// The labels that commands are sent to.
    pub(super) labels: Vec<LabelMac>,
    pub(super) sent: Vec<Sent>,
    pub(super) answers: Vec<Answered>,
    pub(super) reports: Vec<Reported>,
    /// How it connected; `None` where nobody saw it.
    pub(super) handshakes: Option<Vec<Handshake>>,
    pub(super) away: Option<Away>,
}

impl Record {
    pub(super) fn new(gateway: GatewayMac, timeout: Duration, labels: &[LabelMac], tapped: bool) -> Self {
        Self {
            gateway,
            timeout,
            labels: labels.to_vec(),
            sent: Vec::new(),
            answers: Vec::new(),
            reports: Vec::new(),
            handshakes: tapped.then(Vec::new),
            away: None,
        }
    }

    /// Keeps a message, if it is about this gateway.
    pub(super) fn take(&mut self, message: Observed) {
        let Some((gateway, channel, topic_is_exact)) = place(&message.topic) else { return };
        match channel {
            Channel::Response => self.take_answer(message, gateway, topic_is_exact),
            Channel::Status if gateway == self.gateway => {
                let report = protocol::Report::parse(&message.payload).map_err(|error| error.to_string());
                self.reports.push(Reported { message, topic_is_exact, report });
            }
            Channel::Status | Channel::Action => {}
        }
    }

    fn take_answer(&mut self, message: Observed, gateway: GatewayMac, topic_is_exact: bool) {
        let answer = Answer::parse(&message.payload).map_err(|error| error.to_string());
        let named = |id: &str| self.sent.iter().position(|sent| sent.id.as_str() == id);
        let body = answer.as_ref().ok().and_then(|answer| answer.id.as_ref()).map(|id| named(id.as_str()));
        let property = message.correlation.as_deref().map(|data| std::str::from_utf8(data).ok().and_then(named));
        let label = answer.as_ref().ok().map(|answer| answer.label);
        let (of, echo) = match (body, property) {
            (None, None) => (label.and_then(|label| self.waiting(label)), Echo::Neither),
            (Some(Some(one)), Some(Some(other))) if one != other => (Some(one), Echo::Wrong),
            (Some(Some(one)), Some(None)) => (Some(one), Echo::Wrong),
            (Some(None), _) | (None, Some(None)) => (None, Echo::Wrong),
            (Some(Some(one)), _) => (Some(one), Echo::Body),
            (None, Some(Some(one))) => (Some(one), Echo::Property),
        };
        // Whoever names our command speaks of it, on whatever topic; any other gateway's answers are not looked at.
        if gateway == self.gateway || of.is_some() && echo != Echo::Neither {
            let topic_is_exact = topic_is_exact && gateway == self.gateway;
            self.answers.push(Answered { message, topic_is_exact, answer, of, echo });
        }
    }

    /// The command to a label that an answer belongs to which names no other: the oldest without one, else the latest.
    fn waiting(&self, label: LabelMac) -> Option<usize> {
        let mut to_label = (0..self.sent.len()).filter(|at| self.sent[*at].label == label);
        let waits = |at: &usize| self.answers_to(*at).count() < self.sent[*at].copies;
        to_label.clone().find(waits).or_else(|| to_label.next_back())
    }

    /// The answers to a command, the first first.
    pub(super) fn answers_to(&self, sent: usize) -> impl Iterator<Item = &Answered> {
        self.answers.iter().filter(move |answer| answer.of == Some(sent))
    }

    /// Whether a command was answered.
    pub(super) fn is_answered(&self, sent: usize) -> bool {
        self.answers_to(sent).next().is_some()
    }

    /// The commands that were sent for this.
    pub(super) fn sent_for(&self, purpose: impl Fn(Purpose) -> bool) -> impl Iterator<Item = usize> + Clone {
        let chosen: Vec<_> = (0..self.sent.len()).filter(|at| purpose(self.sent[*at].purpose)).collect();
        chosen.into_iter()
    }

    /// How long the first answer to a command took, and what it said.
    pub(super) fn fared(&self, sent: usize) -> Option<(Duration, Result<(), String>)> {
        let first = self.answers_to(sent).next()?;
        let took = first.message.at.saturating_duration_since(self.sent[sent].at);
        let said = match &first.answer {
            Ok(answer) => answer.result.as_ref().map_err(|refusal| refusal.as_str().to_owned()).copied(),
            Err(unreadable) => Err(unreadable.clone()),
        };
        Some((took, said))
    }

    /// Half of the acknowledgements of commands that were sent alone took no longer.
    pub(super) fn median(&self) -> Option<Duration> {
        let alone = self.sent_for(|purpose| {
            matches!(purpose, Purpose::First | Purpose::Tolerance | Purpose::Action(_) | Purpose::Copies)
        });
        let acked = alone.filter_map(|at| self.fared(at)).filter(|(_, said)| said.is_ok());
        let mut took: Vec<_> = acked.map(|(took, _)| took).collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }

    /// How the gateway names commands, by most of its answers.
    pub(super) fn echo(&self) -> Option<Echo> {
        let of = |echo: Echo| self.answers.iter().filter(|answer| answer.of.is_some() && answer.echo == echo).count();
        let all = [Echo::Body, Echo::Property, Echo::Neither, Echo::Wrong];
        all.into_iter().filter(|echo| of(*echo) > 0).max_by_key(|echo| of(*echo))
    }

    /// What came was published to be retained, and so may be from before the check began.
    pub(super) fn fresh_reports(&self) -> impl Iterator<Item = &Reported> {
        self.reports.iter().filter(|reported| !reported.message.retained)
    }
}

/// Which gateway a topic is of, what is said there, and whether that is written as it must be.
fn place(topic: &str) -> Option<(GatewayMac, Channel, bool)> {
    let (mac, rest) = topic.strip_prefix('/').unwrap_or(topic).strip_prefix("gw/")?.split_once('/')?;
    let gateway: GatewayMac = mac.parse().ok()?;
    let right = format!("/gw/{gateway}/{rest}");
    parse_topic(&right).map(|(gateway, channel)| (gateway, channel, right == topic))
}

impl Record {
    /// When the gateway first said after `since` that it is on- or offline.
    pub(super) fn says_online(&self, since: Instant, online: bool) -> Option<Instant> {
        let says = |reported: &&Reported| {
            reported.message.at >= since && reported.report.as_ref().is_ok_and(|report| report.online == Some(online))
        };
        self.reports.iter().find(says).map(|reported| reported.message.at)
    }
}

//! A promise that was not kept, and the story that shows it.

use super::{Asked, Carried, Credit, FaultSpan};
use protocol::{LabelMac, ResultMessage, Timestamp};
use std::fmt;

/// The promises, as in docs/ARCHITECTURE.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Nothing is lost.
    P1,
    /// The newest wins.
    P2,
    /// The right asker.
    P3,
    /// Everything is bounded.
    P6,
    /// No stale command.
    P7,
    /// What is slow or dead slows only what depends on it.
    P8,
}

/// In which way a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A confirmed update has no recorded outcome.
    Lost,
    /// One label of one task has two outcomes, recorded or published.
    TwoOutcomes,
    /// An outcome is recorded and was not published, or the other way round.
    NotPublished,
    /// Superseded, though nobody asked for anything newer.
    NotSuperseded,
    /// A label went from a newer version to an older one.
    WentBack,
    /// At the end a label does not show, or the ledger does not say, what it should.
    LeftBehind,
    /// An outcome says that a version was shown, which was never written.
    NeverWritten,
    /// An asker was told that its RPC was carried out, and it was not.
    WrongAsker,
    /// More attempts, commands, memory or backlog than there may be.
    Unbounded,
    /// A command was retained.
    Retained,
    /// A command came after it had expired.
    Stale,
    /// What a fault does not concern was held up by it.
    HeldUp,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 12] = [
        Self::Lost,
        Self::TwoOutcomes,
        Self::NotPublished,
        Self::NotSuperseded,
        Self::WentBack,
        Self::LeftBehind,
        Self::NeverWritten,
        Self::WrongAsker,
        Self::Unbounded,
        Self::Retained,
        Self::Stale,
        Self::HeldUp,
    ];

    /// The promise that it breaks.
    pub const fn promise(self) -> Promise {
        match self {
            Self::Lost | Self::TwoOutcomes | Self::NotPublished => Promise::P1,
            Self::NotSuperseded | Self::WentBack | Self::LeftBehind => Promise::P2,
            Self::NeverWritten | Self::WrongAsker => Promise::P3,
            Self::Unbounded => Promise::P6,
            Self::Retained | Self::Stale => Promise::P7,
            Self::HeldUp => Promise::P8,
        }
    }
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// In which way.
    pub kind: Kind,
    /// At which label, if at one.
    pub label: Option<LabelMac>,
    /// When; where something never happened, from when on it was expected.
    pub at: Timestamp,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What shows it, and nothing else: times and events, in their order.
    pub story: Vec<(Timestamp, String)>,
}

impl Violation {
    pub(super) fn new(kind: Kind, label: Option<LabelMac>, at: Timestamp, what: String, story: &[&dyn Event]) -> Self {
        let mut story: Vec<_> = story.iter().map(|event| event.tell()).collect();
        story.sort_by_key(|(at, _)| *at);
        Self { kind, label, at, what, story }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind.promise(), self.kind)?;
        if let Some(label) = self.label {
            write!(f, ", label {label}")?;
        }
        writeln!(f, ": {}", self.what)?;
        let begin = self.story.first().map_or(0, |(at, _)| at.unix_millis());
        for (at, event) in &self.story {
            let seconds = (at.unix_millis() - begin) as f64 / 1000.0;
            writeln!(f, "  {at} +{seconds:.3} s  {event}")?;
        }
        Ok(())
    }
}

/// Something that happened, as a line of a story.
pub(super) trait Event {
    fn tell(&self) -> (Timestamp, String);
}

impl Event for Asked {
    fn tell(&self) -> (Timestamp, String) {
        let Self { task, version, confirmed, .. } = self;
        let version = version.get();
        match confirmed {
            Some(at) => (*at, format!("task {task}, version {version}, is confirmed")),
            None => (Timestamp::from_unix_millis(0), format!("task {task}, version {version}, is offered")),
        }
    }
}

impl Event for Carried {
    fn tell(&self) -> (Timestamp, String) {
        let what = match self.version {
            Some(version) => format!("writes version {}", version.get()),
            None => "carries out a command".to_owned(),
        };
        let retained = if self.retained { ", retained" } else { "" };
        let age = self.began().map(|began| self.came.unix_millis() - began.unix_millis());
        let age = age.map_or(String::new(), |age| format!(", which came {age} ms after the RPC began"));
        (self.at, format!("gateway {} {what} for RPC {}{retained}{age}", self.gateway, self.rpc))
    }
}

impl Event for Credit {
    fn tell(&self) -> (Timestamp, String) {
        (self.at, format!("the asker of RPC {} is told that it was carried out", self.rpc))
    }
}

impl Event for ResultMessage {
    fn tell(&self) -> (Timestamp, String) {
        let version = self.version.map_or(String::new(), |version| format!(", version {},", version.get()));
        let gateway = self.gateway.map_or(String::new(), |gateway| format!(" by {gateway}"));
        let (task, outcome, attempts) = (&self.task_id, self.outcome, self.attempts);
        (self.at, format!("outcome of task {task}{version} is {outcome}{gateway} after {attempts} attempts"))
    }
}

impl Event for FaultSpan {
    fn tell(&self) -> (Timestamp, String) {
        let millis = self.end.unix_millis() - self.begin.unix_millis();
        (self.begin, format!("fault: {}, for {millis} ms", self.name))
    }
}

//! The rules by which the backbone keeps its promises; each can be left out.

use faults::history::Kind;

/// A rule of docs/ARCHITECTURE.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A task is acknowledged when its outcome is recorded and published; else: when it is taken.
    AcknowledgeLast,
    /// An outcome is recorded once; else: by every delivery.
    OneOutcome,
    /// An outcome that was recorded before is published again; else: the redelivered task is only acknowledged.
    PublishAgain,
    /// Versions are compared, in the ledger and by the fence; else: what comes last is sent.
    CompareVersions,
    /// Only with a newer version desired is a label superseded; else: whenever its gateway is busy with it.
    SupersededByNewer,
    /// What a late command did to a label is put right; else: it is left.
    Repair,
    /// One command per label is in flight, and an answer belongs to it; else: an answer belongs to whoever asked last.
    Lease,
    /// After a timeout, a gateway that names only the label keeps the lease for as long again; else: it is free at once.
    Quarantine,
    /// An answer must come from the gateway that was asked; else: from any.
    TopicSaysWho,
    /// Attempts end at the task's deadline; else: never.
    Deadline,
    /// Commands expire at the broker; else: they wait there as long as the gateway is away.
    Expiry,
    /// Commands are not retained; else: a gateway that comes back gets its last one again.
    NotRetained,
    /// A silent gateway's labels hold no permit while others wait; else: they do.
    NobodyHoldsUp,
}

impl Rule {
    /// Each rule, and what breaking it must be found as.
    pub(crate) const EACH: [(Self, Kind); 13] = [
        (Self::AcknowledgeLast, Kind::Lost),
        (Self::OneOutcome, Kind::TwoOutcomes),
        (Self::PublishAgain, Kind::NotPublished),
        (Self::CompareVersions, Kind::WentBack),
        (Self::SupersededByNewer, Kind::NotSuperseded),
        (Self::Repair, Kind::LeftBehind),
        (Self::Lease, Kind::WrongAsker),
        (Self::Quarantine, Kind::NeverWritten),
        (Self::TopicSaysWho, Kind::NeverWritten),
        (Self::Deadline, Kind::Unbounded),
        (Self::Expiry, Kind::Stale),
        (Self::NotRetained, Kind::Retained),
        (Self::NobodyHoldsUp, Kind::HeldUp),
    ];
}

/// Which rules hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// All of them.
    pub(crate) fn all() -> Self {
        Self { broken: None }
    }

    /// All but one.
    pub(crate) fn without(self, rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether this one holds.
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}

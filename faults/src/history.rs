//! All that happened in a run, and whether it keeps the promises.
//!
//! A [`History`] is what could be seen from outside: what backends asked for and had confirmed, what labels were told,
//! what askers were answered, what was published and recorded. [`check`] reads it as a whole, in the manner of Jepsen:
//! it knows nothing of how the backbone works, only what it promises.

mod account;
mod bounds;
mod commands;
mod credit;
mod order;
mod outcomes;
mod violation;

pub use violation::{Kind, Promise, Violation};

use account::accounts;
use protocol::{CorrelationId, GatewayMac, LabelMac, ResultMessage, TaskId, Timestamp, Version};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// All that happened. The order of the lists means nothing, but for commands that were carried out in the same
/// millisecond.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What store backends asked for.
    pub asked: Vec<Asked>,
    /// What labels were told and carried out.
    pub commands: Vec<Carried>,
    /// What askers of single RPCs were told to have been carried out.
    pub credits: Vec<Credit>,
    /// What the results exchange said, repeats included.
    pub published: Vec<ResultMessage>,
    /// What the ledger has of outcomes.
    pub recorded: Vec<ResultMessage>,
    /// How each label stands at the end.
    pub labels: Vec<LabelEnd>,
    /// What was done to the backbone.
    pub faults: Vec<FaultSpan>,
    /// How much memory processes had.
    pub samples: Vec<Sample>,
    /// What was left in queues at the end, by queue.
    pub left_over: Vec<(String, u32)>,
}

/// A store backend asked for a version on a label.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The task.
    pub task: TaskId,
    /// The label.
    pub label: LabelMac,
    /// The version.
    pub version: Version,
    /// When the broker confirmed the task; never, where it was only offered.
    pub confirmed: Option<Timestamp>,
}

/// A command that a label carried out.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The label.
    pub label: LabelMac,
    /// The gateway.
    pub gateway: GatewayMac,
    /// The RPC that the command names.
    pub rpc: CorrelationId,
    /// The version that the label shows from then on; only a price update has one.
    pub version: Option<Version>,
    /// When the command came to the gateway.
    pub came: Timestamp,
    /// When it was carried out.
    pub at: Timestamp,
    /// The broker had kept it for whoever subscribes.
    pub retained: bool,
}

/// An asker was told that its RPC was carried out.
#[derive(Debug, Clone)]
pub struct Credit {
    /// The RPC.
    pub rpc: CorrelationId,
    /// The label that was asked.
    pub label: LabelMac,
    /// When it was told.
    pub at: Timestamp,
}

/// How a label stands when everything has ended.
#[derive(Debug, Clone)]
pub struct LabelEnd {
    /// The label.
    pub label: LabelMac,
    /// What the ledger says that it should show.
    pub desired: Option<Version>,
    /// What the ledger says that it shows.
    pub recorded: Option<Version>,
    /// What it shows.
    pub shown: Option<Version>,
}

/// Something was done to the backbone.
#[derive(Debug, Clone)]
pub struct FaultSpan {
    /// What.
    pub name: String,
    /// From when on.
    pub begin: Timestamp,
    /// When it was undone.
    pub end: Timestamp,
    /// Redis lost what it knew: fences and leases with it.
    pub forgets: bool,
    /// Commands may have been held up on their way, or not have been carried out, for a time that no expiry counts: in a
    /// process that stood still, or in the buffers of a connection.
    pub holds_commands: bool,
    /// Labels that have nothing to do with what was hurt.
    pub spares: Option<Arc<BTreeSet<LabelMac>>>,
}

/// The memory of a process.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The process.
    pub process: String,
    /// Its resident memory.
    pub resident_kib: u64,
    /// When.
    pub at: Timestamp,
}

/// What is too much, or too late.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long somebody waits for an RPC's answer.
    pub rpc_timeout: Duration,
    /// A command may come so much later than its RPC has ended: brokers count expiry in whole seconds.
    pub expiry_slack: Duration,
    /// A label may be told one version so often.
    pub commands_per_version: usize,
    /// An outcome may have taken so many RPCs.
    pub attempts: u32,
    /// A process may have so much resident memory.
    pub resident_kib: u64,
    /// What a fault spares must have its outcome within this time.
    pub spared_within: Duration,
}

impl Default for Limits {
    /// For [quick](integration::quick) gateways and timeouts.
    fn default() -> Self {
        Self {
            rpc_timeout: Duration::from_secs(2),
            expiry_slack: Duration::from_secs(2),
            commands_per_version: 40,
            attempts: 200,
            resident_kib: 256 * 1024,
            spared_within: Duration::from_secs(20),
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Each promise that was broken.
    pub violations: Vec<Violation>,
    /// Labels that went back, for a reason that is allowed for, and were put right: when.
    pub put_right: Vec<Timestamp>,
}

impl Findings {
    /// The shortest story of each kind of violation, and how many there are of the kind.
    pub fn shortest(&self) -> Vec<(&Violation, usize)> {
        let of_kind = |kind| self.violations.iter().filter(move |violation| violation.kind == kind);
        let shortest =
            |kind| Some((of_kind(kind).min_by_key(|violation| violation.story.len())?, of_kind(kind).count()));
        Kind::ALL.into_iter().filter_map(shortest).collect()
    }

    /// How many violations there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }
}

/// Looks for violations. Takes time in proportion to what happened, and once more its logarithm.
pub fn check(history: &History, limits: &Limits) -> Findings {
    let mut findings = Findings::default();
    for account in accounts(history) {
        outcomes::check(&account, &mut findings);
        order::check(&account, history, limits, &mut findings);
        credit::check(&account, &mut findings);
        commands::check(&account, history, limits, &mut findings);
        bounds::check_label(&account, history, limits, &mut findings);
    }
    bounds::check_processes(history, limits, &mut findings);
    findings.violations.sort_by_key(|violation| violation.at);
    findings
}

impl Carried {
    /// When its RPC began, where the ID tells.
    pub(crate) fn began(&self) -> Option<Timestamp> {
        Some(Timestamp::from_unix_millis(i64::try_from(self.rpc.unix_millis()?).ok()?))
    }
}

impl FaultSpan {
    /// Whether any of it lies between these times.
    pub(crate) fn touches(&self, from: Timestamp, until: Timestamp) -> bool {
        self.begin <= until && from <= self.end
    }
}

/// This much later.
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis))
}

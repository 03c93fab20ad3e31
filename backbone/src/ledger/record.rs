//! What is asked of the ledger, and what it answers.

use protocol::{BatchId, Fields, GatewayMac, LabelMac, ResultMessage, Sku, Store, TaskId, Timestamp, Version};
use std::sync::Arc;

/// A label's place: which product it stands for, in which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The label.
    pub label: LabelMac,
    /// The product.
    pub sku: Sku,
    /// The store.
    pub store: Store,
}

/// What binding labels came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BindReport {
    /// Labels that the ledger had never heard of.
    pub new: u64,
    /// Labels that had another product or store before.
    pub changed: u64,
    /// Labels that were bound so already.
    pub unchanged: u64,
}

/// A task begins with a label.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The label.
    pub label: LabelMac,
    /// The task.
    pub task_id: TaskId,
    /// The store that the task names; kept for a label that has none yet.
    pub store: Store,
    /// The batch that the task belongs to; kept with what it wants.
    pub batch: Option<BatchId>,
    /// What is wanted.
    pub what: What,
}

/// What is wanted of a label.
#[derive(Debug, Clone)]
pub enum What {
    /// It shall show these fields, unless this version or a newer one is already desired.
    Desire {
        /// The version of the fields.
        version: Version,
        /// What to show.
        fields: Arc<Fields>,
    },
    /// It is known to have gone back to an older version: forget what it shows, so that it is driven again. Where the
    /// task has ended with this label already, nothing is forgotten: since then it may have been put right.
    Forget,
    /// Nothing is changed, only read.
    Look,
}

/// What a label should show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The version of the fields.
    pub version: Version,
    /// What to show.
    pub fields: Arc<Fields>,
    /// When this became desired.
    pub at: Timestamp,
    /// The task that asked for it.
    pub task_id: TaskId,
    /// The batch that it belonged to.
    pub batch: Option<BatchId>,
}

/// What a label shows, as far as gateways have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The version of the fields.
    pub version: Version,
    /// What is shown.
    pub fields: Arc<Fields>,
    /// When it was acknowledged.
    pub at: Timestamp,
    /// The task that it was shown for.
    pub task_id: TaskId,
    /// The gateway that acknowledged it.
    pub gateway: Option<GatewayMac>,
}

/// All that the ledger knows of a label, but for its outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelRecord {
    /// The store that it is in.
    pub store: Option<Store>,
    /// The product that it stands for.
    pub sku: Option<Sku>,
    /// What it should show.
    pub desired: Option<Desired>,
    /// What it shows.
    pub shown: Option<Shown>,
}

/// How a label stands when a task begins with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelState {
    /// The store that it is in.
    pub store: Option<Store>,
    /// What it should show: by this task, or by one with a newer version.
    pub desired: Option<Desired>,
    /// What it shows.
    pub shown: Option<Shown>,
    /// How this task ended with this label, where that is recorded: a redelivery.
    pub recorded: Option<ResultMessage>,
}

/// A task ends with a label.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// How.
    pub result: ResultMessage,
    /// The fields that a gateway acknowledged, in the version that the result names.
    pub shown: Option<Arc<Fields>>,
}

/// What is recorded of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The outcome that counts: this one, or what was recorded for the task and label before.
    pub recorded: ResultMessage,
    /// The version acknowledged is older than one shown already, so the label may have gone back and must be
    /// repaired. Never missed; said needlessly in rare races, where the order of two acknowledgements is unknown.
    pub went_back: bool,
}

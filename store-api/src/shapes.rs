//! What is asked and answered, as JSON.

use backbone::ledger::{Desired, Recorded, Shown};
use protocol::{BatchId, Fields, GatewayMac, LabelMac, Outcome, Sku, Store, TaskId, Timestamp, Version};
use serde::Serialize;
use utoipa::ToSchema;

/// What a label shows.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of protocol's Fields, for the document only")]
pub(crate) struct FieldsShape {
    /// The product's name, at most 1024 bytes.
    #[schema(max_length = 1024)]
    name: Option<String>,
    /// A decimal string, never a float.
    #[schema(pattern = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,4})?$")]
    price: Option<String>,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
}

/// A task as it is sent.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of protocol's Task, for the document only")]
pub(crate) struct TaskShape {
    /// The idempotency key; derived from the request's where it is absent.
    #[schema(pattern = "^[!-~]{1,128}$")]
    task_id: Option<String>,
    /// What is to be done; absent: price_update.
    #[schema(pattern = "^(price_update|blink|ping|refresh|page|repair)$")]
    action: Option<String>,
    /// The product; needed where labels are absent.
    #[schema(min_length = 1, max_length = 64)]
    sku: Option<String>,
    /// The labels; absent: those that are bound to the product.
    #[schema(max_items = 10_000)]
    labels: Option<Vec<Mac>>,
    /// Grows with every change of a label; absent: the time of the request in milliseconds.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    version: Option<u64>,
    /// What to show.
    fields: FieldsShape,
    /// The batch, the same in all tasks of a request.
    #[schema(min_length = 1, max_length = 128)]
    batch: Option<String>,
    /// How long the task may take from its first delivery; default 180000.
    #[schema(minimum = 1, maximum = 604_800_000)]
    timeout_ms: Option<u64>,
    /// `urgent` overtakes what is not; default `normal`.
    #[schema(pattern = "^(normal|urgent)$")]
    priority: Option<String>,
}

/// A MAC address: 12 hexadecimal digits, with or without separators.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-fA-F]{12}$")]
#[allow(dead_code, reason = "for the document only")]
pub(crate) struct Mac(String);

/// One task, several, or several with their batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "for the document only")]
pub(crate) enum TasksShape {
    One(TaskShape),
    Many(Vec<TaskShape>),
    Together(Together),
}

/// Tasks with their batch.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "for the document only")]
pub(crate) struct Together {
    #[schema(min_items = 1, max_items = 10_000)]
    tasks: Vec<TaskShape>,
    /// The batch of all of them.
    #[schema(min_length = 1, max_length = 128)]
    batch: Option<String>,
}

/// What a label should show, or shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Content {
    #[schema(value_type = u64)]
    pub(crate) version: Version,
    #[schema(value_type = FieldsShape)]
    pub(crate) fields: Fields,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    #[schema(value_type = String)]
    pub(crate) task_id: TaskId,
    /// The gateway that acknowledged it.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<GatewayMac>,
}

impl From<Desired> for Content {
    fn from(Desired { version, fields, at, task_id, batch: _ }: Desired) -> Self {
        Self { version, fields: (*fields).clone(), at, task_id, gateway: None }
    }
}

impl From<Shown> for Content {
    fn from(Shown { version, fields, at, task_id, gateway }: Shown) -> Self {
        Self { version, fields: (*fields).clone(), at, task_id, gateway }
    }
}

/// How a label of a task ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ended {
    #[schema(value_type = String)]
    pub(crate) task_id: TaskId,
    #[schema(value_type = String)]
    pub(crate) store: Store,
    #[schema(value_type = Option<String>)]
    pub(crate) sku: Option<Sku>,
    #[schema(value_type = String)]
    pub(crate) label: LabelMac,
    #[schema(value_type = Option<u64>)]
    pub(crate) version: Option<Version>,
    #[schema(value_type = String)]
    pub(crate) outcome: Outcome,
    /// Why, where it is not `shown`.
    pub(crate) reason: Option<String>,
    #[schema(value_type = Option<String>)]
    pub(crate) gateway: Option<GatewayMac>,
    /// How many commands were sent.
    pub(crate) attempts: u32,
    /// From the task's first delivery.
    pub(crate) latency_ms: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub(crate) batch: Option<BatchId>,
    /// What the gateway acknowledged, where it acknowledged something to show.
    #[schema(value_type = Option<FieldsShape>)]
    pub(crate) fields: Option<Fields>,
}

impl From<Recorded> for Ended {
    fn from(Recorded { result, fields }: Recorded) -> Self {
        Self {
            task_id: result.task_id,
            store: result.store,
            sku: result.sku,
            label: result.label,
            version: result.version,
            outcome: result.outcome,
            reason: result.reason,
            gateway: result.gateway,
            attempts: result.attempts,
            latency_ms: result.latency_ms,
            at: result.at,
            batch: result.batch,
            fields,
        }
    }
}

/// The `limit` of a page.
pub(crate) fn limit(asked: Option<u32>, most: u32) -> Result<u32, crate::problem::Problem> {
    match asked {
        None => Ok(100),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(crate::problem::Problem::unprocessable(format!("limit {limit}: expected 1 to {most}"))),
    }
}

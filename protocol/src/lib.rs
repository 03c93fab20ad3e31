//! What the ESL backbone says: messages, identifiers, and every name on the wire.
//!
//! Pure: no async, no I/O, no clock. Everything that comes from outside is parsed here, once, into types that
//! cannot hold nonsense, so the rest of the code never checks a MAC, a price or a topic again. The prose form of
//! this contract is `docs/PROTOCOL.md`.

mod batch;
mod command;
mod correlation;
mod fields;
mod mac;
pub mod names;
mod price;
mod priority;
mod reply;
mod report;
mod result;
mod rssi;
#[cfg(feature = "schema")]
pub mod schema;
mod task;
mod text;
mod timestamp;
mod version;
mod wait;

pub use batch::{BatchState, CANCELLED};
pub use command::{Answer, AnswerError, Command, CommandHead, Refusal};
pub use correlation::{CorrelationId, CorrelationIdError};
pub use fields::{FieldValue, Fields, MAX_EXTRA_FIELDS};
pub use mac::{GatewayMac, LabelMac, MacError};
pub use price::{Currency, CurrencyError, Price, PriceError};
pub use priority::{Priority, PriorityError, Turn};
pub use reply::{Reply, ReplyOutcome};
pub use report::{Report, ReportError, Sighting};
pub use result::{Outcome, ResultMessage};
pub use rssi::{Rssi, RssiError};
pub use task::{Action, ActionError, DEFAULT_TASK_TIMEOUT, MAX_LABELS_PER_TASK, MAX_TASK_BYTES, Task, TaskError};
pub use text::{BatchId, Sku, Store, TaskId, TextError};
pub use timestamp::Timestamp;
pub use version::{Version, VersionError};
pub use wait::{MAX_WAIT, Wait, WaitFor};

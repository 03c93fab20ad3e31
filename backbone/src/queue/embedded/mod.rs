//! The queues inside one process: those that must survive it in its data folder, the others in memory.
//!
//! | | kept | waits at most |
//! |---|---|---|
//! | `esl.tasks`, `esl.tasks.dead`, queues of results | rows, until they are settled | the disk |
//! | `esl.rpc`, reply queues | memory | [`memory::MOST_MESSAGES`] |
//!
//! # Invariants
//!
//! - Of a durable queue, no message is in memory but those in the hands of its consumers, whose prefetch bounds them.
//! - A message is handed out after its delivery was counted and committed, so that one that kills the process is
//!   counted too; what is settled may come again after a crash.
//! - Messages come in the order in which they were published; what comes back, before all others.

mod consumer;
mod durable;
mod hub;
mod memory;
mod session;
mod subscribers;
mod topic;
mod turn;
mod waiting;

pub(super) use consumer::{Consumer, Settler};
pub use hub::EmbeddedQueues;
pub(super) use session::{BulkPublisher, Publisher, Session};

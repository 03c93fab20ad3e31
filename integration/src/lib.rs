//! What stories across all roles are told with: a running backbone on real servers, or [without any](StandaloneStory),
//! a store backend that enqueues, an observer of the results, and the [books](Story::check_books) that must balance at
//! the end.
//!
//! The stories are in `tests/stories`, one module each. Run them with `make test`, or one by one with
//! `target/debug/testbed exec -- cargo nextest run -p integration happy_path`.

mod asker;
mod backend;
mod books;
mod emulator;
mod load;
mod results;
mod scripted_router;
mod standalone;
mod story;
mod stranger;

pub use asker::Asker;
pub use backend::{Backend, price_update};
pub use books::Books;
pub use emulator::{EmulatedGateway, EmulatedLabel, Emulator, Hearer, Write};
pub use load::Load;
pub use results::{Results, Seen};
pub use scripted_router::{Answered, Asked, ScriptedRouter};
pub use standalone::StandaloneStory;
pub use story::{Story, gateway_mac, label_mac, labels, quick};
pub use stranger::Stranger;

//! A seeded fault run on real servers, and the checker that reads all that happened.
//!
//! `faults` starts a backbone with two of each role, lets several store backends ask for random versions of thousands of
//! labels at a steady rate, and kills, freezes, restarts and cuts off one component after the other meanwhile, and pairs of
//! them. When all has settled, [`history::check`] reads what was confirmed, what labels carried out, what askers were
//! answered, what was published and what is recorded, and names each broken promise with the shortest story that shows it.
//!
//! That the checker can fail is shown in `tests/model`: a backbone in miniature that keeps the promises is not accused,
//! and is found out when any one of its rules is left out.

mod collect;
mod config;
mod fault;
pub mod history;
mod plan;
mod report;
mod run;
mod stage;
mod traffic;

pub use config::Config;
pub use report::{Report, Violations};
pub use run::run;

//! The data folder: what survives a crash, what is refused when it is opened, and what a full disk does.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests await what they spawn, and tell their children by the environment"
)]

#[path = "embedded/crash.rs"]
mod crash;
#[path = "embedded/fixture.rs"]
mod fixture;
#[path = "embedded/full_disk.rs"]
mod full_disk;
#[path = "embedded/load.rs"]
mod load;
#[path = "embedded/opening.rs"]
mod opening;
#[path = "embedded/power_loss.rs"]
mod power_loss;
#[path = "embedded/restart.rs"]
mod restart;

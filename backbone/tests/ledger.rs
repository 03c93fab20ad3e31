//! The ledger on a real MongoDB: the one that the test run shares, and one of its own where it is hurt.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]
#![allow(clippy::disallowed_methods, reason = "tests await what they spawn, and get their server by the environment")]

#[path = "ledger/fixture.rs"]
mod fixture;
#[path = "ledger/newest_wins.rs"]
mod newest_wins;
#[path = "ledger/outage.rs"]
mod outage;
#[path = "ledger/outcomes.rs"]
mod outcomes;
#[path = "ledger/reading.rs"]
mod reading;
#[path = "ledger/telemetry.rs"]
mod telemetry;
#[path = "ledger/viewing.rs"]
mod viewing;

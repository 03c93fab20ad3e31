//! The command-line tool as a process, on real servers.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]

#[path = "cli/batch.rs"]
mod batch;
#[path = "cli/dead.rs"]
mod dead;
#[path = "cli/enqueue.rs"]
mod enqueue;
#[path = "cli/fixture.rs"]
mod fixture;
#[path = "cli/gateway_check.rs"]
mod gateway_check;
#[path = "cli/http.rs"]
mod http;
#[path = "cli/input.rs"]
mod input;
#[path = "cli/label.rs"]
mod label;
#[path = "cli/outage.rs"]
mod outage;
#[path = "cli/watch.rs"]
mod watch;

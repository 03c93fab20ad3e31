//! What is written in one place must agree with what is written in another; see the crate's documentation.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod agreement;
mod alerts;
mod autoscaling;
mod compose;
mod overlays;
mod schemas;
mod watching;

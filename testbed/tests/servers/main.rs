//! Real servers: they start, survive what they should, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests await or abort what they spawn")]

mod isolation;
mod leftovers;
mod mongodb;
mod mosquitto;
mod proxy;
mod rabbitmq;
mod redis;

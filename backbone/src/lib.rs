//! How the ESL backbone carries messages, and how its processes live.
//!
//! The only crate that names the client libraries of RabbitMQ ([`queue`]), MQTT ([`mqtt`]), Redis ([`registry`]) and
//! MongoDB ([`ledger`]), and SQLite, which stands in for RabbitMQ and MongoDB in a process without servers
//! ([`embedded`]). Roles see messages of `protocol` and the handles below, never a library's types, so that a
//! role does not know which back-end it runs on.

pub mod commands;
pub mod embedded;
pub mod http;
pub mod ledger;
pub mod mqtt;
pub mod queue;
pub mod registry;
pub mod service;
pub mod sheet;

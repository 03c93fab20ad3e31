//! Commands to gateways, their answers and their reports over MQTT 5.
//!
//! A router has one [`Client`] for each broker that `MQTT_URL` names: brokers need not know each other, and each
//! gateway is on any one of them. A client reconnects by itself, always with a clean session, and subscribes again
//! each time; what a lost connection had in hand is made up for by the RPC's retry.
//!
//! Where all roles are one process, its gateways may be on an [`EmbeddedBroker`] of its own instead.
//!
//! Whoever puts a gateway to the test is an [`Observer`], who sees more of a message than a router needs to, and may put
//! a [`Tap`] between the gateway and its broker.

mod client;
mod coalesce;
mod connection;
mod embedded;
pub mod gateway;
mod observer;
mod tap;
mod tls;
mod url;

pub use client::{Client, ClientError, ClientOptions, Incoming, Publication, PublishError, Subscription};
pub use embedded::{CredentialsError, EmbeddedBroker, EmbeddedError, EmbeddedOptions, TlsOptions};
pub use observer::{Observed, Observer, ObserverError};
pub use tap::{Handshake, Subscribed, Tap, Will};
pub use tls::{IdentityArgs, PemFile};
pub use url::{BrokerName, MqttArgs, MqttUrl, MqttUrls};

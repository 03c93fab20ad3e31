//! How a process lives: configuration, logs, admin port, sessions, and a clean stop.
//!
//! A role is `run(config, service)`. [`main`] gives it a [`Service`]: a token that is cancelled when it shall stop, a
//! switch for its readiness, and a registry for its metrics. The role returns when it has drained. A process of several
//! roles gives each a service of its own, by [`Service::share`].

mod admin;
mod backoff;
mod clock;
mod config;
mod health;
mod lifecycle;
mod secret_url;
mod session;
mod tls;

pub use admin::Readiness;
pub use backoff::Backoff;
pub use clock::now;
pub use config::{ServiceArgs, parse, parse_duration, parse_from};
pub use lifecycle::{Service, main};
pub use secret_url::{SecretUrl, UrlError};
pub use session::{Ended, run_sessions};
pub(crate) use tls::certificates;
pub use tls::{Authorities, TlsArgs, advice};

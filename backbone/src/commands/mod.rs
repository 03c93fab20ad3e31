//! Commands on their way to gateways, and what gateways answer: what routers do alike, however a request came to them
//! and however its reply goes back. `fwd-router` does the first half and `bck-router` the second; `http-router` both.
//!
//! - [`Dispatcher`]: from requests to commands that an MQTT broker has, or to a reply that says why not ([`Dispatched`]);
//! - [`Heard`]: from a gateway's message to the RPC that it answers;
//! - [`in_chunks`]: what comes one by one goes to Redis together;
//! - [`give_back`]: places in gateways' windows that came free.

mod admit;
mod answer;
mod chunks;
mod credit;
mod dispatch;
mod places;

pub use admit::Admitted;
pub use answer::{Heard, finish, read_all};
pub use chunks::{CHUNK, RoundTrip, RoundTrips, in_chunks};
pub use dispatch::{DispatchCounters, Dispatched, Dispatcher, DispatcherOptions, Request};
pub use places::give_back;

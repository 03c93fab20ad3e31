//! Routes to labels and RPCs in flight, in Redis or in the memory of a process that has all roles.
//!
//! Redis is a cache here: losing all of it costs latency, never an update. Everything about one label lies under two
//! keys of one hash slot, and each step of an RPC is one script and one round trip:
//!
//! - [`Registry::start`] checks the fence, takes the label's lease and picks its gateway;
//! - [`Registry::finish`] matches a gateway's answer to the RPC that it belongs to, and takes that;
//! - [`Registry::abort`] gives the lease back when the command certainly reached no gateway.
//!
//! Everything about one gateway's load lies under two keys of another hash slot: [`Registry::acquire`] asks for a place
//! in the gateway's window, [`Registry::release`] gives it back.
//!
//! [`MemoryRegistry`] follows the same rules, as functions over a label's or a gateway's state.

mod answers;
mod connection;
mod directory;
mod error;
mod gateways;
mod line;
mod memory;
mod routes;
mod rpc;
mod sentinels;
mod signals;
mod url;
mod window;

pub use answers::{AnswerCounts, answer_span};
pub use connection::{RedisArgs, Registry};
pub use directory::GatewayDirectory;
pub use error::RegistryError;
pub use gateways::GatewayState;
pub use memory::MemoryRegistry;
pub use routes::RouteEntry;
pub use rpc::{Finish, Finished, NotSent, RouteArgs, RpcPolicy, Start, Started};
pub use signals::{Signal, signal_span};
pub use url::RedisUrl;
pub use window::{
    Acquire, Acquired, Admission, Ask, Breaker, Claim, Ended, Release, WindowArgs, WindowPolicy, WindowState,
};

//! Private RabbitMQ, Redis, Mosquitto and MongoDB, and the roles as real processes, for tests, benches
//! and trials on one machine.
//!
//! - [`RabbitMq`], [`Redis`], [`Mosquitto`], [`MongoDb`]: one real server each, on a free port of
//!   127.0.0.1 and in a folder of its own. [`Server`] is what they share: stop, kill, pause, start again.
//! - [`RabbitMqCluster`], [`RedisSentinels`], [`ReplicaSet`]: three of each that are one; [`HaProxy`]: what gateways
//!   reach several Mosquittos through.
//! - [`Certificates`]: TLS for them, and the roles' users in them with the permissions in `security/`.
//! - [`Balancer`]: a TCP balancer before several replicas.
//! - [`Proxy`]: a TCP proxy that delays, swallows or cuts what passes between a client and a server.
//! - [`Role`]: one of the project's own binaries as a process; [`Stack`]: servers and roles together;
//!   [`Standalone`]: all roles as one process, without servers.
//! - [`install::ensure_installed`]: installs the servers on a machine that hasn't got them; [`Tool`] does so with the
//!   programs that check what deploys the backbone.
//!
//! RabbitMQ takes seconds to start, so a test run shares one: `testbed exec -- cargo nextest run` starts
//! it (and MongoDB), and each [`Servers`] takes a fresh virtual host and a fresh database there.
//!
//! # Invariants
//!
//! - Whatever is started is ended when its value is dropped, also by a panic: by pid, and reaped.
//! - Children stay in the process group of whoever started them, so killing the group takes all along.
//! - Every wait is bounded, and its error shows the end of the log of what it waited for.

mod access;
mod balancer;
mod certificates;
mod haproxy;
pub mod install;
mod management;
mod mongodb;
mod mosquitto;
mod port;
mod process;
mod proxy;
mod rabbitmq;
mod rabbitmq_cluster;
mod redis;
mod replica_set;
pub mod role;
mod sentinels;
mod server;
mod servers;
mod shared;
mod stack;
mod standalone;
mod tools;

pub use balancer::Balancer;
pub use certificates::{Certificates, TlsFiles};
pub use haproxy::HaProxy;
pub use management::Management;
pub use mongodb::{MongoDb, MongoDbOptions};
pub use mosquitto::{Mosquitto, MosquittoOptions};
pub use port::free_port;
pub use process::Process;
pub use proxy::{Mode, Proxy};
pub use rabbitmq::{RabbitMq, RabbitMqOptions};
pub use rabbitmq_cluster::RabbitMqCluster;
pub use redis::{Redis, RedisOptions};
pub use replica_set::ReplicaSet;
pub use role::{Role, sum_samples};
pub use sentinels::RedisSentinels;
pub use server::{Server, http_builder};
pub use servers::{Servers, ServersConfig};
pub use shared::SharedServers;
pub use stack::{
    BCK_ROUTER, FWD_ROUTER, GATEWAY_EMULATOR, HTTP_ROUTER, STANDALONE, STORE_API, Stack, StackConfig, TASK_WORKER,
};
pub use standalone::Standalone;
pub use tools::Tool;

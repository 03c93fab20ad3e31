//! Stories across all roles, each on real servers of its own with two of each role, each ending with the books.
#![allow(clippy::unwrap_used, reason = "a story that can't go on has failed")]
#![allow(clippy::disallowed_methods, reason = "stories await what they spawn")]

mod bad_config;
mod flush_redis;
mod happy_path;
mod kill_bck_router;
mod kill_fwd_router;
mod kill_worker;
mod restart_mongodb;
mod restart_mosquitto;
mod restart_rabbitmq;
mod rolling_restart;
mod start_order;
mod two_brokers;
mod under_load;

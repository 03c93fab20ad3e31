//! Stories across all roles, each on real servers of its own with two of each role, each ending with the books.
#![allow(clippy::unwrap_used, reason = "a story that can't go on has failed")]
#![allow(clippy::disallowed_methods, reason = "stories await what they spawn")]

mod bad_config;
mod clusters;
mod dead_letters;
mod examples;
mod flush_redis;
mod happy_path;
mod held_batches;
mod hostile_gateway;
mod http_router;
mod kill_bck_router;
mod kill_fwd_router;
mod kill_worker;
mod late_command;
mod late_reply;
mod latency;
mod mac_only;
mod nacks;
mod no_route;
mod other_actions;
mod page;
mod redelivery;
mod restart_mongodb;
mod restart_mosquitto;
mod restart_rabbitmq;
mod rolling_restart;
mod rpc_matrix;
mod shuffled_versions;
mod sku;
mod slow_gateway;
mod standalone;
mod standalone_edges;
mod standalone_reach;
mod standalone_tasks;
mod standalone_trouble;
mod standalone_waiting;
mod start_order;
mod store_api;
mod store_api_contract;
mod tls;
mod two_brokers;
mod under_load;
mod urgent;
mod waiting;

//! Real servers: they start, survive what they should, and leave nothing behind.

mod leftovers;
mod mongodb;
mod mosquitto;
mod proxy;
mod rabbitmq;
mod redis;

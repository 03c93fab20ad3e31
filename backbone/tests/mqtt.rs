//! MQTT between routers and gateways, over Mosquitto and over the broker inside the process: the same suite over both,
//! and what only the latter promises.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]

#[path = "mqtt/commands.rs"]
mod commands;
#[path = "mqtt/embedded.rs"]
mod embedded;
#[path = "mqtt/fixture.rs"]
mod fixture;
#[path = "mqtt/gateways.rs"]
mod gateways;
#[path = "mqtt/tls.rs"]
mod tls;
#[path = "mqtt/wire.rs"]
mod wire;

use fixture::BackEnd;

/// Runs each of these on every back-end.
macro_rules! on_every_back_end {
    ($($module:ident::$test:ident),+ $(,)?) => {
        mod on_mosquitto {
            $(#[tokio::test]
            async fn $test() {
                super::$module::$test(super::BackEnd::Mosquitto).await;
            })+
        }
        mod in_process {
            $(#[tokio::test]
            async fn $test() {
                super::$module::$test(super::BackEnd::Embedded).await;
            })+
        }
    };
}

on_every_back_end! {
    commands::a_command_reaches_its_gateway_with_all_that_belongs_to_it,
    commands::a_command_to_nobody_is_noticed,
    commands::a_command_waits_for_a_gateway_that_is_away,
    commands::a_command_that_waited_too_long_is_dropped,
    commands::a_command_that_was_not_acknowledged_comes_again,
    gateways::an_answer_goes_to_one_member_of_the_group,
    gateways::an_answer_has_its_correlation_data,
    gateways::a_member_that_left_gets_nothing_more,
    gateways::a_connection_that_is_cut_leaves_its_will,
    gateways::a_gateway_that_leaves_in_order_leaves_no_will,
    gateways::garbage_on_the_port_harms_nobody,
}

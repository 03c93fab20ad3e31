//! What the queues promise, by one suite on every back-end: RabbitMQ (a virtual host of its own per test, in the server
//! that the test run shares), and the embedded queues.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]
#![allow(clippy::disallowed_methods, reason = "tests await what they spawn")]

#[path = "queue/dead_letters.rs"]
mod dead_letters;
#[path = "queue/delivering.rs"]
mod delivering;
#[path = "queue/fixture.rs"]
mod fixture;
#[path = "queue/later.rs"]
mod later;
#[path = "queue/returning.rs"]
mod returning;
#[path = "queue/routing.rs"]
mod routing;
#[path = "queue/rpc.rs"]
mod rpc;

macro_rules! on_every_back_end {
    ($($module:ident: $($test:ident),+;)+) => {
        mod on_rabbitmq {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$module::$test(crate::fixture::Fixture::rabbitmq().await).await;
                }
            )+)+
        }
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$module::$test(crate::fixture::Fixture::embedded().await).await;
                }
            )+)+
        }
    };
}

on_every_back_end! {
    dead_letters:
        who_looks_at_dead_letters_takes_none_away,
        chosen_dead_letters_are_sent_again_and_the_others_stay;
    delivering:
        messages_come_in_order_and_settled_ones_are_gone,
        the_prefetch_bounds_what_is_in_hand,
        a_chunk_is_what_is_there,
        consumers_share_a_queue,
        a_backlog_is_what_nobody_has,
        properties_are_carried,
        what_expires_is_not_delivered,
        a_queue_that_is_not_there_can_not_be_consumed;
    later:
        a_task_put_off_comes_later_and_is_the_same,
        who_waits_long_holds_nobody_up,
        what_waits_outlives_whoever_put_it_off;
    returning:
        what_is_not_settled_comes_back_first_and_in_order,
        requests_come_back_too,
        a_cancelled_consumer_settles_what_it_has,
        a_session_that_ended_can_do_nothing,
        a_task_that_comes_back_too_often_is_a_dead_letter;
    routing:
        results_go_where_their_pattern_says,
        results_wait_for_whoever_was_there_before,
        a_mandatory_message_without_a_queue_goes_nowhere;
    rpc:
        a_reply_reaches_whoever_asked,
        a_reply_to_nobody_is_counted,
        requests_and_replies_travel_together_where_that_is_taken,
        an_rpc_without_an_answer_times_out,
        a_reply_queue_is_gone_with_its_session;
}

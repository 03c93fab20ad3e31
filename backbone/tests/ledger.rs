//! What the ledger promises, by one suite on every back-end: MongoDB (a database of its own per test, in the server that
//! the test run shares) and SQLite. What is hurt or looked into from outside is a MongoDB of its own.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for no tests")]
#![allow(clippy::disallowed_methods, reason = "tests await what they spawn, and get their server by the environment")]

#[path = "ledger/bounded.rs"]
mod bounded;
#[path = "ledger/controlling.rs"]
mod controlling;
#[path = "ledger/fixture.rs"]
mod fixture;
#[path = "ledger/newest_wins.rs"]
mod newest_wins;
#[path = "ledger/outage.rs"]
mod outage;
#[path = "ledger/outcomes.rs"]
mod outcomes;
#[path = "ledger/reading.rs"]
mod reading;
#[path = "ledger/surveying.rs"]
mod surveying;
#[path = "ledger/telemetry.rs"]
mod telemetry;
#[path = "ledger/viewing.rs"]
mod viewing;

macro_rules! on_every_back_end {
    ($($module:ident: $($test:ident),+;)+) => {
        mod on_mongodb {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$module::$test(crate::fixture::fresh().await.0).await;
                }
            )+)+
        }
        mod on_sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (ledger, _folder) = crate::fixture::fresh_on_sqlite().await;
                    crate::$module::$test(ledger).await;
                }
            )+)+
        }
    };
}

on_every_back_end! {
    newest_wins:
        of_hundreds_of_versions_at_once_the_greatest_is_desired,
        of_hundreds_of_acknowledgements_at_once_the_greatest_is_shown,
        an_equal_version_keeps_the_first_content,
        a_newer_version_replaces_all_fields_and_an_older_one_none,
        names_and_texts_that_mean_something_to_mongodb_are_kept,
        a_label_that_went_back_is_noticed_and_forgotten,
        a_repair_that_comes_again_forgets_nothing,
        the_order_within_a_batch_decides_nothing;
    outcomes:
        a_redelivered_task_is_told_how_it_ended,
        of_many_ends_at_once_one_is_recorded_and_all_are_told_it,
        a_batch_has_a_balance,
        a_labels_history_is_newest_first,
        it_is_known_which_price_was_on_a_label_when;
    reading:
        labels_are_found_by_what_they_are_bound_to,
        a_task_names_the_store_only_of_a_label_that_has_none,
        thousands_of_labels_go_in_one_call,
        the_largest_fields_fit;
    outage:
        a_caller_that_goes_away_harms_no_other,
        a_request_of_thousands_is_answered_in_order_and_batches_are_counted;
    viewing:
        the_first_record_of_a_request_counts,
        labels_are_out_of_date_until_they_show_what_they_should,
        a_history_is_read_in_pages,
        a_batch_has_progress;
    surveying:
        a_stores_labels_are_counted_by_why_they_are_out_of_date,
        outcomes_are_counted_in_spans_of_time,
        a_batch_knows_which_labels_wait_and_which_failed,
        products_are_found_by_number_name_and_label,
        actions_are_kept_with_who_took_them;
    controlling:
        a_batch_is_paused_resumed_and_cancelled_for_good,
        a_batch_in_hand_is_known_to_be_paused_within_a_second;
    telemetry:
        measurements_are_stored;
}

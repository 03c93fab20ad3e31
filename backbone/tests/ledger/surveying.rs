//! Whole stores, counted for the operator's page.

use crate::fixture::*;
use backbone::ledger::{ActionTaken, BatchSeen, Binding, Late, Ledger, Opening, Settlement};
use protocol::{BatchId, Outcome, Sku, Store, Timestamp};
use std::time::Duration;

fn store() -> Store {
    id("sp-014")
}

fn ended_because(number: u32, task: &str, outcome: Outcome, reason: &str) -> Settlement {
    let mut settlement = ended(number, task, 1, outcome);
    settlement.result.reason = Some(reason.to_owned());
    settlement
}

async fn bind(ledger: &Ledger, number: u32, sku: &str) {
    let binding = Binding { label: label(number), sku: id(sku), store: store() };
    ledger.bind(&[binding]).await.unwrap();
}

pub(crate) async fn a_stores_labels_are_counted_by_why_they_are_out_of_date(ledger: Ledger) {
    assert_eq!(ledger.standing(&store()).await.unwrap(), Default::default());
    let openings: Vec<_> = (1..=6).map(|number| desire(number, "t-1", 1)).collect();
    ledger.open(&openings).await.unwrap();
    bind(&ledger, 7, "never-priced").await;
    let refused = |number| ended_because(number, "t-1", Outcome::Rejected, "insufficient_battery");
    let silent = ended_because(4, "t-1", Outcome::Unreachable, "no gateway hears the label");
    ledger.settle(&[shown(1, "t-1", 1), refused(2), refused(3), silent]).await.unwrap();

    let standing = ledger.standing(&store()).await.unwrap();
    assert_eq!((standing.labels, standing.blank, standing.in_progress), (7, 1, 2));
    let causes: Vec<_> =
        standing.causes.iter().map(|cause| (cause.outcome, cause.reason.as_deref().unwrap(), cause.labels)).collect();
    let battery = (Outcome::Rejected, "insufficient_battery", 2);
    assert_eq!(causes, [battery, (Outcome::Unreachable, "no gateway hears the label", 1)]);
    assert_eq!(ledger.stores().await.unwrap(), [store()]);
    assert_eq!(ledger.labels_in(&store()).await.unwrap().len(), 7);
}

pub(crate) async fn outcomes_are_counted_in_spans_of_time(ledger: Ledger) {
    let at = |mut settlement: Settlement, millis: i64| {
        settlement.result.at = Timestamp::from_unix_millis(millis);
        settlement.result.latency_ms = millis as u64 / 100;
        settlement
    };
    let all = [
        at(shown(1, "t-1", 1), 10_000),
        at(shown(2, "t-1", 1), 14_999),
        at(ended(3, "t-1", 1, Outcome::Rejected), 14_000),
        at(shown(4, "t-1", 1), 15_000),
        at(shown(5, "t-1", 1), 9_999),
    ];
    ledger.settle(&all).await.unwrap();
    let since = Timestamp::from_unix_millis(10_000);
    let mut spans = ledger.ended_by(&store(), since, Duration::from_secs(5)).await.unwrap();
    spans.sort_by_key(|span| (span.from, span.outcome));
    let spans: Vec<_> = spans.iter().map(|span| (span.from.unix_millis(), span.outcome, span.labels)).collect();
    assert_eq!(
        spans,
        [(10_000, Outcome::Shown, 2), (10_000, Outcome::Rejected, 1), (15_000, Outcome::Shown, 1)],
        "in spans of five seconds"
    );
    assert_eq!(ledger.latest_latencies(&store(), since, 2).await.unwrap(), [150, 149], "the latest that were shown");
}

pub(crate) async fn a_batch_knows_which_labels_wait_and_which_failed(ledger: Ledger) {
    let batch: BatchId = id("promo");
    let of_batch = |opening| Opening { batch: Some(id("promo")), ..opening };
    let openings: Vec<_> = (1..=4).map(|number| of_batch(desire(number, "t-1", 1))).collect();
    ledger.open(&openings).await.unwrap();
    let mut failed = ended_because(2, "t-1", Outcome::Unreachable, "no answer");
    failed.result.batch = Some(batch.clone());
    let at = failed.result.at;
    ledger.settle(&[shown(1, "t-1", 1), failed]).await.unwrap();
    // Another task's since then.
    ledger.open(&[desire(4, "t-2", 2)]).await.unwrap();
    let late = |number, has_ended, reason: Option<&str>| Late {
        label: label(number),
        has_ended,
        reason: reason.map(str::to_owned),
    };
    let of_the_batch = [late(2, true, Some("no answer")), late(3, false, None)];
    assert_eq!(ledger.late(&store(), Some(&batch), 10).await.unwrap(), of_the_batch);
    assert_eq!(ledger.late(&store(), Some(&batch), 1).await.unwrap(), of_the_batch[..1]);
    let all: Vec<_> = of_the_batch.into_iter().chain([late(4, false, None)]).collect();
    assert_eq!(ledger.late(&store(), None, 10).await.unwrap(), all);
    assert_eq!(ledger.batches(&store(), 10).await.unwrap(), [BatchSeen { batch, at }]);
}

pub(crate) async fn products_are_found_by_number_name_and_label(ledger: Ledger) {
    bind(&ledger, 1, "7891000100103").await;
    bind(&ledger, 2, "7891000100103").await;
    bind(&ledger, 3, "100%_(x)").await;
    ledger.open(&[desire(1, "t-1", 1), desire(2, "t-1", 1)]).await.unwrap();
    ledger.settle(&[shown(1, "t-1", 1)]).await.unwrap();
    let found = async |text: &str| {
        let found = ledger.products(&store(), text, None, 10).await.unwrap();
        found.into_iter().map(|product| product.sku.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("").await, ["100%_(x)", "7891000100103"]);
    assert_eq!(found("furadeira").await, ["7891000100103"]);
    assert_eq!(found("0%_(").await, ["100%_(x)"], "no pattern");
    assert_eq!(found(&label(2).to_string()).await, ["7891000100103"]);
    assert!(found("%%").await.is_empty() && found(".*").await.is_empty());

    let after: Sku = id("100%_(x)");
    let product = ledger.products(&store(), "", Some(&after), 10).await.unwrap().remove(0);
    assert_eq!((product.labels, product.out_of_date, product.name.as_deref()), (2, 1, Some("Furadeira 650W")));
    assert_eq!(ledger.unbind(&[label(1), label(9)]).await.unwrap(), 1);
    let product = ledger.products(&store(), "", Some(&after), 10).await.unwrap().remove(0);
    assert_eq!(product.labels, 1);
    assert_eq!(ledger.label(label(1)).await.unwrap().unwrap().store, Some(store()), "it is still in its store");
}

pub(crate) async fn actions_are_kept_with_who_took_them(ledger: Ledger) {
    let action = |millis, store: Option<Store>, what: &str| ActionTaken {
        at: Timestamp::from_unix_millis(millis),
        who: "ana".to_owned(),
        store,
        what: what.to_owned(),
        target: "001a2b000001".to_owned(),
        detail: "$set <b>".to_owned(),
    };
    let (here, nowhere) = (action(1_000, Some(store()), "blink"), action(2_000, None, "replay"));
    ledger.record_action(&here).await.unwrap();
    ledger.record_action(&nowhere).await.unwrap();
    assert_eq!(ledger.actions(None, 10).await.unwrap(), [nowhere]);
    let elsewhere: Vec<_> = (0..20).map(|at| action(3_000 + at, Some(id("sp-099")), "ping")).collect();
    for busy in &elsewhere {
        ledger.record_action(busy).await.unwrap();
    }
    assert_eq!(ledger.actions(Some(&store()), 10).await.unwrap(), [here], "however busy others are");
    let latest: Vec<_> = elsewhere.into_iter().rev().take(2).collect();
    assert_eq!(ledger.actions(Some(&id("sp-099")), 2).await.unwrap(), latest);
}

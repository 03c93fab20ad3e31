//! Each label of each task ends once, and everybody is told the same end.

use crate::fixture::*;
use backbone::ledger::{Ledger, Settlement, What};
use mongodb::bson::{Bson, DateTime, doc};
use protocol::Outcome;

pub(crate) async fn a_redelivered_task_is_told_how_it_ended(ledger: Ledger) {
    let opening = [desire(1, "t-1", 1), desire(1, "t-2", 2), opening(1, "t-3", What::Look)];
    assert!(ledger.open(&opening).await.unwrap().iter().all(|state| state.recorded.is_none()));
    ledger.settle(&[shown(1, "t-2", 2), ended(1, "t-3", 2, Outcome::Unreachable)]).await.unwrap();
    let states = ledger.open(&opening).await.unwrap();
    let recorded: Vec<_> = states.iter().map(|state| state.recorded.as_ref().map(|result| result.outcome)).collect();
    assert_eq!(recorded, [None, Some(Outcome::Shown), Some(Outcome::Unreachable)]);
}

pub(crate) async fn of_many_ends_at_once_one_is_recorded_and_all_are_told_it(ledger: Ledger) {
    ledger.open(&[desire(1, "t-1", 1)]).await.unwrap();
    let tasks = (0..20).map(|number| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let outcome = Outcome::ALL[number % 4];
            let twice = [ended(1, "t-1", 1, outcome), ended(1, "t-1", 1, Outcome::Rejected)];
            ledger.settle(&twice).await.unwrap()
        })
    });
    let mut told = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        told.extend(task.await.unwrap().into_iter().map(|settled| settled.recorded));
    }
    let recorded = ledger.history(label(1), 10).await.unwrap();
    assert_eq!(recorded.len(), 1);
    assert!(told.iter().all(|told| *told == recorded[0]), "{told:?}");
}

#[tokio::test]
async fn documents_are_as_the_contract_says() {
    let (ledger, database) = fresh().await;
    ledger.open(&[desire(1, "t-1", 42)]).await.unwrap();
    let mut settlement = shown(1, "t-1", 42);
    settlement.result.batch = Some(id("promo 2026-11"));
    ledger.settle(std::slice::from_ref(&settlement)).await.unwrap();

    let at = DateTime::from_millis(settlement.result.at.unix_millis());
    let expected = doc! {
        "_id": "t-1/001a00000001", "task_id": "t-1", "store": "sp-014", "sku": "7891000100103",
        "label": "001a00000001", "version": 42_i64, "outcome": "shown", "gateway": "00fa7e000001",
        "attempts": 1_i64, "latency_ms": 12_i64, "at": at, "batch": "promo 2026-11",
        "fields": { "name": "Furadeira 650W", "price": "42.90", "currency": "BRL" },
    };
    assert_eq!(document(&database, "outcomes", "t-1/001a00000001").await, expected);
    let mut stored = document(&database, "labels", "001a00000001").await;
    let since = stored.get_document_mut("desired").unwrap().remove("at");
    assert!(matches!(since, Some(Bson::DateTime(_))), "{since:?}");
    let fields = doc! { "name": "Furadeira 650W", "price": "42.90", "currency": "BRL" };
    let desired = doc! { "version": 42_i64, "fields": fields.clone(), "task_id": "t-1" };
    let shown = doc! { "version": 42_i64, "fields": fields, "at": at, "task_id": "t-1", "gateway": "00fa7e000001" };
    assert_eq!(stored, doc! { "_id": "001a00000001", "desired": desired, "store": "sp-014", "shown": shown });
}

pub(crate) async fn a_batch_has_a_balance(ledger: Ledger) {
    let settlements = (0..10).map(|number| {
        let mut settlement = ended(number, "t-1", 1, Outcome::ALL[(number as usize % 4).min(2)]);
        settlement.result.batch = (number < 8).then(|| id("promo"));
        settlement
    });
    ledger.settle(&settlements.collect::<Vec<_>>()).await.unwrap();
    let balance = ledger.balance(&id("promo")).await.unwrap();
    let expected = [(Outcome::Shown, 2), (Outcome::Superseded, 2), (Outcome::Rejected, 4)];
    assert_eq!(balance, expected.into_iter().collect());
    assert!(ledger.balance(&id("other")).await.unwrap().is_empty());
}

pub(crate) async fn a_labels_history_is_newest_first(ledger: Ledger) {
    let settlements: Vec<_> =
        [3, 1, 2].map(|version| ended(1, &format!("t-{version}"), version, Outcome::Shown)).to_vec();
    ledger.settle(&settlements).await.unwrap();
    let history = ledger.history(label(1), 2).await.unwrap();
    assert_eq!(history.iter().map(|result| result.task_id.as_str()).collect::<Vec<_>>(), ["t-3", "t-2"]);
    assert!(ledger.history(label(1), 0).await.unwrap().is_empty());
}

pub(crate) async fn it_is_known_which_price_was_on_a_label_when(ledger: Ledger) {
    ledger.open(&[desire(1, "t-9", 9)]).await.unwrap();
    let unreachable = ended(1, "t-7", 7, Outcome::Unreachable);
    ledger.settle(&[shown(1, "t-5", 5), unreachable, shown(1, "t-9", 9), shown(2, "t-8", 8)]).await.unwrap();
    // A repeat changes nothing, whatever it says.
    let repeat = Settlement { shown: Some(fields(1)), ..shown(1, "t-5", 5) };
    ledger.settle(&[repeat]).await.unwrap();
    let at = |number| result(1, "t", number, Outcome::Shown).at;
    assert_eq!(ledger.shown_at(label(1), at(4)).await.unwrap(), None);
    for (when, version_number) in [(5, 5), (8, 5), (9, 9), (1_000, 9)] {
        let shown = ledger.shown_at(label(1), at(when)).await.unwrap().unwrap();
        assert_eq!((shown.version, shown.fields), (version(version_number), fields(version_number)), "{when}");
        assert_eq!((shown.at, shown.gateway), (at(version_number), Some(id("00fa7e000001"))));
    }
}

#[tokio::test]
async fn an_outcome_from_before_they_had_fields_is_read() {
    let (ledger, database) = fresh().await;
    let settlement = shown(1, "t-1", 42);
    ledger.settle(std::slice::from_ref(&settlement)).await.unwrap();
    let old = database.collection::<mongodb::bson::Document>("outcomes");
    let without = doc! { "$unset": { "fields": "" } };
    assert_eq!(old.update_many(doc! {}, without).await.unwrap().modified_count, 1);
    assert_eq!(ledger.history(label(1), 1).await.unwrap(), std::slice::from_ref(&settlement.result));
    assert_eq!(ledger.shown_at(label(1), settlement.result.at).await.unwrap(), None);
}

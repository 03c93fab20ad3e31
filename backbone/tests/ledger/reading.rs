//! Bindings, many labels at once, and what the indexes are for.

use crate::fixture::*;
use backbone::ledger::{BindReport, Binding, LabelRecord, Ledger};
use mongodb::bson::{Document, doc};
use protocol::{Sku, Store};

fn binding(number: u32, sku: &str) -> Binding {
    Binding { label: label(number), sku: id(sku), store: id("sp-014") }
}

pub(crate) async fn labels_are_found_by_what_they_are_bound_to(ledger: Ledger) {
    let (store, drill, saw): (Store, Sku, Sku) = (id("sp-014"), id("drill"), id("saw"));
    let all = [binding(2, "drill"), binding(1, "drill"), binding(3, "hammer"), binding(3, "saw")];
    let report = ledger.bind(&all).await.unwrap();
    assert_eq!(report, BindReport { new: 3, changed: 0, unchanged: 0 });
    assert_eq!(ledger.labels_of(&store, &drill).await.unwrap(), [label(1), label(2)]);
    assert!(ledger.labels_of(&id("sp-015"), &drill).await.unwrap().is_empty());

    ledger.open(&[desire(1, "t-1", 1)]).await.unwrap();
    let report = ledger.bind(&[binding(1, "saw"), binding(2, "drill"), binding(4, "saw")]).await.unwrap();
    assert_eq!(report, BindReport { new: 1, changed: 1, unchanged: 1 });
    assert_eq!(ledger.labels_of(&store, &saw).await.unwrap(), [label(1), label(3), label(4)]);
    let LabelRecord { sku, desired, .. } = ledger.label(label(1)).await.unwrap().unwrap();
    assert_eq!((sku, desired.unwrap().version), (Some(saw.clone()), version(1)));

    let nail: Sku = id("nail");
    let counts = ledger.count_bound(&store, &[drill.clone(), saw.clone(), nail.clone()]).await.unwrap();
    assert_eq!(counts, [(drill, 1), (saw, 3), (nail, 0)].into_iter().collect());
}

pub(crate) async fn a_task_names_the_store_only_of_a_label_that_has_none(ledger: Ledger) {
    let elsewhere = Binding { label: label(1), sku: id("saw"), store: id("sp-015") };
    ledger.bind(&[elsewhere]).await.unwrap();
    let states = ledger.open(&[desire(1, "t-1", 1), desire(2, "t-1", 1)]).await.unwrap();
    let stores: Vec<_> = states.into_iter().map(|state| state.store.unwrap()).collect();
    assert_eq!(stores, [id::<Store>("sp-015"), id("sp-014")]);
}

pub(crate) async fn thousands_of_labels_go_in_one_call(ledger: Ledger) {
    let bindings: Vec<_> = (0..2_500).map(|number| binding(number, "drill")).collect();
    assert_eq!(ledger.bind(&bindings).await.unwrap().new, 2_500);
    assert_eq!(ledger.labels_of(&id("sp-014"), &id("drill")).await.unwrap().len(), 2_500);
    let openings: Vec<_> = (0..2_500).map(|number| desire(number, "t-1", u64::from(number))).collect();
    let states = ledger.open(&openings).await.unwrap();
    assert!((0..2_500).zip(&states).all(|(number, state)| state.desired.as_ref().unwrap().version == version(number)));
    let settlements: Vec<_> = (0..2_500).map(|number| shown(number, "t-1", u64::from(number))).collect();
    assert!(ledger.settle(&settlements).await.unwrap().iter().all(|settled| !settled.went_back));
    let labels: Vec<_> = (0..2_500).map(label).collect();
    let known = ledger.desired_of(&labels).await.unwrap();
    assert_eq!(known.values().filter(|record| record.shown.is_some()).count(), 2_500);
}

pub(crate) async fn the_largest_fields_fit(ledger: Ledger) {
    let text = "x".repeat(1024);
    let extra: Vec<_> = (0..32).map(|number| format!(r#""{number:064}":"{text}""#)).collect();
    let fields = parse_fields(&format!(r#"{{"name":"{text}","price":"1.00",{}}}"#, extra.join(",")));
    let wanted = |number| {
        let what = backbone::ledger::What::Desire { version: version(1), fields: fields.clone() };
        opening(number, "t-1", what)
    };
    let states = ledger.open(&(0..1_000).map(wanted).collect::<Vec<_>>()).await.unwrap();
    assert!(states.iter().all(|state| state.desired.as_ref().unwrap().fields == fields));
}

#[tokio::test]
async fn processes_prepare_at_once_and_the_indexes_serve() {
    let (ledger, database) = fresh().await;
    let prepared = futures::future::join_all((0..8).map(|_| ledger.prepare())).await;
    assert!(prepared.iter().all(Result::is_ok), "{prepared:?}");
    let plans = [
        doc! { "find": "labels", "filter": { "store": "sp-014", "sku": "saw" } },
        doc! { "find": "outcomes", "filter": { "label": "001a00000001" }, "sort": { "at": -1 } },
        doc! { "find": "labels", "filter": { "store": "sp-014", "out_of_date": { "$exists": true } }, "sort": { "_id": 1 } },
        doc! { "find": "outcomes", "filter": { "label": "001a00000001" }, "sort": { "at": -1, "_id": -1 } },
        doc! { "find": "batches", "filter": { "batch": "promo" } },
        doc! { "aggregate": "outcomes", "cursor": {}, "pipeline": [
            { "$match": { "batch": "promo" } }, { "$group": { "_id": "$outcome", "labels": { "$sum": 1 } } },
        ] },
    ];
    for command in plans {
        let plan: Document =
            database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await.unwrap();
        let plan = plan.to_string();
        let plan = plan.split("\"rejectedPlans\"").next().unwrap();
        assert!(plan.contains("IXSCAN") && !plan.contains("COLLSCAN") && !plan.contains("\"SORT\""), "{plan}");
    }
}

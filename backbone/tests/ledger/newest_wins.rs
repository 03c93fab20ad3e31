//! A newer version is never followed by an older one, in whatever order they come.

use crate::fixture::*;
use backbone::ledger::{LabelRecord, Ledger, Opening, Settlement, What};
use protocol::{Outcome, Version};
use std::{collections::HashMap, sync::Arc};

async fn record(ledger: &Ledger, number: u32) -> LabelRecord {
    ledger.label(label(number)).await.unwrap().unwrap()
}

pub(crate) async fn of_hundreds_of_versions_at_once_the_greatest_is_desired(ledger: Ledger) {
    let mut versions: Vec<u64> = (1..=400).collect();
    fastrand::shuffle(&mut versions);
    // Batches of several sizes, all at once, on a label that is not there yet.
    let tasks = versions.chunks(40).map(|versions| {
        let (ledger, versions) = (ledger.clone(), versions.to_vec());
        tokio::spawn(async move {
            for versions in versions.chunks(1 + versions[0] as usize % 9) {
                let openings: Vec<Opening> =
                    versions.iter().map(|&version| desire(1, &format!("t-{version}"), version)).collect();
                let states = ledger.open(&openings).await.unwrap();
                assert_eq!(states.len(), openings.len());
                for (state, &asked) in states.iter().zip(versions) {
                    assert!(state.desired.as_ref().unwrap().version >= version(asked));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let desired = record(&ledger, 1).await.desired.unwrap();
    assert_eq!((desired.version, desired.fields, desired.task_id), (version(400), fields(400), id("t-400")));
}

pub(crate) async fn of_hundreds_of_acknowledgements_at_once_the_greatest_is_shown(ledger: Ledger) {
    ledger.open(&[desire(1, "t-0", 400)]).await.unwrap();
    let mut versions: Vec<u64> = (1..=400).collect();
    fastrand::shuffle(&mut versions);
    let tasks = versions.chunks(40).map(|versions| {
        let (ledger, versions) = (ledger.clone(), versions.to_vec());
        tokio::spawn(async move {
            let mut went_back = HashMap::new();
            for versions in versions.chunks(3) {
                let settlements: Vec<Settlement> =
                    versions.iter().map(|&version| shown(1, &format!("t-{version}"), version)).collect();
                let settled = ledger.settle(&settlements).await.unwrap();
                went_back.extend(versions.iter().copied().zip(settled.iter().map(|settled| settled.went_back)));
            }
            went_back
        })
    });
    let mut went_back = HashMap::new();
    for task in tasks.collect::<Vec<_>>() {
        went_back.extend(task.await.unwrap());
    }
    let kept = record(&ledger, 1).await.shown.unwrap();
    assert_eq!((kept.version, kept.fields, kept.gateway), (version(400), fields(400), Some(id("00fa7e000001"))));
    assert_eq!((went_back.len(), went_back[&400]), (400, false));
}

pub(crate) async fn an_equal_version_keeps_the_first_content(ledger: Ledger) {
    let first = What::Desire { version: version(7), fields: parse_fields(r#"{"price":"1.00"}"#) };
    let second = What::Desire { version: version(7), fields: parse_fields(r#"{"price":"2.00"}"#) };
    ledger.open(&[opening(1, "t-1", first)]).await.unwrap();
    let states = ledger.open(&[opening(1, "t-2", second)]).await.unwrap();
    let desired = states[0].desired.as_ref().unwrap();
    assert_eq!((desired.task_id.as_str(), &desired.fields), ("t-1", &parse_fields(r#"{"price":"1.00"}"#)));
}

pub(crate) async fn a_newer_version_replaces_all_fields_and_an_older_one_none(ledger: Ledger) {
    let wanted = |number, json| What::Desire { version: version(number), fields: parse_fields(json) };
    let long = r#"{"name":"Drill","price":"1.00","page":2,"was":"3.00"}"#;
    ledger.open(&[opening(1, "t-1", wanted(1, long))]).await.unwrap();
    ledger.open(&[opening(1, "t-2", wanted(2, r#"{"price":"2.00"}"#))]).await.unwrap();
    ledger.open(&[opening(1, "t-0", wanted(0, long))]).await.unwrap();
    let desired = record(&ledger, 1).await.desired.unwrap();
    assert_eq!(desired.fields, parse_fields(r#"{"price":"2.00"}"#));
}

pub(crate) async fn names_and_texts_that_mean_something_to_mongodb_are_kept(ledger: Ledger) {
    let json = r#"{"name":"$desired.version","price":"1.00","$5 off":true,"a.b":"$$ROOT","$set":1,"$ref":"x","":"y",
        "_id":"z","$literal":"$x"}"#;
    let strange = parse_fields(json);
    let wanted = What::Desire { version: Version::MAX, fields: Arc::clone(&strange) };
    ledger.open(&[opening(1, "$t.1/x", wanted)]).await.unwrap();
    let mut settlement = shown(1, "$t.1/x", 1);
    settlement.result.version = Some(Version::MAX);
    settlement.shown = Some(Arc::clone(&strange));
    settlement.result.reason = Some("$reason".to_owned());
    ledger.settle(std::slice::from_ref(&settlement)).await.unwrap();
    let LabelRecord { desired, shown, .. } = record(&ledger, 1).await;
    let (desired, shown) = (desired.unwrap(), shown.unwrap());
    assert_eq!((&desired.fields, desired.version), (&strange, Version::MAX));
    assert_eq!((&shown.fields, shown.version), (&strange, Version::MAX));
    assert_eq!(ledger.history(label(1), 1).await.unwrap(), [settlement.result]);
}

pub(crate) async fn a_label_that_went_back_is_noticed_and_forgotten(ledger: Ledger) {
    ledger.open(&[desire(1, "t-3", 3), desire(2, "t-3", 3)]).await.unwrap();
    assert!(!ledger.settle(&[shown(1, "t-3", 3)]).await.unwrap()[0].went_back);
    let late = [shown(2, "t-2", 2), shown(1, "t-2", 2), ended(1, "t-1", 1, Outcome::Superseded), shown(1, "t-3", 3)];
    let settled = ledger.settle(&late).await.unwrap();
    assert_eq!(settled.iter().map(|settled| settled.went_back).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(record(&ledger, 1).await.shown.unwrap().version, version(3));

    let states = ledger.open(&[opening(1, "r-1", What::Forget), opening(9, "r-1", What::Forget)]).await.unwrap();
    assert_eq!((states[0].shown.as_ref(), states[0].desired.as_ref().unwrap().version), (None, version(3)));
    assert_eq!((states[1].desired.as_ref(), ledger.label(label(9)).await.unwrap()), (None, None));
    assert!(!ledger.settle(&[shown(1, "r-1", 3)]).await.unwrap()[0].went_back);
    assert_eq!(record(&ledger, 1).await.shown.unwrap().task_id, id("r-1"));
}

/// It comes again where whoever carried it out was killed before its acknowledgement, or where it was asked for twice.
pub(crate) async fn a_repair_that_comes_again_forgets_nothing(ledger: Ledger) {
    ledger.open(&[desire(1, "t-3", 3), desire(2, "t-3", 3)]).await.unwrap();
    ledger.open(&[opening(1, "r-1", What::Forget), opening(2, "r-1", What::Forget)]).await.unwrap();
    ledger.settle(&[shown(1, "r-1", 3)]).await.unwrap();
    let states = ledger.open(&[opening(1, "r-1", What::Forget), opening(2, "r-1", What::Forget)]).await.unwrap();
    assert_eq!(states[0].recorded.as_ref().unwrap().outcome, Outcome::Shown);
    assert_eq!(states[0].shown.as_ref().unwrap().version, version(3));
    assert_eq!((&states[1].recorded, &states[1].shown), (&None, &None));
    assert_eq!(record(&ledger, 1).await.shown.unwrap().task_id, id("r-1"));
}

pub(crate) async fn the_order_within_a_batch_decides_nothing(ledger: Ledger) {
    for (number, order) in [(1, [4, 5]), (2, [5, 4])] {
        let openings = order.map(|wanted| desire(number, &format!("t-{wanted}"), wanted));
        let states = ledger.open(&openings).await.unwrap();
        assert!(states.iter().all(|state| state.desired.as_ref().unwrap().version == version(5)));
        // Which was acknowledged last is not known, so the older one counts as gone back.
        let settled = ledger.settle(&order.map(|wanted| shown(number, &format!("t-{wanted}"), wanted))).await.unwrap();
        assert_eq!([settled[0].went_back, settled[1].went_back], order.map(|wanted| wanted == 4));
        assert_eq!(record(&ledger, number).await.shown.unwrap().version, version(5));
    }
    let both = [desire(3, "t-1", 1), opening(3, "t-2", What::Forget), opening(3, "t-3", What::Look)];
    for state in ledger.open(&both).await.unwrap() {
        assert_eq!((state.desired.unwrap().version, state.shown, state.store), (version(1), None, Some(id("sp-014"))));
    }
}

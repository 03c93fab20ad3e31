//! Batches that are held.

use crate::fixture::*;
use backbone::ledger::BatchKey;
use protocol::BatchState;
use serde_json::json;

in_both_forms! {
    a_batch_is_paused_resumed_and_cancelled,
}

async fn a_batch_is_paused_resumed_and_cancelled(form: Form) {
    let office = Office::open(form).await;
    let ledger = office.ledger().await;
    let key = BatchKey { store: id("sp-014"), batch: id("promo 1/2") };
    let by = if form == Form::Http { "local" } else { "esl" };
    let said = async |state: BatchState| {
        let controls = ledger.controls_of(std::slice::from_ref(&key)).await.unwrap();
        assert_eq!((controls[&key].state, &*controls[&key].by), (state, by));
    };
    let unknown = office.esl(&["batch", "pause", "promo 1/2"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("nothing of it was sent over HTTP; name its store with --store"), "{unknown:?}");

    let paused = office.esl(&["batch", "pause", "promo 1/2", "--store", "sp-014", "--json"]).await.json(0);
    assert_eq!((&paused["batch"], &paused["stores"][0]["state"]), (&json!("promo 1/2"), &json!("paused")));
    said(BatchState::Paused).await;
    let resumed = office.esl(&["batch", "resume", "promo 1/2", "--store", "sp-014"]).await;
    let expected = format!("batch promo 1/2 in store sp-014: running by {by}");
    assert!(resumed.code == Some(0) && resumed.stdout.starts_with(&expected), "{resumed:?}");
    said(BatchState::Running).await;
    assert_eq!(office.esl(&["batch", "cancel", "promo 1/2", "--store", "sp-014"]).await.code, Some(0));
    let late = office.esl(&["batch", "resume", "promo 1/2", "--store", "sp-014"]).await;
    assert_eq!((late.code, late.stdout.as_str()), (Some(2), ""), "{late:?}");
    let expected = format!("batch promo 1/2 was cancelled by {by}, which is final: send its prices again\n");
    assert!(late.stderr.ends_with(&expected), "{late:?}");
    said(BatchState::Cancelled).await;

    if form == Form::Http {
        let (bound, file) = (office.file("bindings.csv", &bindings(4, 2)), office.file("prices.csv", &prices(2)));
        assert_eq!(office.esl(&["bind", &bound]).await.code, Some(0));
        assert_eq!(office.esl(&["enqueue", &file, "--store", "sp-014", "--batch", "night"]).await.code, Some(0));
        let paused = office.esl(&["batch", "pause", "night", "--json"]).await.json(0);
        assert_eq!((&paused["stores"][0]["store"], &paused["stores"][0]["by"]), (&json!("sp-014"), &json!("local")));
    }
    office.close().await;
}

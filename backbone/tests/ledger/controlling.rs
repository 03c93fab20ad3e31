//! Batches that are paused, resumed and cancelled.

use crate::fixture::*;
use backbone::ledger::{BatchControl, BatchKey, BatchWatch, Ledger, LedgerWriter, Watched};
use protocol::{BatchState, Timestamp};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

fn key(store: &str, batch: &str) -> BatchKey {
    BatchKey { store: id(store), batch: id(batch) }
}

fn control(state: BatchState, millis: i64) -> BatchControl {
    BatchControl { state, by: "ana".to_owned(), at: Timestamp::from_unix_millis(millis) }
}

pub(crate) async fn a_batch_is_paused_resumed_and_cancelled_for_good(ledger: Ledger) {
    // Names of batches may have nearly anything in them.
    let (ours, theirs, dollars) = (key("sp-014", "promo/$1"), key("sp-015", "promo/$1"), key("sp-014", "$state"));
    let all = [ours.clone(), theirs.clone(), dollars.clone()];
    assert!(ledger.controls_of(&all).await.unwrap().is_empty() && ledger.controls_of(&[]).await.unwrap().is_empty());
    let steps = [BatchState::Paused, BatchState::Running, BatchState::Cancelled];
    for (millis, state) in (1..).zip(steps) {
        let wanted = control(state, millis);
        assert_eq!(ledger.control_batch(&ours, &wanted).await.unwrap(), wanted);
        assert_eq!(ledger.controls_of(&all).await.unwrap(), [(ours.clone(), wanted)].into(), "one store's only");
    }
    for state in steps {
        let counts = ledger.control_batch(&ours, &control(state, 9)).await.unwrap();
        assert_eq!(counts, control(BatchState::Cancelled, 3), "what is cancelled stays so");
    }
    ledger.control_batch(&dollars, &control(BatchState::Paused, 4)).await.unwrap();
    assert_eq!(ledger.controls_of(&all).await.unwrap().len(), 2);
    let actions = ledger.actions(Some(&ours.store), 10).await.unwrap();
    let said: Vec<_> = actions.iter().map(|action| (&*action.who, &*action.what, &*action.target)).collect();
    let ours = |what| ("ana", what, "promo/$1");
    assert_eq!(said, [("ana", "pause", "$state"), ours("cancel"), ours("resume"), ours("pause")]);
}

pub(crate) async fn a_batch_in_hand_is_known_to_be_paused_within_a_second(ledger: Ledger) {
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let writer = LedgerWriter::start(&ledger, &tracker, &stop);
    let (watch, watching) = BatchWatch::start(&writer, ledger.clone(), stop.clone());
    tracker.spawn(watching);
    let promo = key("sp-014", "promo");
    let in_hand = watch.of(promo.clone()).await.unwrap();
    assert_eq!(in_hand.state(), BatchState::Running);
    for state in [BatchState::Paused, BatchState::Running, BatchState::Cancelled] {
        ledger.control_batch(&promo, &control(state, 1)).await.unwrap();
        becomes(&in_hand, state).await;
        assert_eq!(watch.of(promo.clone()).await.unwrap().state(), state);
    }
    drop(in_hand);
    let other = key("sp-014", "other");
    ledger.control_batch(&other, &control(BatchState::Paused, 1)).await.unwrap();
    assert_eq!(watch.of(other).await.unwrap().state(), BatchState::Paused, "known at once to whoever takes it up");
    stop.cancel();
    drop((watch, writer));
    tracker.close();
    tracker.wait().await;
}

async fn becomes(watched: &Watched, state: BatchState) {
    let changed = async {
        while watched.state() != state {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.unwrap();
}

//! Batches, audits, and labels that are out of date.

use crate::fixture::*;
use backbone::ledger::{Enqueued, HistoryPlace, Ledger, Progress, Settlement, What};
use protocol::{Outcome, Store, Timestamp};

fn enqueued(key: &str, batch: &str, at: i64) -> Enqueued {
    Enqueued {
        key: key.to_owned(),
        store: id("sp-014"),
        batch: id(batch),
        digest: "d".to_owned(),
        at: Timestamp::from_unix_millis(at),
        tasks: 2,
        labels: 5,
        confirmed: false,
    }
}

pub(crate) async fn the_first_record_of_a_request_counts(ledger: Ledger) {
    let (first, again) = (enqueued("k/1", "promo", 1_000), enqueued("k/1", "promo", 2_000));
    assert_eq!(ledger.begin_enqueueing(&first).await.unwrap(), first);
    assert_eq!(ledger.begin_enqueueing(&again).await.unwrap(), first);
    ledger.begin_enqueueing(&enqueued("k-2", "promo", 3_000)).await.unwrap();
    ledger.confirm_enqueued(&first.store, "k/1").await.unwrap();
    let mut batch = ledger.enqueued_in(&first.batch).await.unwrap();
    batch.sort_by_key(|enqueued| enqueued.at);
    assert_eq!(batch.iter().map(|enqueued| enqueued.confirmed).collect::<Vec<_>>(), [true, false]);
    assert!(ledger.enqueued_in(&id("other")).await.unwrap().is_empty());
}

pub(crate) async fn labels_are_out_of_date_until_they_show_what_they_should(ledger: Ledger) {
    let store: Store = id("sp-014");
    ledger.open(&[desire(1, "t-1", 1), desire(2, "t-1", 1), desire(3, "t-1", 1)]).await.unwrap();
    ledger.settle(&[shown(1, "t-1", 1), ended(2, "t-1", 1, Outcome::Unreachable)]).await.unwrap();
    let stale = ledger.out_of_date(&store, None, 10).await.unwrap();
    assert_eq!(stale.iter().map(|stale| stale.label).collect::<Vec<_>>(), [label(2), label(3)]);
    assert_eq!(stale[0].outcome.as_ref().unwrap().outcome, Outcome::Unreachable);
    assert_eq!(stale[1].outcome, None, "in progress");
    let since = stale[1].since;

    // A newer version does not make it out of date anew.
    ledger.open(&[desire(3, "t-2", 2)]).await.unwrap();
    let stale = ledger.out_of_date(&store, Some(label(2)), 10).await.unwrap();
    assert_eq!((stale.len(), stale[0].since, stale[0].desired.version), (1, since, version(2)));

    ledger.settle(&[shown(3, "t-2", 2), shown(2, "t-3", 1)]).await.unwrap();
    assert!(ledger.out_of_date(&store, None, 10).await.unwrap().is_empty());
    ledger.open(&[opening(1, "t-4", What::Forget)]).await.unwrap();
    let stale = ledger.out_of_date(&store, None, 10).await.unwrap();
    assert_eq!((stale.len(), stale[0].label, &stale[0].outcome), (1, label(1), &None));
    assert!(ledger.out_of_date(&id("sp-015"), None, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_history_is_read_in_pages(ledger: Ledger) {
    // Two of them in the same millisecond.
    for (task, number) in [("t-1", 1), ("t-2", 2), ("t-3", 3)] {
        ledger.open(&[desire(1, task, number)]).await.unwrap();
        ledger.settle(&[shown(1, task, number)]).await.unwrap();
    }
    ledger.settle(&[ended(1, "t-4", 3, Outcome::Shown)]).await.unwrap();
    for size in 1..=5 {
        let (mut seen, mut place) = (Vec::new(), None);
        loop {
            let page = ledger.history_before(label(1), place.as_ref(), size).await.unwrap();
            let Some(last) = page.last() else { break };
            place = Some(HistoryPlace { at: last.result.at, task_id: last.result.task_id.clone() });
            seen.extend(page.into_iter().map(|recorded| (recorded.result.task_id.to_string(), recorded.fields)));
        }
        assert_eq!(seen.iter().map(|(task, _)| task.as_str()).collect::<Vec<_>>(), ["t-4", "t-3", "t-2", "t-1"]);
        assert_eq!((&seen[0].1, &seen[2].1), (&None, &Some((*fields(2)).clone())), "as far as a gateway said it");
    }
}

pub(crate) async fn a_batch_has_progress(ledger: Ledger) {
    assert_eq!(ledger.progress(&id("promo")).await.unwrap(), Progress::default());
    let all =
        [in_batch(shown(1, "t-1", 1)), in_batch(shown(2, "t-1", 1)), in_batch(ended(3, "t-1", 1, Outcome::Rejected))];
    ledger.settle(&all).await.unwrap();
    ledger.settle(&[shown(4, "t-2", 1)]).await.unwrap();
    let progress = ledger.progress(&id("promo")).await.unwrap();
    assert_eq!(progress.outcomes, [(Outcome::Shown, 2), (Outcome::Rejected, 1)].into());
    assert_eq!(progress.last, all.iter().map(|settlement| settlement.result.at).max());
}

fn in_batch(mut settlement: Settlement) -> Settlement {
    settlement.result.batch = Some(id("promo"));
    settlement
}

//! What a question about a store of many labels makes MongoDB read, by its own account.

use crate::fixture::*;
use backbone::ledger::{ActionTaken, Binding, Ledger, Opening, Settlement};
use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use protocol::{Outcome, Store, Timestamp};
use std::time::Duration;

const LABELS: u32 = 600;
/// Labels of a product.
const ALIKE: u32 = 3;
const LATE: i64 = 20;

/// Two stores alike; in each some labels are late.
async fn furnish(ledger: &Ledger, store: &Store, from: u32) {
    let numbers = from..from + LABELS;
    let binding = |number: u32| {
        let sku = id(&format!("sku-{:04}", number / ALIKE));
        Binding { label: label(number), sku, store: store.clone() }
    };
    ledger.bind(&numbers.clone().map(binding).collect::<Vec<_>>()).await.unwrap();
    let opening = |number| Opening { store: store.clone(), batch: Some(id("promo")), ..desire(number, "t-1", 1) };
    ledger.open(&numbers.clone().map(opening).collect::<Vec<_>>()).await.unwrap();
    let settlement = |number: u32| {
        let is_late = i64::from(number - from) < LATE;
        let mut settlement =
            if is_late { ended(number, "t-1", 1, Outcome::Unreachable) } else { shown(number, "t-1", 1) };
        settlement.result.store = store.clone();
        settlement.result.batch = Some(id("promo"));
        settlement
    };
    ledger.settle(&numbers.map(settlement).collect::<Vec<Settlement>>()).await.unwrap();
    for millis in 0..50 {
        let (at, what) = (Timestamp::from_unix_millis(millis), "ping".to_owned());
        let (who, target, detail) = ("ana".to_owned(), String::new(), String::new());
        let action = ActionTaken { at, who, store: Some(store.clone()), what, target, detail };
        ledger.record_action(&action).await.unwrap();
    }
}

/// Index keys and documents that were read since the last time.
struct Account {
    database: Database,
    seen: u64,
}

impl Account {
    async fn settle(&mut self) -> (i64, i64) {
        let read = doc! { "planSummary": { "$exists": true }, "ns": { "$not": { "$regex": "system.profile$" } } };
        let profile = self.database.collection::<Document>("system.profile");
        let find = profile.find(read).sort(doc! { "$natural": 1 }).skip(self.seen).await.unwrap();
        let read: Vec<Document> = find.try_collect().await.unwrap();
        self.seen += read.len() as u64;
        assert!(!read.is_empty(), "nothing was asked");
        let of = |name: &str| -> i64 {
            let number = |one: &Document| one.get_i32(name).map(i64::from).or_else(|_| one.get_i64(name));
            read.iter().map(|one| number(one).unwrap_or(0)).sum()
        };
        for one in &read {
            assert!(!one.get_str("planSummary").unwrap().contains("COLLSCAN"), "{one}");
        }
        (of("keysExamined"), of("docsExamined"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_question_reads_what_it_need_not() {
    let (ledger, database) = fresh().await;
    let (store, other): (Store, Store) = (id("sp-014"), id("sp-099"));
    furnish(&ledger, &store, 1_000).await;
    furnish(&ledger, &other, 5_000).await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let mut account = Account { database, seen: 0 };

    assert_eq!(ledger.stores().await.unwrap(), [store.clone(), other]);
    let (keys, documents) = account.settle().await;
    assert!(keys <= 10 && documents == 0, "from store to store: {keys} keys, {documents} documents");

    let standing = ledger.standing(&store).await.unwrap();
    assert_eq!((standing.labels, standing.causes[0].labels), (u64::from(LABELS), LATE.unsigned_abs()));
    let (_, documents) = account.settle().await;
    assert!(documents < 2 * i64::from(LABELS), "the store's labels once, and what is late: {documents}");

    let ended = ledger.ended_by(&store, Timestamp::from_unix_millis(0), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(ended.iter().map(|ended| ended.labels).sum::<u64>(), u64::from(LABELS));
    let (keys, documents) = account.settle().await;
    assert!(keys <= i64::from(LABELS) + 10 && documents == 0, "in the index: {keys} keys, {documents} documents");

    assert_eq!(ledger.late(&store, Some(&id("promo")), 1_000).await.unwrap().len() as i64, LATE);
    let (_, documents) = account.settle().await;
    assert!(documents < i64::from(LABELS), "what is late, and how it ended: {documents}");

    for text in ["", "sku"] {
        assert_eq!(ledger.products(&store, text, None, 10).await.unwrap().len(), 10);
        let (_, documents) = account.settle().await;
        assert!(documents < i64::from(LABELS), "only as far as need be, {text:?}: {documents}");
    }
    assert_eq!(ledger.actions(Some(&store), 5).await.unwrap().len(), 5);
    assert!(account.settle().await.1 <= 5, "the latest of this store");
    ledger.batches(&store, 5).await.unwrap();
    account.settle().await;
}

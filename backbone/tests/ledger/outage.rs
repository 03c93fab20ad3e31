//! The writer under a server that dies, and callers that go away.

use crate::fixture::*;
use backbone::ledger::{LabelState, Ledger, LedgerError, LedgerWriter, What};
use mongodb::bson::doc;
use std::{future::Future, time::Duration};
use testbed::{MongoDb, MongoDbOptions};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const SOON: Duration = Duration::from_secs(30);

struct Life {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Life {
    fn start(ledger: &Ledger) -> (Self, LedgerWriter) {
        let life = Self { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let writer = LedgerWriter::start(ledger, &life.tracker, &life.stop);
        (life, writer)
    }

    /// Everything that was started ends when the writer is dropped.
    async fn end(self, writer: LedgerWriter) {
        self.stop.cancel();
        drop(writer);
        self.tracker.close();
        timeout(SOON, self.tracker.wait()).await.unwrap();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_twice_loses_nothing() {
    let mut server = MongoDb::start(MongoDbOptions::default()).await.unwrap();
    let ledger = connect(&server.database_url("esl")).await;
    let (life, writer) = Life::start(&ledger);
    let tasks: Vec<_> = (0..40_u32)
        .map(|task| {
            let writer = writer.clone();
            tokio::spawn(async move {
                for round in 1..=25 {
                    let name = format!("t-{task}-{round}");
                    let states = writer.open(vec![desire(task, &name, round)]).await.unwrap();
                    assert_eq!(states[0].desired.as_ref().unwrap().version, version(round));
                    let settled = writer.settle(vec![shown(task, &name, round)]).await.unwrap();
                    assert!(!settled[0].went_back);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        soon(writer.wait_until(true)).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        server.kill().unwrap();
        soon(writer.wait_until(false)).await;
        server.start_again().await.unwrap();
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    for task in 0..40 {
        assert_eq!(ledger.history(label(task), 100).await.unwrap().len(), 25);
        let record = ledger.label(label(task)).await.unwrap().unwrap();
        assert_eq!((record.desired.unwrap().version, record.shown.unwrap().version), (version(25), version(25)));
    }
    life.end(writer).await;
}

#[tokio::test]
async fn callers_wait_for_a_server_and_are_let_go_by_a_stop() {
    let mut server = MongoDb::start(MongoDbOptions::default()).await.unwrap();
    let ledger = connect(&server.database_url("esl")).await;
    server.kill().unwrap();
    let (life, writer) = Life::start(&ledger);
    let mut waiting = tokio::spawn({
        let writer = writer.clone();
        async move { writer.look(vec![label(1)]).await }
    });
    assert!(timeout(Duration::from_secs(3), &mut waiting).await.is_err(), "it waits");
    assert!(!writer.is_up());
    life.stop.cancel();
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    // After the stop it still works, if it can.
    server.start_again().await.unwrap();
    assert_eq!(soon(writer.look(vec![label(1), label(2)])).await.unwrap(), [None, None]);
    life.end(writer).await;
}

#[tokio::test]
async fn a_frozen_server_is_noticed() {
    let mut server = MongoDb::start(MongoDbOptions::default()).await.unwrap();
    let ledger = connect(&server.database_url("esl")).await;
    let (life, writer) = Life::start(&ledger);
    soon(writer.open(vec![desire(1, "t-1", 1)])).await.unwrap();
    server.pause().unwrap();
    let asking = tokio::spawn({
        let writer = writer.clone();
        async move { writer.open(vec![desire(1, "t-2", 2)]).await }
    });
    soon(writer.wait_until(false)).await;
    server.resume().unwrap();
    let states = soon(asking).await.unwrap().unwrap();
    assert_eq!(states[0].desired.as_ref().unwrap().version, version(2));
    life.end(writer).await;
}

pub(crate) async fn a_caller_that_goes_away_harms_no_other(ledger: Ledger) {
    let (life, writer) = Life::start(&ledger);
    let asking: Vec<_> = (0..300)
        .map(|number| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.open(vec![desire(number, "t-1", 1), desire(number, "t-2", 2)]).await })
        })
        .collect();
    asking.iter().step_by(3).for_each(|task| task.abort());
    tokio::task::yield_now().await;
    asking.iter().skip(1).step_by(3).for_each(|task| task.abort());
    for task in asking.into_iter().skip(2).step_by(3) {
        let states = soon(task).await.unwrap().unwrap();
        assert_eq!(states.len(), 2);
        assert!(states.iter().all(|state| state.desired.as_ref().unwrap().version == version(2)));
    }
    life.end(writer).await;
}

#[tokio::test]
async fn a_request_that_can_not_be_done_spoils_no_other() {
    let (ledger, _) = fresh().await;
    let (life, writer) = Life::start(&ledger);
    let asking: Vec<_> = (0..50)
        .map(|number| {
            let mut fields = (*parse_fields(r#"{"price":"1.00"}"#)).clone();
            if number == 7 {
                // BSON can't hold a zero byte in a name. No task can have one either, but the ledger doesn't know that.
                fields.extra.insert("a\0b".to_owned(), protocol::FieldValue::Flag(true));
            }
            let what = What::Desire { version: version(1), fields: fields.into() };
            let (writer, opening) = (writer.clone(), opening(number, "t-1", what));
            tokio::spawn(async move { writer.open(vec![opening]).await })
        })
        .collect();
    for (number, task) in asking.into_iter().enumerate() {
        let answer: Result<Vec<LabelState>, LedgerError> = soon(task).await.unwrap();
        assert_eq!(matches!(answer, Err(LedgerError::Refused { .. })), number == 7, "{number}: {answer:?}");
        assert_eq!(answer.is_ok(), number != 7, "{number}: {answer:?}");
    }
    assert!(writer.is_up());
    life.end(writer).await;
}

#[tokio::test]
async fn a_record_that_can_not_be_read_spoils_no_other() {
    let (ledger, database) = fresh().await;
    let strange = doc! { "_id": label(1).to_string(), "desired": { "version": "four" } };
    database.collection("labels").insert_one(strange).await.unwrap();
    let (life, writer) = Life::start(&ledger);
    let looks = (0..3).map(|number| writer.look(vec![label(number)]));
    let answers = soon(futures::future::join_all(looks)).await;
    assert!(matches!(answers[1], Err(LedgerError::Refused { .. })), "{answers:?}");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    life.end(writer).await;
}

pub(crate) async fn a_request_of_thousands_is_answered_in_order_and_batches_are_counted(ledger: Ledger) {
    let (life, writer) = Life::start(&ledger);
    let openings = (0..2_300).map(|number| desire(number, "t-1", u64::from(number))).collect();
    let states = soon(writer.open(openings)).await.unwrap();
    assert!((0..2_300).zip(&states).all(|(number, state)| state.desired.as_ref().unwrap().version == version(number)));
    assert!(soon(writer.settle(Vec::new())).await.unwrap().is_empty());
    let mut registry = prometheus_client::registry::Registry::with_prefix("task_worker");
    writer.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [r#"task_worker_ledger_batch_labels_sum{operation="open"} 2300.0"#, "task_worker_ledger_up 1"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    life.end(writer).await;
}

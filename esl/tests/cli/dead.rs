//! Dead letters.

use crate::fixture::*;
use protocol::names::amqp;
use serde_json::json;
use std::time::Duration;

in_both_forms! {
    letters_are_listed_in_order_and_stay,
    chosen_letters_are_sent_again_and_the_others_stay_in_order,
    all_letters_are_sent_again,
}

fn body(number: usize) -> String {
    format!(
        r#"{{"task_id":"t-{number}","store":"sp-014","action":"price_update","sku":"p-{number}","fields":{{"price":"1"}}}}"#
    )
}

async fn with_letters(form: Form, count: usize) -> Office {
    let office = Office::open(form).await;
    let broker = office.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for number in 0..count {
        publish(&publisher, amqp::DEAD_TASKS, body(number).as_bytes(), &format!("reason {number}")).await;
    }
    broker.close().await;
    office
}

async fn letters_are_listed_in_order_and_stay(form: Form) {
    let office = with_letters(form, 5).await;
    let publisher = office.broker().await.publisher().await.unwrap();
    publish(&publisher, amqp::DEAD_TASKS, &[b'\x1b'; 300], "expected\nvalue").await;
    for _ in 0..2 {
        let report = office.esl(&["dead", "--json"]).await.json(0);
        assert_eq!((&report["dead_letters"], report["listed"].as_array().unwrap().len()), (&json!(6), 6));
        let first = json!({"task_id": "t-0", "reason": "reason 0", "bytes": body(0).len(), "body": body(0)});
        assert_eq!(report["listed"][0], first);
        assert_eq!((&report["listed"][5]["task_id"], &report["listed"][5]["bytes"]), (&json!(null), &json!(300)));
    }
    let answer = office.esl(&["dead", "--limit", "2"]).await;
    assert!(answer.stdout.starts_with("t-0: reason 0\n    {\"task_id\":\"t-0\""), "{answer:?}");
    assert!(answer.stdout.ends_with("6 dead letters, of which 4 are not listed\n"), "{answer:?}");
    assert!(!office.esl(&["dead"]).await.stdout.contains('\x1b'), "nothing in it reaches the terminal");
    assert_eq!(office.backlog(amqp::DEAD_TASKS).await, 6);
    office.close().await;
}

async fn chosen_letters_are_sent_again_and_the_others_stay_in_order(form: Form) {
    let office = with_letters(form, 300).await;
    let report =
        office.esl(&["dead", "replay", "--task", "t-250", "--task", "t-3", "--task", "t-999", "--json"]).await.json(1);
    assert_eq!(report, json!({"replayed": 2, "tasks": ["t-250", "t-3"], "not_found": ["t-999"], "left": 298}));
    let mut sent: Vec<_> = office.take(amqp::TASKS, 2).await.into_iter().map(|delivery| delivery.body).collect();
    sent.sort_unstable();
    assert_eq!(sent, [body(250).into_bytes(), body(3).into_bytes()]);
    // RabbitMQ puts back what was looked at when it notices that nobody looks any longer.
    soon(async {
        while office.backlog(amqp::DEAD_TASKS).await != 298 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let left: Vec<_> = office.take(amqp::DEAD_TASKS, 298).await.into_iter().map(|delivery| delivery.body).collect();
    let expected: Vec<_> =
        (0..300).filter(|number| ![3, 250].contains(number)).map(|number| body(number).into_bytes()).collect();
    assert_eq!(left, expected);
    office.close().await;
}

async fn all_letters_are_sent_again(form: Form) {
    let office = with_letters(form, 300).await;
    let answer = office.esl(&["dead", "replay", "--all", "--yes"]).await;
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(0), "300 dead letters sent to esl.tasks again, 0 left\n"),
        "{answer:?}"
    );
    assert_eq!(office.backlog(amqp::DEAD_TASKS).await, 0);
    let mut ids: Vec<_> = office.tasks(300).await.into_iter().map(|task| task.task_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    let answer = office.esl(&["dead", "replay", "--all"]).await;
    assert_eq!(answer.stdout, "0 dead letters sent to esl.tasks again, 0 left\n");
    assert_eq!(office.esl(&["dead"]).await.stdout, "0 dead letters\n");
    office.close().await;
}

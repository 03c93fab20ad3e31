//! Binding labels and sending prices.

use crate::fixture::*;
use protocol::{Action, names::amqp};
use serde_json::json;
use std::time::Duration;

in_both_forms! {
    a_price_file_becomes_tasks,
    a_batch_without_a_name_gets_one_and_its_tasks_their_time_as_version,
    labels_are_bound_and_binding_again_changes_nothing,
    ctrl_c_finishes_what_is_under_way_and_says_how_far_it_came,
}

async fn a_price_file_becomes_tasks(form: Form) {
    let office = Office::open(form).await;
    let file = office
        .file("prices.csv", "sku,name,price,currency,version\np-1,\"Trena 5m, aço\",29.90,BRL,42\np-2,Serra,8,BRL,7\n");
    let args = ["enqueue", &file, "--store", "sp-014", "--batch", "promo", "--timeout", "2m", "--json"];
    let report = office.esl(&args).await.json(0);
    assert_eq!((&report["tasks"], &report["confirmed"], &report["batch"]), (&json!(2), &json!(2), &json!("promo")));
    let tasks = office.tasks(2).await;
    let task = serde_json::to_value(&tasks[0]).unwrap();
    let expected = json!({
        "task_id": tasks[0].task_id.as_str(), "store": "sp-014", "action": "price_update", "sku": "p-1", "version": 42,
        "fields": {"name": "Trena 5m, aço", "price": "29.90", "currency": "BRL"}, "batch": "promo", "timeout_ms": 120_000,
    });
    assert_eq!(task, expected);
    assert!(tasks[0].task_id.unix_millis() <= tasks[1].task_id.unix_millis(), "a UUIDv7 tells its time");
    assert_ne!(tasks[0].task_id, tasks[1].task_id);
    office.close().await;
}

async fn a_batch_without_a_name_gets_one_and_its_tasks_their_time_as_version(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("prices.csv", &prices(3));
    let answer = office.esl(&["enqueue", &file, "--store", "sp-014"]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.starts_with("3 tasks sent in "), "{answer:?}");
    let tasks = office.tasks(3).await;
    let batch = tasks[0].batch.clone().unwrap();
    assert!(
        answer.stdout.contains(&format!("follow: esl watch \"{batch}\" --file {file} --store sp-014")),
        "{answer:?}"
    );
    assert!(
        tasks.iter().all(|task| task.batch.as_ref() == Some(&batch) && task.version.is_some() == (form == Form::Http))
    );
    assert!(
        tasks.iter().all(|task| task.version.is_none_or(|version| Some(version.get()) == task.task_id.unix_millis()))
    );
    assert!(tasks.iter().all(|task| task.action == Action::PriceUpdate && task.labels.is_none()));
    office.close().await;
}

async fn labels_are_bound_and_binding_again_changes_nothing(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("bindings.csv", &bindings(2_500, 100));
    let report = office.esl(&["bind", &file, "--json"]).await.json(0);
    assert_eq!((&report["labels"], &report["new"], &report["unchanged"]), (&json!(2_500), &json!(2_500), &json!(0)));
    let answer = office.esl(&["bind", &file]).await;
    assert_eq!(answer.stdout, "2,500 labels bound: 0 new, 0 changed, 2,500 as before\n", "{answer:?}");
    let labels = office.ledger().await.labels_of(&id("sp-014"), &id("p-7")).await.unwrap();
    assert_eq!((labels.len(), labels[0]), (25, label(7)));
    office.close().await;
}

async fn ctrl_c_finishes_what_is_under_way_and_says_how_far_it_came(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("prices.csv", &prices(60_000));
    let running = office.start(&["enqueue", &file, "--store", "sp-014", "--json"]);
    let broker = office.broker().await;
    soon(async {
        while broker.backlog(amqp::TASKS).await.unwrap() < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    running.interrupt();
    let report = running.end().await.json(130);
    let confirmed = report["confirmed"].as_u64().unwrap();
    assert!((100..60_000).contains(&confirmed), "{confirmed}");
    assert_eq!(u64::from(broker.backlog(amqp::TASKS).await.unwrap()), confirmed, "each one under way was heard of");
    office.close().await;
}

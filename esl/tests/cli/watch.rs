//! Following a batch.

use crate::fixture::*;
use protocol::{Outcome, names::amqp};
use serde_json::{Value, json};

in_both_forms! {
    a_batch_of_which_every_label_shows_its_price_ends_well,
    the_balance_adds_up_and_is_not_well,
    labels_of_dead_tasks_are_not_waited_for,
    ctrl_c_stops_following_and_says_how_to_go_on,
    a_store_without_any_of_the_products_is_refused_before_anything_is_sent,
}

async fn bound(form: Form, labels: u32, products: u32) -> (Office, String) {
    let office = Office::open(form).await;
    let file = office.file("bindings.csv", &bindings(labels, products));
    assert_eq!(office.esl(&["bind", &file]).await.code, Some(0));
    let file = office.file("prices.csv", &prices(products + 1));
    (office, file)
}

fn sum(balance: &Value) -> u64 {
    let parts = ["shown", "superseded", "rejected", "unreachable", "dead", "waiting"];
    parts.iter().map(|part| balance[part].as_u64().unwrap()).sum()
}

async fn a_batch_of_which_every_label_shows_its_price_ends_well(form: Form) {
    let (office, file) = bound(form, 300, 100).await;
    let running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "b", "--watch", "--json"]);
    let ledger = office.ledger().await;
    for task in office.tasks(101).await {
        work(&ledger, &task, |_| Outcome::Shown).await;
    }
    let balance = running.end().await.json(0)["balance"].take();
    assert_eq!((&balance["shown"], &balance["labels"], sum(&balance)), (&json!(300), &json!(300), 300));
    assert_eq!(balance["products_without_label"], json!(["p-100"]));

    let again = office.esl(&["watch", "b", "--file", &file, "--store", "sp-014"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("300 of 300 labels shown"), "{again:?}");
    let reused = office.esl(&["enqueue", &file, "--store", "sp-014", "--batch", "b", "--watch"]).await;
    assert!(reused.code == Some(2) && reused.stderr.contains("choose another name"), "{reused:?}");
    assert_eq!(office.backlog(amqp::TASKS).await, 0);
    office.close().await;
}

async fn the_balance_adds_up_and_is_not_well(form: Form) {
    let (office, file) = bound(form, 20, 10).await;
    let running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "b", "--watch", "--json"]);
    let ledger = office.ledger().await;
    for task in office.tasks(11).await {
        let outcome = |mac| Outcome::ALL[mac_number(mac) % 4];
        work(&ledger, &task, outcome).await;
    }
    let balance = running.end().await.json(1)["balance"].take();
    for outcome in ["shown", "superseded", "rejected", "unreachable"] {
        assert_eq!(balance[outcome], json!(5), "{balance}");
    }
    assert_eq!(sum(&balance), 20);
    office.close().await;
}

fn mac_number(label: protocol::LabelMac) -> usize {
    usize::from(label.octets()[5])
}

async fn labels_of_dead_tasks_are_not_waited_for(form: Form) {
    let (office, file) = bound(form, 20, 10).await;
    let running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "b", "--watch"]);
    let (ledger, publisher) = (office.ledger().await, office.broker().await.publisher().await.unwrap());
    for task in office.tasks(11).await {
        if task.sku == Some(id("p-3")) {
            publish(&publisher, amqp::DEAD_TASKS, &serde_json::to_vec(&task).unwrap(), "delivery_limit").await;
        } else {
            work(&ledger, &task, |_| Outcome::Shown).await;
        }
    }
    publish(&publisher, amqp::DEAD_TASKS, b"not a task", "expected value").await;
    let answer = running.end().await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for line in [
        "18 of 20 labels shown",
        "dead letter      2",
        "no outcome yet   0",
        "1 dead letter of the batch: see esl dead",
    ] {
        assert!(answer.stdout.contains(line), "{line}: {answer:?}");
    }
    assert_eq!(office.backlog(amqp::DEAD_TASKS).await, 2, "they are still there");
    office.close().await;
}

async fn ctrl_c_stops_following_and_says_how_to_go_on(form: Form) {
    let (office, file) = bound(form, 20, 10).await;
    let mut running = office.start(&["enqueue", &file, "--store", "sp-014", "--batch", "my batch", "--watch"]);
    running.said("following batch my batch: 20 labels").await;
    running.interrupt();
    let answer = running.end().await;
    assert_eq!(answer.code, Some(130), "{answer:?}");
    assert!(answer.stderr.contains("to follow on: esl watch \"my batch\" --total 20"), "{answer:?}");
    assert!(answer.stdout.contains("no outcome yet  20"), "{answer:?}");
    let answer = office.esl(&["watch", "my batch", "--total", "20", "--give-up-after", "1s"]).await;
    assert!(answer.code == Some(1) && answer.stderr.contains("no label ended within 1.0 s"), "{answer:?}");
    office.close().await;
}

async fn a_store_without_any_of_the_products_is_refused_before_anything_is_sent(form: Form) {
    let (office, file) = bound(form, 20, 10).await;
    let answer = office.esl(&["enqueue", &file, "--store", "sp-041", "--watch"]).await;
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("--store sp-041: no label there is bound to any of the 11 products"), "{answer:?}");
    assert_eq!(office.backlog(amqp::TASKS).await, 0);
    office.close().await;
}

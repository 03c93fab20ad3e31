//! Tasks that name a product instead of labels.

use anyhow::Result;
use backbone::ledger::Binding;
use integration::{Backend, Story, label_mac, labels, price_update, quick};
use protocol::{LabelMac, Sku, Task};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn bindings(labels: &[LabelMac], sku: &Sku, store: &str) -> Vec<Binding> {
    let binding = |&label| Binding { label, sku: sku.clone(), store: store.parse().unwrap() };
    labels.iter().map(binding).collect()
}

pub(crate) fn update(sku: &Sku, version: u64) -> Task {
    Task { sku: Some(sku.clone()), labels: None, ..price_update(&[], version) }
}

#[tokio::test]
async fn a_product_is_updated_on_all_its_labels() -> Result<()> {
    let story = Story::start(quick(3, 100)).await?;
    let (all, store) = (labels(100), Backend::store());
    let (drill, saw): (Sku, Sku) = ("7891000100103".parse()?, "7891000100110".parse()?);
    story.ledger.bind(&bindings(&all[..60], &drill, store.as_str())).await?;
    story.ledger.bind(&bindings(&all[60..90], &saw, store.as_str())).await?;
    story.ledger.bind(&bindings(&all[90..], &drill, "another-store")).await?;

    story.backend.enqueue_for(&update(&drill, 1), &all[..60]).await?;
    story.backend.enqueue_for(&update(&saw, 1), &all[60..90]).await?;
    story.all_settled(LIMIT).await?;
    assert!(story.results.seen().values().flatten().all(|result| result.sku.is_some()));

    // A label that was moved to another product follows that one.
    story.ledger.bind(&bindings(&all[..1], &saw, store.as_str())).await?;
    story.backend.enqueue_for(&update(&drill, 2), &all[1..60]).await?;
    story.backend.enqueue_for(&update(&saw, 3), &[&all[..1], &all[60..90]].concat()).await?;
    story.all_settled(LIMIT).await?;

    story.check_books().await?;
    assert_eq!(story.results.count(), 60 + 30 + 59 + 31, "nobody else was updated");
    for label in &all[90..] {
        assert_eq!(story.emulator.label(*label).await?.writes, 0, "{label} is in another store");
    }
    story.end().await
}

#[tokio::test]
async fn a_product_without_labels_is_done_with() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    let task = update(&"7891000100127".parse()?, 1);
    story.backend.publish(&serde_json::to_vec(&task)?).await?;
    let unbound = async |story: &Story| Ok(story.metric("task_worker_tasks_total{end=\"unbound\"}").await? == 1.0);
    story.until("the task is counted as unbound", LIMIT, unbound).await?;

    // Whoever took it goes on.
    story.backend.enqueue(&price_update(&labels(10), 1)).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    assert_eq!(story.results.count(), 10);
    story.end().await
}

#[tokio::test]
async fn a_label_that_is_named_twice_counts_once() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    let (one, other) = (label_mac(1), label_mac(2));
    let task = price_update(&[one, other, one], 1);
    let mut body = serde_json::to_value(&task)?;
    body["labels"][2] = "00:1A:2B:00:00:01".into();
    assert_eq!("00:1A:2B:00:00:01".parse(), Ok(one), "the same label in another spelling");
    story.backend.publish(body.to_string().as_bytes()).await?;
    let shown = async |story: &Story| Ok(story.results.count() == 2);
    story.until("both labels have their outcome", LIMIT, shown).await?;
    // Two labels are looked up, asked and answered for, not three.
    let asked = story.metric("task_worker_rpcs_total{end=\"ack\"}").await?;
    assert_eq!(asked, 2.0);
    // The bookkeeper's copy; to the workers, a redelivery.
    story.backend.enqueue_for(&task, &[one, other]).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    assert_eq!(story.results.count(), 2);
    for label in [one, other] {
        assert_eq!(story.ledger.history(label, 10).await?.len(), 1, "{label}");
    }
    story.end().await
}

//! What changes no price: blink, ping, refresh, page.

use anyhow::Result;
use integration::{EmulatedLabel, Story, label_mac, labels, price_update, quick};
use protocol::{Action, FieldValue, Fields, Outcome, Task};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const ACTIONS: [Action; 4] = [Action::Blink, Action::Ping, Action::Refresh, Action::Page];

pub(crate) fn task(action: Action) -> Task {
    let page = [("page".to_owned(), FieldValue::Integer(2))];
    let fields = Fields { extra: page.into(), ..Fields::default() };
    Task { action, version: None, fields, ..price_update(&labels(4), 1) }
}

pub(crate) fn shows(label: &EmulatedLabel) -> Option<(u64, Fields)> {
    label.shown.as_ref().map(|shown| (shown.version.get(), shown.fields.clone()))
}

#[tokio::test]
async fn other_actions_are_shown_and_change_no_price() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    // The fourth label never had a price.
    story.backend.enqueue(&price_update(&labels(3), 7)).await?;
    story.all_settled(LIMIT).await?;
    let mut before = Vec::new();
    for label in labels(4) {
        before.push((story.ledger.label(label).await?, story.emulator.label(label).await?));
    }

    let tasks = ACTIONS.map(task);
    story.backend.enqueue_all(&tasks).await?;
    story.all_settled(LIMIT).await?;
    let results = story.results.seen();
    for (task, label) in tasks.iter().flat_map(|task| labels(4).into_iter().map(move |label| (task, label))) {
        let result = &results[&(task.task_id.clone(), label)][0];
        assert_eq!((result.outcome, result.version), (Outcome::Shown, None), "{} of {label}", task.action);
        assert!(result.gateway.is_some() && result.attempts > 0);
    }
    for (label, (record, shown)) in labels(4).into_iter().zip(before) {
        let now = story.emulator.label(label).await?;
        assert_eq!(now.others, 4, "{label} did not do all of it");
        assert_eq!((now.writes, shows(&now)), (shown.writes, shows(&shown)), "{label}");
        let known = story.ledger.label(label).await?.unwrap_or_default();
        let record = record.unwrap_or_default();
        assert_eq!((known.desired, known.shown), (record.desired, record.shown), "{label}");
    }

    // They stand in no price's way, and the next one is shown.
    story.backend.enqueue(&price_update(&[label_mac(4)], 1)).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    story.end().await
}

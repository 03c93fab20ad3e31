//! Looking at dead letters, and sending them again.

use crate::fixture::*;
use backbone::queue::{Message, Replayed, look, replay};
use protocol::names::amqp;

async fn with_letters(fixture: &Fixture, count: usize) {
    let broker = fixture.broker().await;
    let publisher = broker.publisher().await.unwrap();
    for number in 0..count {
        let body = format!(r#"{{"task_id":"t-{number}","store":"sp-014"}}"#);
        let headers = [(amqp::REASON, "no sku")];
        let message = Message { headers: &headers, routing_key: amqp::DEAD_TASKS, ..task(body.as_bytes()) };
        publisher.publish(message).await.unwrap();
    }
    broker.close().await;
}

async fn listed(fixture: &Fixture, most: u16) -> (u32, Vec<String>) {
    let mut listed = Vec::new();
    let there = look(&fixture.url, "test", most, |letter| {
        assert_eq!((letter.reason(), letter.store().unwrap().as_str()), ("no sku", "sp-014"));
        listed.push(letter.task_id().unwrap().to_string());
    });
    let there = there.await.unwrap();
    (there, listed)
}

pub(crate) async fn who_looks_at_dead_letters_takes_none_away(fixture: Fixture) {
    assert_eq!(listed(&fixture, 10).await, (0, vec![]));
    with_letters(&fixture, 4).await;
    // More often than a task is delivered.
    for _ in 0..25 {
        assert_eq!(listed(&fixture, 3).await, (4, ["t-0", "t-1", "t-2"].map(str::to_owned).to_vec()));
    }
}

pub(crate) async fn chosen_dead_letters_are_sent_again_and_the_others_stay(fixture: Fixture) {
    with_letters(&fixture, 100).await;
    let mut replayed = Replayed::default();
    let chosen = |letter: &backbone::queue::DeadLetter| {
        let id = letter.task_id().unwrap();
        id.as_str() == "t-7" || id.as_str() == "t-99"
    };
    replay(&fixture.url, "test", chosen, &mut replayed).await.unwrap();
    let ids: Vec<_> = replayed.tasks.iter().flatten().map(|id| id.as_str()).collect();
    assert_eq!((ids, replayed.left), (vec!["t-7", "t-99"], 98));
    let (there, left) = listed(&fixture, 100).await;
    assert_eq!((there, left.len(), left.contains(&"t-7".to_owned())), (98, 98, false));
    let broker = fixture.broker().await;
    backlog(&broker, amqp::TASKS, 2).await;
}

//! How gateways have answered, and which was asked.

use super::{BackEnd, FAR, Fixture, LABEL, MINUTE, NEAR, correlation};
use backbone::{
    registry::{AnswerCounts, Finished, NotSent, Started, answer_span},
    service::now,
};
use protocol::GatewayMac;
use std::time::Duration;
use uuid::Uuid;

fn counts(kind: &str, times: u64) -> AnswerCounts {
    let mut counts = AnswerCounts::default();
    (0..times).for_each(|_| counts.count(kind, Some(Duration::from_millis(30))));
    counts
}

pub(super) async fn answers_are_those_of_all_workers_of_late(back_end: BackEnd) {
    let Fixture { registry, redis: _redis, .. } = Fixture::on(back_end).await;
    let (one, other, span) = (Uuid::now_v7(), Uuid::now_v7(), answer_span(now()));
    let both = [(NEAR, counts("ack", 1)), (FAR, counts("retry", 1))];
    registry.write_answers(one, span, &both).await.unwrap();
    registry.write_answers(one, span, &[(NEAR, counts("ack", 3))]).await.unwrap();
    registry.write_answers(other, span, &[(NEAR, counts("timeout", 1))]).await.unwrap();
    registry.write_answers(other, span - 1, &[(NEAR, counts("ack", 2))]).await.unwrap();
    registry.write_answers(other, span - 3, &[(NEAR, counts("ack", 50))]).await.unwrap();
    let nobody = GatewayMac::from_octets([9; 6]);
    let answers = registry.answers(&[FAR, NEAR, nobody]).await.unwrap();
    let kinds = |at: usize| answers[at].kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>();
    assert_eq!((kinds(0), kinds(1)), (vec!["retry 1".to_owned()], vec!["ack 5".to_owned(), "timeout 1".to_owned()]));
    assert_eq!(answers[1].latencies().collect::<Vec<_>>(), [(30, 6)]);
    assert_eq!(answers[2], AnswerCounts::default());
    assert_eq!(registry.answers(&[]).await.unwrap(), []);
}

pub(super) async fn it_is_remembered_who_was_asked(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let asked = async |id: &str| {
        let rpcs = [(LABEL, correlation(id)), (LABEL, correlation("never"))];
        fixture.registry.asked(&rpcs).await.unwrap()
    };
    assert_eq!(asked("a").await, [None, None], "nothing is in flight");
    assert_eq!(fixture.start("a", 1, MINUTE).await, Started::Send(NEAR));
    assert_eq!(asked("a").await, [Some(NEAR), None]);
    assert!(matches!(fixture.answer(NEAR, Some("a"), true).await, Finished::Reply { .. }));
    assert_eq!(fixture.start("b", 2, MINUTE).await, Started::Send(NEAR));
    assert_eq!((asked("a").await, asked("b").await), (vec![Some(NEAR), None], vec![Some(NEAR), None]));
    fixture.registry.abort(&[(LABEL, correlation("b"))], NotSent::NoPlace).await.unwrap();
    assert_eq!(asked("b").await, [None, None], "it was never sent");
}

//! Gateways' windows, by Redis' own clock and by the process's: the steps as callers take them. What the rules come to
//! is shown by the unit tests beside them.

use super::{BackEnd, FAR, Fixture, MINUTE, NEAR, SHORT, correlation};
use backbone::registry::{Acquire, Admission, Ask, Breaker, Claim, Ended, Release, WindowPolicy, WindowState};
use protocol::{GatewayMac, Turn};
use std::time::Duration;

/// Three places, all for labels that are not urgent.
fn policy() -> WindowPolicy {
    WindowPolicy { initial: 3, breaker_after: 2, open_for: MINUTE, ..WindowPolicy::default() }
}

impl Fixture {
    async fn acquire(&self, gateway: GatewayMac, ids: &[&str], time_left: Duration) -> Vec<Admission> {
        let ask = |id: &&str| Ask { id: correlation(id), claim: Claim::Asks(Turn::Newcomer), time_left };
        let asked = Acquire { gateway, rpcs: ids.iter().map(ask).collect() };
        self.registry.acquire(&[asked], &policy()).await.unwrap().remove(0).admissions
    }

    async fn release(&self, gateway: GatewayMac, id: &str, how: Ended) {
        let release = Release { gateway, id: correlation(id), how, was_sent: false };
        self.registry.release(&[release], &policy()).await.unwrap();
    }

    async fn window(&self, gateway: GatewayMac) -> Option<WindowState> {
        self.registry.windows(&[gateway], &policy()).await.unwrap().remove(0)
    }
}

pub(super) async fn a_place_is_taken_once_and_given_back(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    assert_eq!(fixture.window(NEAR).await, None);
    fixture.release(NEAR, "z", Ended::Acknowledged).await;
    assert_eq!(fixture.window(NEAR).await, None, "an answer to nothing leaves nothing behind");
    assert_eq!(fixture.acquire(NEAR, &["a", "b", "a", "c"], MINUTE).await, [Admission::Admitted; 4]);
    let full = fixture.acquire(NEAR, &["c", "d"], MINUTE).await;
    let soon = Admission::Full { retry_after: Duration::from_millis(50) };
    assert_eq!(full, [Admission::Admitted, soon], "delivered again, and one too many");
    let window = fixture.window(NEAR).await.unwrap();
    assert_eq!((window.in_flight, window.limit, window.breaker), (3, 3.0, Breaker::Closed { failures: 0 }));
    fixture.release(NEAR, "a", Ended::PushedBack).await;
    fixture.release(NEAR, "a", Ended::PushedBack).await;
    fixture.release(NEAR, "b", Ended::PushedBack).await;
    let window = fixture.window(NEAR).await.unwrap();
    assert_eq!((window.in_flight, window.limit), (1, 1.5), "halved once for what was sent together");
    fixture.release(NEAR, "c", Ended::Acknowledged).await;
    let window = fixture.window(NEAR).await.unwrap();
    assert_eq!((window.in_flight, window.limit), (0, 1.5 + 1.0 / 1.5), "its only place was taken");
    fixture.acquire(NEAR, &["e", "f"], MINUTE).await;
    fixture.release(NEAR, "e", Ended::Refused).await;
    let before = fixture.window(NEAR).await.unwrap().limit;
    fixture.release(NEAR, "f", Ended::Acknowledged).await;
    assert_eq!(fixture.window(NEAR).await.unwrap().limit, before, "one of two places: not in full use");
}

pub(super) async fn a_lost_answer_frees_its_place_and_opens_the_breaker(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    fixture.acquire(NEAR, &["a", "b"], SHORT).await;
    let began = tokio::time::Instant::now();
    while fixture.window(NEAR).await.unwrap().in_flight > 0 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(fixture.window(NEAR).await.unwrap().breaker, Breaker::Open { .. }), "both timed out");
    let refused = fixture.acquire(NEAR, &["c"], MINUTE).await;
    let Admission::Failing { retry_after } = refused[0] else { panic!("{refused:?}") };
    assert!(retry_after <= MINUTE && retry_after > MINUTE / 2, "{retry_after:?}");
    fixture.release(NEAR, "a", Ended::Acknowledged).await;
    assert_eq!(fixture.acquire(NEAR, &["c"], MINUTE).await, [Admission::Admitted], "a late answer closes it");
}

pub(super) async fn gateways_do_not_share_a_window(back_end: BackEnd) {
    let fixture = Fixture::on(back_end).await;
    let ask = |id: &str| Ask { id: correlation(id), claim: Claim::Asks(Turn::Urgent), time_left: MINUTE };
    let asked = [
        Acquire { gateway: NEAR, rpcs: ["a", "b", "c", "d"].map(ask).to_vec() },
        Acquire { gateway: FAR, rpcs: Vec::new() },
        Acquire { gateway: FAR, rpcs: vec![ask("e")] },
    ];
    let acquired = fixture.registry.acquire(&asked, &policy()).await.unwrap();
    let admissions: Vec<_> = acquired.into_iter().map(|acquired| acquired.admissions).collect();
    assert_eq!(admissions[0][..3], [Admission::Admitted; 3]);
    assert!(matches!(admissions[0][3], Admission::Full { .. }));
    assert_eq!(admissions[1..], [vec![], vec![Admission::Admitted]]);
    let windows = fixture.registry.windows(&[FAR, NEAR], &policy()).await.unwrap();
    let in_flight: Vec<_> = windows.into_iter().map(|window| window.unwrap().in_flight).collect();
    assert_eq!(in_flight, [1, 3]);
}

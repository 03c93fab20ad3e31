//! What the rules come to with gateways of different kinds: a simulation, in steps of a millisecond.

use super::{Admission, Ask, Claim, Ended, Release, Turn, Window, WindowPolicy};
use crate::registry::memory::{Millis, millis};
use protocol::{CorrelationId, GatewayMac};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

const BEGIN: Millis = 1_800_000_000_000;
const TIME_LEFT: Duration = Duration::from_secs(15);
const SECOND: Millis = 1000;

/// A gateway that writes to a few labels at a time.
struct Gateway {
    /// How many labels at a time.
    radios: usize,
    /// How many commands it holds before it answers `queue_full`.
    holds: usize,
    /// How long a label takes, in ms; up to half of that more or less.
    takes: Millis,
    /// One in so many answers is lost.
    loses_one_in: Option<u32>,
    free_at: Vec<Millis>,
    held: BinaryHeap<Reverse<Millis>>,
    random: fastrand::Rng,
}

impl Gateway {
    fn new(radios: usize, holds: usize, takes: Millis) -> Self {
        let free_at = vec![BEGIN; radios];
        let random = fastrand::Rng::with_seed(7);
        Self { radios, holds, takes, loses_one_in: None, free_at, held: BinaryHeap::new(), random }
    }

    /// When it answers, and what.
    fn command(&mut self, now: Millis) -> Option<(Millis, Ended)> {
        while self.held.peek().is_some_and(|Reverse(until)| *until <= now) {
            self.held.pop();
        }
        if self.held.len() >= self.holds {
            return Some((now + 5, Ended::PushedBack));
        }
        let radio = (0..self.radios).min_by_key(|&radio| self.free_at[radio]).unwrap();
        let takes = self.random.i64(self.takes / 2..=self.takes * 3 / 2);
        let done = self.free_at[radio].max(now) + takes;
        self.free_at[radio] = done;
        self.held.push(Reverse(done));
        let lost = self.loses_one_in.is_some_and(|many| self.random.u32(0..many) == 0);
        (!lost).then_some((done, Ended::Acknowledged))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Answer { label: usize, attempt: u32, acknowledged: bool },
    Lost { label: usize },
    Comes { label: usize },
}

/// Labels that are driven through one gateway.
struct Run {
    window: Window,
    policy: WindowPolicy,
    events: BinaryHeap<Reverse<(Millis, Event)>>,
    attempts: Vec<u32>,
    turns: Vec<Turn>,
    /// How many labels are not done.
    left: usize,
    /// When each label was done, in ms after the beginning.
    done_at: Vec<Millis>,
    /// How often labels asked for a place.
    asked: usize,
    pushed_back: usize,
    /// The limit at each answer after the first half of the labels.
    limits: Vec<f64>,
    most_in_flight: usize,
}

/// Drives labels that come at these times until all are done.
fn drive(gateway: &mut Gateway, comes_at: &[Millis]) -> Run {
    let policy = WindowPolicy::default();
    let labels = comes_at.len();
    let comes = |(label, at): (usize, &Millis)| Reverse((BEGIN + at, Event::Comes { label }));
    let mut run = Run {
        window: Window::new(&policy),
        policy,
        events: comes_at.iter().enumerate().map(comes).collect(),
        attempts: vec![0; labels],
        turns: vec![Turn::Newcomer; labels],
        left: labels,
        done_at: vec![0; labels],
        asked: 0,
        pushed_back: 0,
        limits: Vec::new(),
        most_in_flight: 0,
    };
    while run.left > 0 {
        let Reverse((now, event)) = run.events.pop().unwrap();
        assert!(now < BEGIN + 24 * 3600 * SECOND, "the line stands still");
        match event {
            Event::Answer { label, attempt, acknowledged } => run.answer(label, attempt, acknowledged, now),
            Event::Lost { label } => run.later(now + SECOND, Event::Comes { label }),
            Event::Comes { label } => run.come(label, gateway, now),
        }
    }
    run
}

impl Run {
    fn later(&mut self, at: Millis, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    fn answer(&mut self, label: usize, attempt: u32, acknowledged: bool, now: Millis) {
        let how = if acknowledged { Ended::Acknowledged } else { Ended::PushedBack };
        release(&mut self.window, id(label, attempt), how, &self.policy, now);
        if self.left * 2 < self.done_at.len() {
            self.limits.push(self.window.limit);
        }
        if acknowledged {
            self.done_at[label] = now - BEGIN;
            self.left -= 1;
        } else {
            self.pushed_back += 1;
            self.later(now + SECOND, Event::Comes { label });
        }
    }

    fn come(&mut self, label: usize, gateway: &mut Gateway, now: Millis) {
        self.asked += 1;
        let attempt = self.attempts[label];
        let ask = Ask { id: id(label, attempt), claim: Claim::Asks(self.turns[label]), time_left: TIME_LEFT };
        let admission = self.window.acquire(&[ask], &self.policy, now).admissions.remove(0);
        self.most_in_flight = self.most_in_flight.max(self.window.in_flight.len());
        self.turns[label] = Turn::Waited;
        if let Admission::Full { retry_after } | Admission::Failing { retry_after } = admission {
            return self.later(now + millis(retry_after), Event::Comes { label });
        }
        self.attempts[label] += 1;
        let deadline = now + millis(TIME_LEFT);
        match gateway.command(now).filter(|(at, _)| *at <= deadline) {
            Some((at, how)) => {
                self.later(at, Event::Answer { label, attempt, acknowledged: how == Ended::Acknowledged });
            }
            None => self.later(deadline + 1, Event::Lost { label }),
        }
    }
}

fn id(label: usize, attempt: u32) -> CorrelationId {
    format!("{label}-{attempt}").parse().unwrap()
}

fn release(window: &mut Window, id: CorrelationId, how: Ended, policy: &WindowPolicy, now: Millis) {
    let gateway = GatewayMac::from_octets([0; 6]);
    window.release([Release { gateway, id, how, was_sent: true }].iter(), policy, now);
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How long the labels took together, against a gateway that always has something to do.
fn slower_than_ideal(run: &Run, gateway: &Gateway) -> f64 {
    let ideal = gateway.takes as f64 * run.done_at.len() as f64 / gateway.radios as f64;
    *run.done_at.iter().max().unwrap() as f64 / ideal
}

#[test]
fn the_limit_settles_near_what_the_gateway_holds() {
    for holds in [6, 12, 40] {
        let mut gateway = Gateway::new(4, holds, 400);
        let run = drive(&mut gateway, &vec![0; 2000]);
        let limit = mean(&run.limits);
        let holds = holds as f64;
        // A window counts as full from three quarters on, so the limit may be a third above what is in flight.
        assert!((holds * 0.5..holds * 4.0 / 3.0 + 1.0).contains(&limit), "holds {holds}, limit {limit}");
        assert!(run.pushed_back < 2000 / 10, "holds {holds}, pushed back {}", run.pushed_back);
        let slower = slower_than_ideal(&run, &gateway);
        assert!(slower < 1.5, "holds {holds}, {slower} times the ideal");
    }
}

#[test]
fn a_slow_gateway_that_never_says_that_it_is_full_gets_no_more_than_it_can_do_in_time() {
    let mut gateway = Gateway::new(1, usize::MAX, 2000);
    let run = drive(&mut gateway, &vec![0; 300]);
    let limit = mean(&run.limits);
    assert!((2.0..10.0).contains(&limit), "7 labels are done in 15 s, limit {limit}");
}

#[test]
fn nobody_waits_much_longer_than_its_turn() {
    let mut gateway = Gateway::new(4, 16, 400);
    // A bulk of 1000, and then one label each 150 ms: a little less than the gateway can do.
    let mut comes_at = vec![0; 1000];
    comes_at.extend((0..1000).map(|number| 2 * SECOND + number * 150));
    let run = drive(&mut gateway, &comes_at);
    let ideal = 100;
    let mut late: Vec<_> = comes_at
        .iter()
        .zip(&run.done_at)
        .enumerate()
        .map(|(label, (&came, &done))| {
            // Those that came no later, at 100 ms each: all of the bulk came at once.
            done - came.max((label.max(999) as Millis + 1) * ideal)
        })
        .collect();
    late.sort_unstable();
    let (nine_in_ten, longest) = (late[late.len() * 9 / 10], late[late.len() - 1]);
    let line = 1000 * ideal;
    assert!(longest < line, "{longest} ms later than its turn, in a line of {line} ms");
    assert!(nine_in_ten < line / 3, "{nine_in_ten} ms later than its turn, in a line of {line} ms");
    let per_label = run.asked as f64 / comes_at.len() as f64;
    assert!(per_label < 8.0, "a label asks {per_label} times");
}

#[test]
fn an_outage_makes_no_long_line() {
    let policy = WindowPolicy::default();
    let mut window = Window::new(&policy);
    let ask = |label| Ask { id: id(label, 0), claim: Claim::Asks(Turn::Newcomer), time_left: TIME_LEFT };
    window.acquire(&(0..15).map(ask).collect::<Vec<_>>(), &policy, BEGIN);
    release(&mut window, id(0, 0), Ended::Acknowledged, &policy, BEGIN + 5);
    // For a while no answer comes through.
    let back = BEGIN + 14 * SECOND;
    release(&mut window, id(1, 0), Ended::Acknowledged, &policy, back);
    let admissions = window.acquire(&(100..300).map(ask).collect::<Vec<_>>(), &policy, back).admissions;
    let Some(Admission::Full { retry_after }) = admissions.last() else { panic!("{admissions:?}") };
    assert!(*retry_after < Duration::from_secs(10), "the last of 200 waits for {retry_after:?}");
}

#[test]
fn a_window_of_any_size_grows_while_it_is_full() {
    let policy = WindowPolicy::default();
    for tenths in 10..200 {
        let mut window = Window::new(&policy);
        window.limit = f64::from(tenths) / 10.0;
        let before = window.limit;
        let ask = |label| Ask { id: id(label, 0), claim: Claim::Asks(Turn::Newcomer), time_left: TIME_LEFT };
        let admissions = window.acquire(&(0..20).map(ask).collect::<Vec<_>>(), &policy, BEGIN).admissions;
        assert_eq!(admissions[0], Admission::Admitted);
        release(&mut window, id(0, 0), Ended::Acknowledged, &policy, BEGIN + SECOND);
        assert!(window.limit > before, "with all places of {before} taken it stays as it is");
    }
}

#[test]
fn urgent_labels_find_a_place_in_the_midst_of_bulk() {
    let policy = WindowPolicy::default();
    let mut window = Window::new(&policy);
    let ask = |label, turn| Ask { id: id(label, 0), claim: Claim::Asks(turn), time_left: TIME_LEFT };
    let bulk: Vec<_> = (0..100).map(|label| ask(label, Turn::Newcomer)).collect();
    let admissions = window.acquire(&bulk, &policy, BEGIN).admissions;
    assert_eq!(admissions.iter().filter(|admission| **admission == Admission::Admitted).count(), 15);
    assert_eq!(window.acquire(&[ask(100, Turn::Urgent)], &policy, BEGIN).admissions, [Admission::Admitted]);
    let soon = Admission::Full { retry_after: Duration::from_millis(50) };
    assert_eq!(window.acquire(&[ask(101, Turn::Urgent)], &policy, BEGIN).admissions, [soon]);
    release(&mut window, id(0, 0), Ended::Acknowledged, &policy, BEGIN);
    assert!(matches!(
        window.acquire(&[ask(102, Turn::Waited)], &policy, BEGIN).admissions[..],
        [Admission::Full { .. }]
    ));
    assert_eq!(window.acquire(&[ask(101, Turn::Urgent)], &policy, BEGIN).admissions, [Admission::Admitted]);
}

#[test]
fn lost_answers_free_their_places() {
    let mut gateway = Gateway::new(8, 64, 100);
    gateway.loses_one_in = Some(20);
    let run = drive(&mut gateway, &vec![0; 500]);
    assert!(run.done_at.iter().all(|at| *at > 0));
    assert!(run.most_in_flight <= 64, "{}", run.most_in_flight);
}

#[test]
fn a_breaker_opens_probes_one_at_a_time_and_closes() {
    let policy = WindowPolicy::default();
    let mut window = Window::new(&policy);
    let mut number = 0;
    let mut ask = |window: &mut Window, now: Millis| {
        number += 1;
        let ask = Ask { id: id(number, 0), claim: Claim::Asks(Turn::Newcomer), time_left: TIME_LEFT };
        (ask.id.clone(), window.acquire(&[ask], &policy, now).admissions[0])
    };
    let failing = |seconds| Admission::Failing { retry_after: Duration::from_secs(seconds) };
    for _ in 0..5 {
        assert_eq!(ask(&mut window, BEGIN).1, Admission::Admitted);
    }
    let mut failed_at = BEGIN + 15 * SECOND;
    assert_eq!(ask(&mut window, failed_at).1, Admission::Admitted, "an answer may still come");
    assert_eq!(ask(&mut window, failed_at + 1).1, Admission::Failing { retry_after: Duration::from_millis(4999) });
    for open_for in [5, 10, 20, 40, 80, 120, 120] {
        assert_eq!(ask(&mut window, failed_at + SECOND).1, failing(open_for - 1));
        let back = failed_at + open_for as Millis * SECOND;
        assert_eq!(ask(&mut window, back).1, Admission::Admitted, "the probe");
        assert_eq!(ask(&mut window, back).1, failing(open_for.min(15)), "one at a time");
        failed_at = back + 15 * SECOND;
        ask(&mut window, failed_at + 1);
    }
    let back = failed_at + 120 * SECOND;
    let (probe, admission) = ask(&mut window, back);
    assert_eq!(admission, Admission::Admitted);
    release(&mut window, probe, Ended::Refused, &policy, back + SECOND);
    assert_eq!(ask(&mut window, back + SECOND).1, Admission::Admitted, "any answer closes it");
}

#[test]
fn timeouts_of_what_was_sent_before_an_answer_are_no_failures() {
    let policy = WindowPolicy::default();
    let mut window = Window::new(&policy);
    let ask = |label| Ask { id: id(label, 0), claim: Claim::Asks(Turn::Newcomer), time_left: TIME_LEFT };
    window.acquire(&(0..10).map(ask).collect::<Vec<_>>(), &policy, BEGIN);
    release(&mut window, id(0, 0), Ended::Acknowledged, &policy, BEGIN + SECOND);
    let later = BEGIN + 20 * SECOND;
    assert_eq!(window.acquire(&[ask(20)], &policy, later).admissions, [Admission::Admitted], "nine timed out");
    assert_eq!((window.failures, window.limit), (0, 8.0), "but all are one sign of congestion");
}

#[test]
fn what_is_sent_without_asking_is_counted_once_whenever_it_ends() {
    let policy = WindowPolicy::default();
    let mut window = Window::new(&policy);
    let ask = |label, claim| Ask { id: id(label, 0), claim, time_left: TIME_LEFT };
    let asks = Claim::Asks(Turn::Newcomer);
    assert_eq!(window.acquire(&[ask(0, asks)], &policy, BEGIN).left, 14);
    release(&mut window, id(1, 0), Ended::Acknowledged, &policy, BEGIN);
    assert_eq!(window.acquire(&[ask(1, Claim::Sent)], &policy, BEGIN).left, 14, "it ended before it was counted");
    assert_eq!(window.acquire(&[ask(2, Claim::Sent)], &policy, BEGIN).left, 13);
    release(&mut window, id(2, 0), Ended::Acknowledged, &policy, BEGIN);
    assert_eq!(window.acquire(&[], &policy, BEGIN).left, 14);
    let many: Vec<_> = (10..40).map(|label| ask(label, Claim::Sent)).collect();
    let acquired = window.acquire(&many, &policy, BEGIN);
    assert_eq!(acquired.admissions, [Admission::Admitted; 30], "what is with the gateway is there");
    assert_eq!(acquired.left, 0);
    window.acquire(&[ask(50, asks)], &policy, BEGIN);
    (10..40).for_each(|label| release(&mut window, id(label, 0), Ended::Acknowledged, &policy, BEGIN));
    assert_eq!(window.acquire(&[], &policy, BEGIN).left, 0, "one waits in line");
    let left = window.acquire(&[], &policy, BEGIN + SECOND).left;
    assert!((14..20).contains(&left), "the line is gone, and the limit has grown a little: {left}");
}

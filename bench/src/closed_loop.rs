//! Load: so many at a time, the next when one has ended; or so many per second.

use futures::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Latencies are kept to so many significant digits.
const DIGITS: u8 = 3;
const MAX_MICROS: u64 = 600_000_000;
const TEMPLATE: &str = "{msg} [{bar:30}] {human_pos}/{human_len}  {per_sec}  {eta} to go";

/// How much load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How many at a time.
    pub(crate) slots: u32,
    /// How many in all.
    pub(crate) total: u32,
    /// After this, none is begun any more.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Latencies in µs.
    pub(crate) latency: Histogram<u64>,
    /// What went wrong, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latency: Histogram::new_with_bounds(1, MAX_MICROS, DIGITS)?, errors: BTreeMap::new() })
    }

    fn count(&mut self, outcome: Result<impl IntoIterator<Item = Duration>, String>) {
        match outcome {
            Ok(latencies) => {
                for latency in latencies {
                    self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                }
            }
            Err(error) => *self.errors.entry(error).or_default() += 1,
        }
    }
}

/// Does `once(slot, turn)` as often as planned, one at a time in each slot; it tells the latencies, or what went wrong.
pub(crate) async fn closed_loop<L>(
    plan: Plan,
    bar: &ProgressBar,
    once: impl AsyncFn(u32, u32) -> Result<L, String>,
) -> anyhow::Result<Tally>
where
    L: IntoIterator<Item = Duration>,
{
    let tally = RefCell::new(Tally::new()?);
    let left = Cell::new(plan.total);
    let end = Instant::now() + plan.limit;
    let slot = async |slot| {
        for turn in 0.. {
            if left.get() == 0 || Instant::now() >= end {
                return;
            }
            left.set(left.get() - 1);
            let outcome = once(slot, turn).await;
            tally.borrow_mut().count(outcome);
            bar.inc(1);
        }
    };
    (0..plan.slots).map(slot).collect::<FuturesUnordered<_>>().collect::<()>().await;
    let mut tally = tally.into_inner();
    if left.get() > 0 {
        tally.errors.insert("not begun within the level's limit".to_owned(), left.get().into());
    }
    Ok(tally)
}

/// When each of so many is due, at so many per second.
pub(crate) fn steadily(per_second: u32, total: u32) -> impl Iterator<Item = Duration> {
    (0..total).map(move |number| Duration::from_secs(1) * number / per_second)
}

/// Begins `once(number, due)` when it is due, whether those before have ended or not; it tells the latencies, which
/// count from `due`, so that what had to wait for us is not hidden.
pub(crate) async fn open_loop<L>(
    mut dues: impl Iterator<Item = Duration>,
    bar: &ProgressBar,
    once: impl AsyncFn(u32, Instant) -> Result<L, String>,
) -> anyhow::Result<Tally>
where
    L: IntoIterator<Item = Duration>,
{
    let mut tally = Tally::new()?;
    let began = Instant::now();
    let (mut number, mut in_flight) = (0, FuturesUnordered::new());
    let mut next = dues.next();
    loop {
        let due = began + next.unwrap_or_default();
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due.into()), if next.is_some() => {
                in_flight.push(once(number, due));
                number += 1;
                next = dues.next();
            }
            Some(outcome) = in_flight.next() => {
                tally.count(outcome);
                bar.inc(1);
            }
            else => return Ok(tally),
        }
    }
}

/// A progress bar on standard error, hidden where that is no terminal.
pub(crate) fn progress(total: u32, doing: String) -> ProgressBar {
    let bar = ProgressBar::new(total.into()).with_message(doing);
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_more_at_a_time_than_there_are_slots() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let plan = Plan { slots: 3, total: 20, limit: Duration::from_secs(60) };
        let once = async |slot, _turn| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::task::yield_now().await;
            now.set(now.get() - 1);
            if slot == 0 { Err("refused".to_owned()) } else { Ok([Duration::from_millis(2)]) }
        };
        let tally = closed_loop(plan, &ProgressBar::hidden(), once).await.unwrap();
        assert_eq!(most.get(), 3);
        assert_eq!(tally.latency.len() + tally.errors["refused"], 20);
        assert!(tally.latency.max().abs_diff(2_000) <= 2, "{}", tally.latency.max());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_not_hidden_from_those_that_come_after() {
        let stall = tokio::sync::Semaphore::new(1);
        let once = async |number, due: Instant| {
            let _one_at_a_time = stall.acquire().await.map_err(|error| error.to_string())?;
            tokio::time::sleep(if number == 0 { Duration::from_secs(1) } else { Duration::ZERO }).await;
            Ok([tokio::time::Instant::now().saturating_duration_since(due.into())])
        };
        let tally = open_loop(steadily(10, 10), &ProgressBar::hidden(), once).await.unwrap();
        assert_eq!(tally.latency.len(), 10);
        // The last was due 0.9 s after the first, which took 1 s.
        assert!(tally.latency.value_at_quantile(0.5) > 400_000, "{}", tally.latency.value_at_quantile(0.5));
    }

    #[tokio::test]
    async fn what_the_limit_cut_off_is_an_error() {
        let plan = Plan { slots: 2, total: 10, limit: Duration::ZERO };
        let once = async |_, _| Ok::<_, String>([Duration::ZERO]);
        let tally = closed_loop(plan, &ProgressBar::hidden(), once).await.unwrap();
        assert_eq!(tally.errors.values().sum::<u64>(), 10);
    }
}

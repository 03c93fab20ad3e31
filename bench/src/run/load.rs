//! The load of a run: tasks, in a closed loop or at a rate.

use super::measured::Parameters;
use crate::{
    backend::{Backend, Ended},
    closed_loop::{Plan, Tally, closed_loop, open_loop, progress, steadily},
    labels::{Shares, label},
};
use anyhow::Result;
use protocol::LabelMac;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Beyond the tasks' own deadline, for results on their way.
const MARGIN: Duration = Duration::from_secs(60);
/// Tasks that are made before the load, at most.
const WARM_UP: u32 = 200;
const WARM_UP_AT_A_TIME: u32 = 20;
/// A run that takes longer is cut short.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How tasks are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    tasks: u32,
    pairs: u32,
    in_flight: Option<u32>,
    rate: Option<u32>,
    timeout: Duration,
}

/// What became of them.
#[derive(Debug)]
pub(super) struct Driven {
    /// How long each label took, and what went wrong.
    pub(super) tally: Tally,
    /// How labels ended.
    pub(super) outcomes: BTreeMap<String, u64>,
    pub(super) seconds: f64,
}

impl Load {
    pub(super) fn of(parameters: &Parameters) -> Self {
        Self {
            tasks: parameters.tasks,
            pairs: parameters.labels / 2,
            in_flight: parameters.in_flight,
            rate: parameters.rate,
            timeout: parameters.timeout(),
        }
    }

    /// No two tasks in flight are for the same label.
    pub(super) fn labels_needed(&self) -> u32 {
        2 * self.slots()
    }

    fn slots(&self) -> u32 {
        self.in_flight.unwrap_or(1).min(self.tasks)
    }

    /// Lets connections, routes and caches come to be.
    pub(super) async fn warm_up(&self, backend: &Backend<'_>) -> Result<()> {
        let tasks = WARM_UP.min(self.pairs);
        let slots = WARM_UP_AT_A_TIME.min(tasks);
        let plan = Plan { slots, total: tasks, limit: LIMIT };
        let shares = Shares::new(self.pairs, slots)?;
        let bar = progress(tasks, "warm-up".to_owned());
        let once = async |slot, turn| self.once(backend, shares.index(slot, turn)).await.map(|_| []);
        let warm = closed_loop(plan, &bar, once).await?;
        bar.finish_and_clear();
        match warm.errors.first_key_value() {
            Some((error, count)) => anyhow::bail!("warming up: {count} × {error}"),
            None => Ok(()),
        }
    }

    pub(super) async fn drive(&self, backend: &Backend<'_>) -> Result<Driven> {
        let outcomes = RefCell::new(BTreeMap::<String, u64>::new());
        let count = |ended: &[Ended]| {
            for ended in ended {
                *outcomes.borrow_mut().entry(ended.outcome.to_string()).or_default() += 1;
            }
        };
        let bar = progress(self.tasks, "tasks".to_owned());
        let began = Instant::now();
        let tally = match self.rate {
            Some(rate) => {
                let once = async |index: u32, due: Instant| {
                    let (_, ended) = self.once(backend, index % self.pairs).await?;
                    count(&ended);
                    Ok(ended.map(|ended| ended.at.saturating_duration_since(due)))
                };
                open_loop(steadily(rate, self.tasks), &bar, once).await?
            }
            None => {
                let plan = Plan { slots: self.slots(), total: self.tasks, limit: LIMIT };
                let shares = Shares::new(self.pairs, plan.slots)?;
                let once = async |slot, turn| {
                    let (confirmed, ended) = self.once(backend, shares.index(slot, turn)).await?;
                    count(&ended);
                    Ok(ended.map(|ended| ended.at.saturating_duration_since(confirmed)))
                };
                closed_loop(plan, &bar, once).await?
            }
        };
        bar.finish_and_clear();
        Ok(Driven { tally, outcomes: outcomes.into_inner(), seconds: began.elapsed().as_secs_f64() })
    }

    async fn once(&self, backend: &Backend<'_>, pair: u32) -> Result<(Instant, [Ended; 2]), String> {
        let labels: [LabelMac; 2] = [label(2 * pair), label(2 * pair + 1)];
        backend.update(labels, Some(self.timeout), self.timeout + MARGIN).await
    }
}

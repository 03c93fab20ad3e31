//! How a batch stands: every label of it in exactly one place.

use crate::text::{count, grouped, seconds, table};
use protocol::{BatchId, Outcome, Sku};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// So many products are named; of more, only the number is said.
const NAMED: usize = 10;

/// What belongs to a batch.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    /// How many labels its products have.
    pub(crate) labels: u64,
    /// Its products that have none.
    pub(crate) without_label: Vec<Sku>,
}

/// Dead letters of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) tasks: u64,
    /// The labels of these tasks, whether or not some have ended before the task died.
    pub(crate) labels: u64,
}

/// How the labels of a batch ended. The outcomes, the dead letters and those that wait add up to `labels`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Balance {
    pub(crate) batch: BatchId,
    pub(crate) labels: u64,
    pub(crate) shown: u64,
    pub(crate) superseded: u64,
    pub(crate) rejected: u64,
    pub(crate) unreachable: u64,
    /// Labels without an outcome whose task is a dead letter.
    pub(crate) dead: u64,
    /// Labels without an outcome whose task is not known to be dead.
    pub(crate) waiting: u64,
    pub(crate) dead_tasks: u64,
    pub(crate) products_without_label: Vec<Sku>,
    pub(crate) seconds: f64,
}

impl Balance {
    pub(crate) fn new(batch: &Batch, outcomes: &BTreeMap<Outcome, u64>, dead: Dead, took: Duration) -> Self {
        let ended: u64 = outcomes.values().sum();
        // More have ended than were counted where labels were bound meanwhile.
        let labels = batch.labels.max(ended);
        let dead_labels = dead.labels.min(labels - ended);
        let of = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
        Self {
            batch: batch.id.clone(),
            labels,
            shown: of(Outcome::Shown),
            superseded: of(Outcome::Superseded),
            rejected: of(Outcome::Rejected),
            unreachable: of(Outcome::Unreachable),
            dead: dead_labels,
            waiting: labels - ended - dead_labels,
            dead_tasks: dead.tasks,
            products_without_label: batch.without_label.clone(),
            seconds: took.as_secs_f64(),
        }
    }

    /// Every label shows its price.
    pub(crate) fn is_well(&self) -> bool {
        self.shown == self.labels
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = seconds(Duration::from_secs_f64(self.seconds));
        writeln!(
            f,
            "batch {}: {} of {} shown after {took}",
            self.batch,
            grouped(self.shown),
            count(self.labels, "label")
        )?;
        let lines = [
            ("shown", self.shown),
            ("superseded", self.superseded),
            ("rejected", self.rejected),
            ("unreachable", self.unreachable),
            ("dead letter", self.dead),
            ("no outcome yet", self.waiting),
            ("sum", self.labels),
        ];
        let width = grouped(self.labels).len();
        let rows = lines.map(|(name, labels)| vec![format!("  {name}"), format!("{:>width$}", grouped(labels))]);
        f.write_str(&table(&rows))?;
        if self.dead_tasks > 0 {
            writeln!(f, "{} of the batch: see esl dead", count(self.dead_tasks, "dead letter"))?;
        }
        self.write_without_label(f)
    }
}

impl Balance {
    fn write_without_label(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skus = &self.products_without_label;
        if skus.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = skus.iter().take(NAMED).map(Sku::as_str).collect();
        let more = if skus.len() > NAMED { ", ..." } else { "" };
        writeln!(f, "{} without label: {}{more}", count(skus.len() as u64, "product"), named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(labels: u64, shown: u64, rejected: u64, dead: u64) -> Balance {
        let batch = Batch { id: "b".parse().unwrap(), labels, without_label: Vec::new() };
        let outcomes = [(Outcome::Shown, shown), (Outcome::Rejected, rejected)].into_iter().collect();
        Balance::new(&batch, &outcomes, Dead { tasks: dead.min(1), labels: dead }, Duration::from_secs(2))
    }

    #[test]
    fn it_adds_up_whatever_is_counted() {
        for (labels, shown, rejected, dead) in
            [(0, 0, 0, 0), (10, 10, 0, 0), (10, 3, 2, 5), (10, 8, 1, 5), (10, 9, 4, 3), (10, 1, 1, 1)]
        {
            let b = balance(labels, shown, rejected, dead);
            let sum = b.shown + b.superseded + b.rejected + b.unreachable + b.dead + b.waiting;
            assert_eq!(sum, b.labels, "{b:?}");
        }
        assert_eq!(balance(10, 8, 1, 5).dead, 1, "a label that ended before its task died is not counted twice");
        assert!(balance(10, 10, 0, 0).is_well());
        assert!(!balance(10, 9, 1, 0).is_well());
        assert!(!balance(10, 9, 0, 1).is_well());
    }

    #[test]
    fn it_is_read_at_a_glance() {
        let mut balance = balance(2_000, 1_990, 4, 0);
        balance.products_without_label = vec!["7891".parse().unwrap()];
        assert_eq!(
            balance.to_string(),
            "batch b: 1,990 of 2,000 labels shown after 2.0 s\n  shown           1,990\n  superseded          0\n  \
             rejected            4\n  unreachable         0\n  dead letter         0\n  no outcome yet      6\n  \
             sum             2,000\n1 product without label: 7891\n"
        );
    }
}

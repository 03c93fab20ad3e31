//! How long labels took: percentiles and a histogram.

use super::visitor::Visitor;
use maud::{Markup, html};

/// Upper ends of the histogram's classes in milliseconds; the last has none.
const CLASSES: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, u64::MAX];

/// Latencies in ascending order, each with how often it was measured. What was counted by classes has their upper ends.
pub(crate) struct Latencies(Vec<(u64, u64)>);

impl Latencies {
    pub(crate) fn of(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        Self(millis.into_iter().map(|millis| (millis, 1)).collect())
    }

    /// Of those that were counted, in ascending order.
    pub(crate) fn counted(classes: impl Iterator<Item = (u64, u64)>) -> Self {
        Self(classes.collect())
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The value that such a share of them does not exceed (nearest rank).
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = (self.len() as f64 * share).ceil().max(1.0) as u64;
        let mut so_far = 0;
        let reaches = |(_, count): &&(u64, u64)| {
            so_far += count;
            so_far >= rank
        };
        self.0.iter().find(reaches).map(|(millis, _)| *millis)
    }

    fn classes(&self) -> [u64; CLASSES.len()] {
        let mut counts = [0; CLASSES.len()];
        for (millis, count) in &self.0 {
            counts[CLASSES.partition_point(|end| end < millis).min(CLASSES.len() - 1)] += count;
        }
        counts
    }

    pub(crate) fn percentile(&self, visitor: &Visitor, share: f64) -> String {
        match self.quantile(share) {
            None => "–".to_owned(),
            Some(u64::MAX) => format!("> {}", visitor.language.millis(60_000)),
            Some(millis) => visitor.language.millis(millis),
        }
    }

    /// Bars, with their numbers as text.
    pub(crate) fn histogram(&self, visitor: &Visitor, caption: &str) -> Markup {
        let counts = self.classes();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        html! {
            table.histogram {
                caption { (caption) }
                tbody {
                    @for (at, (end, count)) in CLASSES.iter().zip(counts).enumerate() {
                        tr {
                            th scope="row" {
                                @if *end == u64::MAX { "> " (visitor.language.millis(CLASSES[at - 1])) }
                                @else { "≤ " (visitor.language.millis(*end)) }
                            }
                            td.bar {
                                svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                                    rect width=(count * 100 / most) height="10" {}
                                }
                            }
                            td.number { (visitor.language.number(count)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let latencies = Latencies::of((1..=100).rev().collect());
        assert_eq!((latencies.quantile(0.5), latencies.quantile(0.99)), (Some(50), Some(99)));
        assert_eq!(Latencies::of(vec![7]).quantile(0.5), Some(7));
        assert_eq!(Latencies::of(vec![]).quantile(0.5), None);
        let counted = Latencies::counted([(50, 98), (200, 1), (1_000, 1)].into_iter());
        assert_eq!([0.5, 0.98, 0.99, 1.0].map(|share| counted.quantile(share).unwrap()), [50, 50, 200, 1_000]);
        assert_eq!(counted.len(), 100);
    }

    #[test]
    fn every_latency_is_in_one_class() {
        let classes = Latencies::of(vec![0, 50, 51, 30_000, 30_001, u64::MAX]).classes();
        assert_eq!(classes, [2, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}

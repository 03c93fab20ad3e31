//! How long labels took: percentiles and a histogram.

use super::visitor::Visitor;
use maud::{Markup, html};

/// Upper ends of the histogram's classes in milliseconds; the last has none.
const CLASSES: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, u64::MAX];

/// Measured latencies in ascending order.
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn of(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that such a share of them does not exceed (nearest rank).
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    fn classes(&self) -> [u64; CLASSES.len()] {
        let mut counts = [0; CLASSES.len()];
        for millis in &self.0 {
            counts[CLASSES.partition_point(|end| end < millis).min(CLASSES.len() - 1)] += 1;
        }
        counts
    }

    pub(crate) fn percentile(&self, visitor: &Visitor, share: f64) -> String {
        self.quantile(share).map_or_else(|| "–".to_owned(), |millis| visitor.language.millis(millis))
    }

    /// Bars, with their numbers as text.
    pub(crate) fn histogram(&self, visitor: &Visitor) -> Markup {
        let counts = self.classes();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        html! {
            table.histogram {
                caption { (visitor.t("How long labels took", "Quanto tempo as etiquetas levaram")) }
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
    }

    #[test]
    fn every_latency_is_in_one_class() {
        let classes = Latencies::of(vec![0, 50, 51, 30_000, 30_001, u64::MAX]).classes();
        assert_eq!(classes, [2, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}

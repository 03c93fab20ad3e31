//! What a tracker remembers of what it heard, so that it writes only what changed enough.

use backbone::registry::signal_span;
use protocol::{GatewayMac, LabelMac, Rssi, Sighting, Timestamp};
use std::{collections::HashMap, time::Duration};

/// Weight of a new sighting in the exponentially weighted moving average of a label's RSSI.
const WEIGHT: f32 = 0.3;
/// A battery that differs by so many mV from what was written is written: noise is less.
const BATTERY_CHANGE_MV: u16 = 50;
/// Samples of one gateway are counted for so long, which is what one sample is for.
const SAMPLES_COUNTED: Duration = Duration::from_secs(30 * 60);

/// When a sighting is worth writing.
#[derive(Debug, Clone)]
pub(crate) struct HeardPolicy {
    /// The smoothed RSSI differs by so many dB from what was written.
    pub(crate) change_db: u8,
    /// It was written so long ago that it would soon look stale.
    pub(crate) refresh_after: Duration,
    /// Pairs not heard for so long are forgotten.
    pub(crate) forget_after: Duration,
    /// How many labels one gateway may report.
    pub(crate) labels_per_gateway: usize,
    /// Of how many gateways one label is remembered.
    pub(crate) gateways_per_label: usize,
    /// How many pairs are remembered in all.
    pub(crate) pairs: usize,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    smoothed_dbm: f32,
    written_dbm: i8,
    /// 0: none.
    written_mv: u16,
    written_ms: i64,
    heard_ms: i64,
    /// The half hour of which a sample was kept last; 0: none.
    sampled: i64,
}

/// Every pair of gateway and label that was heard lately. Only a memory of what was written: losing it costs writes.
#[derive(Debug)]
pub(crate) struct HeardLabels {
    policy: HeardPolicy,
    gateways: HashMap<GatewayMac, HashMap<LabelMac, Heard>>,
    /// How many gateways hear each label.
    hearers: HashMap<LabelMac, usize>,
    pairs: usize,
    /// How many samples were taken of each gateway since when. A sample outlives its pair by a day: a gateway that hears
    /// other labels every two minutes must not leave all of them behind.
    samples: HashMap<GatewayMac, (Timestamp, usize)>,
}

/// What to do about a sighting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Write this smoothed RSSI, and the battery as it was reported.
    Write(Rssi),
    /// What is written is good enough.
    Keep,
    /// The gateway reports more labels than it may, or the label is heard by more gateways than are kept.
    TooMany,
}

impl HeardLabels {
    pub(crate) fn new(policy: HeardPolicy) -> Self {
        Self { policy, gateways: HashMap::new(), hearers: HashMap::new(), pairs: 0, samples: HashMap::new() }
    }

    /// Takes in one sighting. The caller writes what it is told to.
    pub(crate) fn hear(&mut self, gateway: GatewayMac, sighting: &Sighting, now: Timestamp) -> Verdict {
        let &Sighting { label, rssi, battery_mv } = sighting;
        let now = now.unix_millis();
        let dbm = f32::from(rssi.dbm());
        let Some(heard) = self.gateways.get_mut(&gateway).and_then(|labels| labels.get_mut(&label)) else {
            if !self.admit(gateway, label) {
                return Verdict::TooMany;
            }
            let written_mv = battery_mv.unwrap_or(0);
            let heard = Heard {
                smoothed_dbm: dbm,
                written_dbm: rssi.dbm(),
                written_mv,
                written_ms: now,
                heard_ms: now,
                sampled: 0,
            };
            self.gateways.entry(gateway).or_default().insert(label, heard);
            return Verdict::Write(rssi);
        };
        heard.smoothed_dbm += WEIGHT * (dbm - heard.smoothed_dbm);
        heard.heard_ms = now;
        // Rounded, it still lies between values that were in range.
        let smoothed = heard.smoothed_dbm.round() as i8;
        let battery_mv = battery_mv.unwrap_or(heard.written_mv);
        let changed = smoothed.abs_diff(heard.written_dbm) >= self.policy.change_db
            || battery_mv.abs_diff(heard.written_mv) >= BATTERY_CHANGE_MV;
        let old = now.saturating_sub(heard.written_ms) >= self.policy.refresh_after.as_millis() as i64;
        match Rssi::try_from(i64::from(smoothed)) {
            Ok(rssi) if changed || old => {
                (heard.written_dbm, heard.written_mv, heard.written_ms) = (smoothed, battery_mv, now);
                Verdict::Write(rssi)
            }
            _ => Verdict::Keep,
        }
    }

    /// Makes room for a pair that is new, where there is any.
    fn admit(&mut self, gateway: GatewayMac, label: LabelMac) -> bool {
        let HeardPolicy { labels_per_gateway, gateways_per_label, pairs, .. } = self.policy;
        let labels = self.gateways.get(&gateway).map_or(0, HashMap::len);
        let gateways = self.hearers.get(&label).copied().unwrap_or(0);
        if labels >= labels_per_gateway || gateways >= gateways_per_label || self.pairs >= pairs {
            return false;
        }
        self.hearers.insert(label, gateways + 1);
        self.pairs += 1;
        true
    }

    /// Whether a sample is to be kept of a sighting that is written: once in each half hour of the label, and of as many
    /// labels as the gateway may report. At the start of counting they may be due twice.
    pub(crate) fn is_sample(&mut self, gateway: GatewayMac, label: LabelMac, now: Timestamp) -> bool {
        let heard = self.gateways.get_mut(&gateway).and_then(|labels| labels.get_mut(&label));
        let span = signal_span(label, now);
        if heard.is_none_or(|heard| std::mem::replace(&mut heard.sampled, span) == span) {
            return false;
        }
        let (since, samples) = self.samples.entry(gateway).or_insert((now, 0));
        if is_over(*since, now) {
            (*since, *samples) = (now, 0);
        }
        *samples += 1;
        *samples <= 2 * self.policy.labels_per_gateway
    }

    /// Forgets what was not heard for long.
    pub(crate) fn tidy(&mut self, now: Timestamp) {
        let oldest = now.unix_millis() - self.policy.forget_after.as_millis() as i64;
        self.gateways.retain(|_, labels| {
            labels.retain(|label, heard| {
                let keep = heard.heard_ms >= oldest;
                if !keep {
                    self.pairs -= 1;
                    if let Some(gateways) = self.hearers.get_mut(label) {
                        *gateways -= 1;
                    }
                }
                keep
            });
            !labels.is_empty()
        });
        self.hearers.retain(|_, gateways| *gateways > 0);
        self.samples.retain(|_, (since, _)| !is_over(*since, now));
    }

    /// Forgets everything: Redis has, too.
    pub(crate) fn clear(&mut self) {
        self.gateways.clear();
        self.hearers.clear();
        self.pairs = 0;
    }

    /// How many pairs are remembered.
    pub(crate) fn len(&self) -> usize {
        self.pairs
    }
}

fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.unix_millis().abs_diff(since.unix_millis()) >= SAMPLES_COUNTED.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0, 0, 0, 0, 1]);
    const LABEL: LabelMac = LabelMac::from_octets([0, 0, 0, 0, 0, 2]);

    fn heard() -> HeardLabels {
        HeardLabels::new(HeardPolicy {
            change_db: 4,
            refresh_after: Duration::from_secs(20),
            forget_after: Duration::from_secs(120),
            labels_per_gateway: 2,
            gateways_per_label: 2,
            pairs: 5,
        })
    }

    fn rssi(dbm: i64) -> Rssi {
        Rssi::try_from(dbm).unwrap()
    }

    fn see(dbm: i64) -> Sighting {
        Sighting { label: LABEL, rssi: rssi(dbm), battery_mv: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn noise_is_not_written_and_change_is() {
        let mut heard = heard();
        assert_eq!(heard.hear(GATEWAY, &see(-60), at(0)), Verdict::Write(rssi(-60)));
        for (second, dbm) in [(2, -63), (4, -58), (6, -64), (8, -57)] {
            assert_eq!(heard.hear(GATEWAY, &see(dbm), at(second)), Verdict::Keep);
        }
        let verdicts: Vec<_> = (5..10).map(|n| heard.hear(GATEWAY, &see(-80), at(2 * n))).collect();
        assert!(
            verdicts.iter().any(|verdict| matches!(verdict, Verdict::Write(rssi) if rssi.dbm() <= -64)),
            "{verdicts:?}"
        );
    }

    #[test]
    fn what_would_look_stale_is_written_again() {
        let mut heard = heard();
        heard.hear(GATEWAY, &see(-60), at(0));
        assert_eq!(heard.hear(GATEWAY, &see(-60), at(19)), Verdict::Keep);
        assert_eq!(heard.hear(GATEWAY, &see(-60), at(20)), Verdict::Write(rssi(-60)));
    }

    #[test]
    fn a_battery_is_written_when_it_changed_enough() {
        let mut heard = heard();
        let mut at_mv = |second, battery_mv| heard.hear(GATEWAY, &Sighting { battery_mv, ..see(-60) }, at(second));
        assert_eq!(at_mv(0, None), Verdict::Write(rssi(-60)));
        assert_eq!(at_mv(2, Some(2950)), Verdict::Write(rssi(-60)), "the first that is known");
        assert_eq!(at_mv(4, Some(2901)), Verdict::Keep);
        assert_eq!(at_mv(6, None), Verdict::Keep);
        assert_eq!(at_mv(8, Some(2900)), Verdict::Write(rssi(-60)));
        assert_eq!(at_mv(10, Some(2949)), Verdict::Keep);
    }

    #[test]
    fn a_sample_is_kept_once_in_half_an_hour() {
        let mut heard = heard();
        assert!(!heard.is_sample(GATEWAY, LABEL, at(0)), "nobody has heard it");
        let mut samples = 0;
        for second in (0..7_200).step_by(20) {
            assert_eq!(heard.hear(GATEWAY, &see(-60), at(second)), Verdict::Write(rssi(-60)));
            samples += usize::from(heard.is_sample(GATEWAY, LABEL, at(second)));
        }
        assert!((4..=5).contains(&samples), "{samples} in two hours");
    }

    #[test]
    fn a_gateway_that_hears_others_all_the_time_leaves_few_samples() {
        let mut heard = heard();
        let mut samples = 0;
        for minute in 0..60 {
            for last in 0..2 {
                let label = LabelMac::from_octets([0, 0, 0, 0, minute, last]);
                let seen = at(i64::from(minute) * 60);
                heard.tidy(seen);
                heard.hear(GATEWAY, &Sighting { label, ..see(-60) }, seen);
                samples += usize::from(heard.is_sample(GATEWAY, label, seen));
            }
        }
        assert_eq!(samples, 2 * 2 * 2, "twice its labels in each of two half hours");
    }

    #[test]
    fn memory_is_bounded_and_forgets() {
        let mut heard = heard();
        let label = |last| LabelMac::from_octets([0, 0, 0, 0, 0, last]);
        for last in 1..=2 {
            heard.hear(GATEWAY, &Sighting { label: label(last), ..see(-60) }, at(0));
        }
        assert_eq!(heard.hear(GATEWAY, &Sighting { label: label(3), ..see(-60) }, at(0)), Verdict::TooMany);
        heard.hear(GATEWAY, &Sighting { label: label(1), ..see(-60) }, at(100));
        heard.tidy(at(130));
        assert_eq!(heard.len(), 1);
        heard.clear();
        assert_eq!(heard.len(), 0);
    }

    #[test]
    fn many_gateways_take_no_more_room_than_few() {
        let mut heard = heard();
        let gateway = |last| GatewayMac::from_octets([0, 0, 0, 0, 1, last]);
        let label = |last| Sighting { label: LabelMac::from_octets([0, 0, 0, 0, 0, last]), ..see(-60) };
        assert_eq!(heard.hear(gateway(1), &label(1), at(0)), Verdict::Write(rssi(-60)));
        assert_eq!(heard.hear(gateway(2), &label(1), at(100)), Verdict::Write(rssi(-60)));
        assert_eq!(heard.hear(gateway(3), &label(1), at(100)), Verdict::TooMany, "two hear it already");
        assert_eq!(heard.hear(gateway(2), &label(1), at(101)), Verdict::Keep, "those that are known go on");
        heard.tidy(at(130));
        assert_eq!(heard.hear(gateway(3), &label(1), at(130)), Verdict::Write(rssi(-60)), "one was silent");
        for (number, last) in [(4, 2), (4, 3), (5, 2)] {
            assert_eq!(heard.hear(gateway(number), &label(last), at(131)), Verdict::Write(rssi(-60)));
        }
        assert_eq!((heard.len(), heard.hear(gateway(5), &label(3), at(131))), (5, Verdict::TooMany));
    }

    proptest! {
        /// Whoever reports whatever, in whichever order: nothing exceeds its bound, and the counts are those of what is
        /// kept.
        #[test]
        fn no_reports_exceed_the_bounds(reports in proptest::collection::vec((0..6_u8, 0..6_u8, -127_i64..=20, 0..90_i64), 1..200)) {
            let mut heard = heard();
            let mut second = 0;
            for (gateway, label, dbm, later) in reports {
                second += later;
                let label = LabelMac::from_octets([0, 0, 0, 0, 0, label]);
                let sighting = Sighting { label, rssi: rssi(dbm), battery_mv: None };
                heard.hear(GatewayMac::from_octets([0, 0, 0, 0, 1, gateway]), &sighting, at(second));
                if second % 3 == 0 {
                    heard.tidy(at(second));
                }
                let mut hearers = HashMap::<LabelMac, usize>::new();
                heard.gateways.values().flat_map(HashMap::keys).for_each(|label| *hearers.entry(*label).or_default() += 1);
                prop_assert!(heard.gateways.values().all(|labels| labels.len() <= 2));
                prop_assert!(hearers.values().all(|gateways| *gateways <= 2));
                prop_assert!(heard.len() <= 5 && heard.len() == hearers.values().sum::<usize>());
                prop_assert!(hearers.iter().all(|(label, gateways)| heard.hearers.get(label) == Some(gateways)));
            }
        }
    }
}

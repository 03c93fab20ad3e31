//! How strongly gateways have heard labels over the last day: one sample for each half hour, in a ring of 96 octets per
//! pair of label and gateway, which is forgotten a day after its last sample.
//!
//! A span begins at another time for each label, so that the samples of a store are spread evenly: 150,000 pairs are some
//! 80 writes a second, whatever is reported.

use super::{Registry, RegistryError, RouteEntry, connection::Backend, error::Doing};
use crate::service::now;
use protocol::{GatewayMac, LabelMac, Rssi, Timestamp, names::redis::signal_key};
use std::time::Duration;

/// There is one sample for so long.
const SPAN_MS: i64 = 30 * 60 * 1000;
/// So many are kept.
pub(super) const SPANS: i64 = 48;
/// After the last sample, the ring is kept so long.
const KEEP: Duration = Duration::from_millis(((SPANS + 1) * SPAN_MS) as u64);
/// Added to an RSSI to make an octet of it that is not 0, which is what a ring holds before anything is written.
const BIAS: i16 = 128;

/// How strongly a gateway heard a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// In the half hour that begins then.
    pub at: Timestamp,
    /// How strongly, smoothed.
    pub rssi: Rssi,
}

/// The number of the half hour of a label that this time lies in: a sample is due when it changes.
pub fn signal_span(label: LabelMac, at: Timestamp) -> i64 {
    (at.unix_millis() + shift(label)).div_euclid(SPAN_MS)
}

fn shift(label: LabelMac) -> i64 {
    let [.., a, b, c, d] = label.octets();
    i64::from(u32::from_be_bytes([a, b, c, d]).wrapping_mul(2_654_435_769)) % SPAN_MS
}

/// Which half hour a sample is of, and its octet, which is never 0.
pub(super) fn sample(entry: &RouteEntry) -> (i64, u8) {
    (signal_span(entry.label, entry.at), (i16::from(entry.rssi.dbm()) + BIAS) as u8)
}

fn place(span: i64) -> usize {
    span.rem_euclid(SPANS) as usize * 2
}

fn turn(span: i64) -> u8 {
    span.div_euclid(SPANS) as u8
}

/// The samples of the last day, the oldest first. The ring has two octets for each: its turn, so that what is a day old
/// is told from what is new, and the sample.
fn read(label: LabelMac, ring: &[u8], now: Timestamp) -> Vec<Signal> {
    let octet = |span: i64| match ring.get(place(span)..place(span) + 2)? {
        &[written, octet] => (written == turn(span)).then_some(octet),
        _ => None,
    };
    signals(label, now, octet)
}

/// What was sampled in each half hour of the last day, the oldest first, by its octet; 0: nothing.
pub(super) fn signals(label: LabelMac, now: Timestamp, octet: impl Fn(i64) -> Option<u8>) -> Vec<Signal> {
    let last = signal_span(label, now);
    let signal = |span: i64| {
        let octet = octet(span).filter(|octet| *octet != 0)?;
        let rssi = Rssi::try_from(i64::from(i16::from(octet) - BIAS)).ok()?;
        Some(Signal { at: Timestamp::from_unix_millis(span * SPAN_MS - shift(label)), rssi })
    };
    (last - SPANS + 1..=last).filter_map(signal).collect()
}

impl Registry {
    /// Keeps samples of how strongly gateways hear labels, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn write_signals(&self, heard: &[RouteEntry]) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                memory.write_signals(heard);
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::Pipeline::with_capacity(heard.len() * 2);
        for entry in heard {
            let key = signal_key(entry.label, entry.gateway);
            let (span, octet) = sample(entry);
            pipeline.cmd("SETRANGE").arg(&key).arg(place(span)).arg(&[turn(span), octet][..]).ignore();
            pipeline.pexpire(&key, KEEP.as_millis() as i64).ignore();
        }
        redis.query(&pipeline).await.doing("writing signal strengths")
    }

    /// How strongly each of these gateways has heard a label over the last day, in one round trip and in their order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn signals(&self, label: LabelMac, gateways: &[GatewayMac]) -> Result<Vec<Vec<Signal>>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.signals(label, gateways)),
            Backend::Redis(redis) => redis,
        };
        if gateways.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(gateways.len());
        for &gateway in gateways {
            pipeline.get(signal_key(label, gateway));
        }
        let rings: Vec<Option<Vec<u8>>> = redis.query(&pipeline).await.doing("reading signal strengths")?;
        let at = now();
        Ok(rings.iter().map(|ring| read(label, ring.as_deref().unwrap_or_default(), at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(label: u32, dbm: i8, millis: i64) -> RouteEntry {
        let [a, b, c, d] = label.to_be_bytes();
        RouteEntry {
            label: LabelMac::from_octets([0, 0x1a, a, b, c, d]),
            gateway: GatewayMac::from_octets([0; 6]),
            rssi: Rssi::try_from(i64::from(dbm)).unwrap(),
            at: Timestamp::from_unix_millis(millis),
            battery_mv: None,
        }
    }

    const RING: usize = 2 * SPANS as usize;

    fn write(ring: &mut [u8; RING], entry: &RouteEntry) {
        let (span, octet) = sample(entry);
        ring[place(span)..place(span) + 2].copy_from_slice(&[turn(span), octet]);
    }

    #[test]
    fn the_samples_of_a_store_are_spread() {
        let at = Timestamp::from_unix_millis(1_795_000_000_000);
        let later = Timestamp::from_unix_millis(at.unix_millis() + SPAN_MS / 10);
        let due = |number: &u32| {
            let label = entry(*number, -60, 0).label;
            signal_span(label, at) != signal_span(label, later)
        };
        let due = (0..10_000).filter(due).count();
        assert!((900..1_100).contains(&due), "{due} of 10,000 in a tenth of the time");
    }

    proptest! {
        #[test]
        fn a_day_is_kept_and_no_more(label: u32, start in 1_500_000_000_000_i64..2_500_000_000_000, dbm in -127_i8..=20) {
            let mut ring = [0; RING];
            prop_assert!(read(entry(label, dbm, 0).label, &ring, Timestamp::from_unix_millis(start)).is_empty());
            for half_hour in 0..60 {
                write(&mut ring, &entry(label, dbm, start + half_hour * SPAN_MS));
            }
            let now = Timestamp::from_unix_millis(start + 59 * SPAN_MS);
            let seen = read(entry(label, dbm, 0).label, &ring, now);
            prop_assert_eq!(seen.len(), 48);
            prop_assert!(seen.iter().all(|signal| signal.rssi.dbm() == dbm));
            prop_assert!(seen.windows(2).all(|pair| pair[1].at.unix_millis() - pair[0].at.unix_millis() == SPAN_MS));
            let newest = now.unix_millis() - seen[47].at.unix_millis();
            prop_assert!((0..SPAN_MS).contains(&newest));
            let a_day_later = Timestamp::from_unix_millis(now.unix_millis() + 48 * SPAN_MS);
            prop_assert!(read(entry(label, dbm, 0).label, &ring, a_day_later).is_empty());
        }

        #[test]
        fn no_ring_panics(label: u32, ring: Vec<u8>, millis: i32) {
            let _ = read(entry(label, -60, 0).label, &ring, Timestamp::from_unix_millis(millis.into()));
        }
    }
}

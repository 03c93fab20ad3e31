//! Gateways' reports: which labels they hear, and whether they are there at all.

use crate::{LabelMac, Rssi};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A report has at most so many bytes: some 4,000 labels.
const MAX_REPORT_BYTES: usize = 256 * 1024;

/// One label as one gateway hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The label.
    pub label: LabelMac,
    /// How strongly the gateway hears it.
    pub rssi: Rssi,
    /// The label's battery in millivolts, where the gateway knows it.
    pub battery_mv: Option<u16>,
}

/// What a gateway reports on its status topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// It came (`true`) or went (`false`, usually as its last will).
    pub online: Option<bool>,
    /// The labels that it hears.
    pub sightings: Vec<Sighting>,
    /// Entries that were left out: a MAC or an RSSI that can't be.
    pub nonsense: usize,
}

/// Why a report can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is too large.
    #[error("{0} bytes, expected at most {MAX_REPORT_BYTES}")]
    TooLarge(usize),
    /// It is no JSON or has a field of the wrong shape; the text names it.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// It says nothing.
    #[error("none of labels, deviceMac and online: expected at least one of them")]
    Empty,
}

/// One label as the gateway hears it.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Sighting))]
pub(crate) struct Entry<'a> {
    /// The label.
    #[serde(borrow)]
    #[cfg_attr(feature = "schema", schema(value_type = LabelMac))]
    mac: Cow<'a, str>,
    /// How strongly, in dBm; an entry outside the range is left out.
    #[cfg_attr(feature = "schema", schema(minimum = -127, maximum = 20))]
    rssi: i64,
    /// The label's battery in millivolts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    battery_mv: Option<i64>,
}

/// Which labels the gateway hears, several or one, or whether it is there.
#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Report))]
pub(crate) struct Body<'a> {
    /// The labels that it hears.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Entry<'a>>>,
    /// Or one label alone.
    #[serde(rename = "deviceMac", default, borrow, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<LabelMac>))]
    mac: Option<Cow<'a, str>>,
    /// How strongly that one, in dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = -127, maximum = 20))]
    rssi: Option<i64>,
    /// The battery of that one in millivolts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    battery_mv: Option<i64>,
    /// `true` after connecting, `false` as the last will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
}

impl Report {
    /// Reads a report. An entry with an impossible MAC or RSSI is left out and counted; the others hold.
    ///
    /// # Errors
    /// When the whole can't be read.
    pub fn parse(body: &[u8]) -> Result<Self, ReportError> {
        if body.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLarge(body.len()));
        }
        let Body { labels, mac, rssi, battery_mv, online } = serde_json::from_slice(body)?;
        if labels.is_none() && mac.is_none() && online.is_none() {
            return Err(ReportError::Empty);
        }
        let mut report = Self { online, ..Self::default() };
        let labels = labels.unwrap_or_default();
        report.sightings.reserve(labels.len() + 1);
        for Entry { mac, rssi, battery_mv } in labels {
            report.take(&mac, Some(rssi), battery_mv);
        }
        if let Some(mac) = mac {
            report.take(&mac, rssi, battery_mv);
        }
        Ok(report)
    }

    fn take(&mut self, mac: &str, rssi: Option<i64>, battery_mv: Option<i64>) {
        let rssi = rssi.and_then(|dbm| Rssi::try_from(dbm).ok());
        match (mac.parse(), rssi) {
            (Ok(label), Some(rssi)) => {
                let battery_mv = battery_mv.and_then(|mv| u16::try_from(mv).ok());
                self.sightings.push(Sighting { label, rssi, battery_mv });
            }
            _ => self.nonsense += 1,
        }
    }

    /// As it is written on the wire, sightings as a batch.
    pub fn to_json(&self) -> Vec<u8> {
        let entry = |sighting: &Sighting| Entry {
            mac: sighting.label.to_string().into(),
            rssi: sighting.rssi.dbm().into(),
            battery_mv: sighting.battery_mv.map(Into::into),
        };
        let labels = (!self.sightings.is_empty()).then(|| self.sightings.iter().map(entry).collect());
        serde_json::to_vec(&Body { labels, online: self.online, ..Body::default() }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn batches_singles_and_presence_are_reports() {
        let batch = Report::parse(br#"{"labels":[{"mac":"001a2b3c4d5e","rssi":-61,"battery_mv":2950}]}"#).unwrap();
        assert_eq!(batch.sightings[0].rssi.dbm(), -61);
        assert_eq!(batch.sightings[0].battery_mv, Some(2950));
        let single = Report::parse(br#"{"deviceMac":"001a2b3c4d5e","rssi":-61}"#).unwrap();
        assert_eq!(single.sightings.len(), 1);
        assert_eq!(Report::parse(br#"{"online":false}"#).unwrap().online, Some(false));
    }

    #[test]
    fn one_bad_entry_spoils_no_batch() {
        let body = br#"{"labels":[{"mac":"x","rssi":-61},{"mac":"001a2b3c4d5e","rssi":50},{"mac":"001a2b3c4d5f","rssi":-70}]}"#;
        let report = Report::parse(body).unwrap();
        assert_eq!((report.sightings.len(), report.nonsense), (1, 2));
    }

    #[test]
    fn nothing_is_no_report() {
        assert!(matches!(Report::parse(b"{}"), Err(ReportError::Empty)));
        assert!(matches!(Report::parse(b"7"), Err(ReportError::Malformed(_))));
        assert!(matches!(Report::parse(&vec![b' '; MAX_REPORT_BYTES + 1]), Err(ReportError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Report::parse(&body);
        }

        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec((any::<[u8; 6]>(), -127i64..=20, any::<Option<u16>>()), 1..50)) {
            let sightings = entries.into_iter().map(|(octets, dbm, battery_mv)| Sighting {
                label: LabelMac::from_octets(octets),
                rssi: Rssi::try_from(dbm).unwrap(),
                battery_mv,
            });
            let report = Report { online: Some(true), sightings: sightings.collect(), nonsense: 0 };
            prop_assert_eq!(Report::parse(&report.to_json()).unwrap(), report);
        }
    }
}

//! What goes wrong, and how often.

use backbone::service::parse_duration;
use clap::Args;
use rand::{RngExt, rngs::StdRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{str::FromStr, time::Duration};

/// A probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Rate(f64);

/// Faults of a gateway, or of all gateways of the store. What is absent at a gateway is as the store's; what is absent
/// at the store does not happen. The same names as flags and in JSON.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Share of commands, 0 to 1, that are refused with NACK_ERROR
    #[arg(long, env = "NACK_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nack_rate: Option<Rate>,

    /// The reason of such refusals: queue_full, retry and insufficient_resources pass, others are final [default: retry]
    #[arg(long, env = "NACK_ERROR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nack_error: Option<String>,

    /// Share of commands, 0 to 1, that are neither carried out nor answered
    #[arg(long, env = "SILENCE_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_rate: Option<Rate>,

    /// Share of commands, 0 to 1, that are carried out and not answered
    #[arg(long, env = "LOST_ANSWER_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_answer_rate: Option<Rate>,

    /// Share of answers, 0 to 1, that are sent twice
    #[arg(long, env = "DUPLICATE_ANSWER_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_answer_rate: Option<Rate>,

    /// Share of commands, 0 to 1, that are carried out late, by LATE_BY, whether expired or not
    #[arg(long, env = "LATE_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_rate: Option<Rate>,

    /// How late such commands are carried out [default: 20s]
    #[arg(long, env = "LATE_BY", value_parser = parse_duration)]
    #[serde(deserialize_with = "duration", serialize_with = "duration_text")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_by: Option<Duration>,

    /// Share of commands, 0 to 1, that are carried out in time and answered late, by LATE_ANSWER_BY
    #[arg(long, env = "LATE_ANSWER_RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_answer_rate: Option<Rate>,

    /// How late such answers are [default: 20s]
    #[arg(long, env = "LATE_ANSWER_BY", value_parser = parse_duration)]
    #[serde(deserialize_with = "duration", serialize_with = "duration_text")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_answer_by: Option<Duration>,

    /// Whether gateways report every label of the store at an impossible +50 dBm
    #[arg(long, env = "ROGUE_RSSI")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rogue_rssi: Option<bool>,

    /// How many answers per report interval a gateway makes up, for labels that it was not asked about
    #[arg(long, env = "FORGED_ANSWERS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forged_answers: Option<u16>,

    /// The reason with which a gateway refuses a label that it does not hear [default: invalid_parameters]
    #[arg(long, env = "UNHEARD_ERROR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unheard_error: Option<String>,
}

/// Faults of one label, at whichever gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelFaults {
    /// It refuses every command with this reason.
    pub nack: Option<String>,
    /// Nothing is carried out or answered.
    pub silent: bool,
}

/// What happens to one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// It is refused.
    pub nack: bool,
    /// It is neither carried out nor answered.
    pub silent: bool,
    /// It is carried out and not answered.
    pub lose_answer: bool,
    /// It is answered twice.
    pub duplicate_answer: bool,
    /// It is carried out so late.
    pub late_by: Option<Duration>,
    /// It is answered so late.
    pub late_answer_by: Option<Duration>,
}

const DEFAULT_LATENESS: Duration = Duration::from_secs(20);

impl Faults {
    /// What holds at a gateway with these faults of its own, in a store with those.
    #[must_use]
    pub fn or(&self, store: &Self) -> Self {
        let (own, store) = (self.clone(), store.clone());
        Self {
            nack_rate: own.nack_rate.or(store.nack_rate),
            nack_error: own.nack_error.or(store.nack_error),
            silence_rate: own.silence_rate.or(store.silence_rate),
            lost_answer_rate: own.lost_answer_rate.or(store.lost_answer_rate),
            duplicate_answer_rate: own.duplicate_answer_rate.or(store.duplicate_answer_rate),
            late_rate: own.late_rate.or(store.late_rate),
            late_by: own.late_by.or(store.late_by),
            late_answer_rate: own.late_answer_rate.or(store.late_answer_rate),
            late_answer_by: own.late_answer_by.or(store.late_answer_by),
            rogue_rssi: own.rogue_rssi.or(store.rogue_rssi),
            forged_answers: own.forged_answers.or(store.forged_answers),
            unheard_error: own.unheard_error.or(store.unheard_error),
        }
    }

    /// Draws the fate of a command. Takes the same number of draws for each, so that one fault more or less leaves the
    /// draws of the others as they are.
    pub fn draw(&self, random: &mut StdRng) -> Fate {
        let mut happens = |rate: Option<Rate>| random.random::<f64>() < rate.unwrap_or_default().0;
        let nack = happens(self.nack_rate);
        let silent = happens(self.silence_rate);
        let lose_answer = happens(self.lost_answer_rate);
        let duplicate_answer = happens(self.duplicate_answer_rate);
        let late = happens(self.late_rate);
        let late_answer = happens(self.late_answer_rate);
        Fate {
            nack,
            silent,
            lose_answer,
            duplicate_answer,
            late_by: late.then(|| self.late_by.unwrap_or(DEFAULT_LATENESS)),
            late_answer_by: late_answer.then(|| self.late_answer_by.unwrap_or(DEFAULT_LATENESS)),
        }
    }

    /// The reason of drawn refusals.
    pub fn nack_error(&self) -> &str {
        self.nack_error.as_deref().unwrap_or("retry")
    }

    /// The reason for labels that the gateway does not hear.
    pub fn unheard_error(&self) -> &str {
        self.unheard_error.as_deref().unwrap_or(INVALID_PARAMETERS)
    }
}

/// The reason for labels that nobody knows (ESLS 1.0, table 3.10, error 0x06).
pub const INVALID_PARAMETERS: &str = "invalid_parameters";

impl TryFrom<f64> for Rate {
    type Error = String;
    fn try_from(share: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(format!("{share}: expected a number from 0 to 1"))
        }
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let share: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
        share.try_into()
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
}

fn duration_text<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| format!("{duration:?}")).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn parse(json: &str) -> Result<Faults, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_gateways_own_faults_come_before_the_stores() {
        let store = parse(r#"{"nack_rate":0.5,"nack_error":"queue_full","late_by":"3s"}"#).unwrap();
        let own = parse(r#"{"nack_rate":0,"rogue_rssi":true}"#).unwrap();
        let both = own.or(&store);
        assert_eq!(
            both,
            parse(r#"{"nack_rate":0,"nack_error":"queue_full","late_by":"3s","rogue_rssi":true}"#).unwrap()
        );
        assert_eq!(parse(&serde_json::to_string(&both).unwrap()), Ok(both));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        assert!(parse(r#"{"nack_rate":1.5}"#).unwrap_err().contains("1.5: expected a number from 0 to 1"));
        assert!(parse(r#"{"nak_rate":1}"#).unwrap_err().contains("unknown field `nak_rate`"));
        assert!(parse(r#"{"late_by":3}"#).is_err());
    }

    #[test]
    fn the_same_seed_draws_the_same_whatever_else_is_wrong() {
        let fates = |json: &str| -> Vec<_> {
            let (faults, mut random) = (parse(json).unwrap(), StdRng::seed_from_u64(7));
            (0..1000).map(|_| faults.draw(&mut random)).collect()
        };
        let some = fates(r#"{"silence_rate":0.3}"#);
        let more = fates(r#"{"silence_rate":0.3,"nack_rate":1}"#);
        assert!(some.iter().zip(&more).all(|(some, more)| some.silent == more.silent && more.nack && !some.nack));
        let silent = some.iter().filter(|fate| fate.silent).count();
        assert!((250..350).contains(&silent), "{silent}");
    }
}

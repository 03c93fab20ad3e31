//! Versions of what a label shows.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// Why a number is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0}: expected a whole number from 0 to 9007199254740991")]
pub struct VersionError(String);

/// A version of what a label shows: grows with every change, per label.
///
/// At most 2^53 - 1, the largest whole number that JSON readers (RFC 8259, section 6) and Redis scripts hold exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// The greatest version.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The version as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Version {
    type Error = VersionError;
    fn try_from(number: u64) -> Result<Self, VersionError> {
        if number <= Self::MAX.0 { Ok(Self(number)) } else { Err(VersionError(number.to_string())) }
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number: Option<u64> = text.parse().ok();
        number.and_then(|number| Self::try_from(number).ok()).ok_or_else(|| VersionError(format!("{text:?}")))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version as a whole number from 0 to 9007199254740991")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Version, E> {
                Version::try_from(number).map_err(E::custom)
            }
        }
        deserializer.deserialize_u64(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_exact_everywhere() {
        assert_eq!(serde_json::from_str::<Version>("9007199254740991").unwrap(), Version::MAX);
        for text in ["9007199254740992", "-1", "4.2", "\"42\"", "null"] {
            let error = serde_json::from_str::<Version>(text).unwrap_err().to_string();
            assert!(error.contains("expected a"), "{text}: {error}");
        }
        assert_eq!("42".parse(), Version::try_from(42));
        assert!("x".parse::<Version>().is_err());
    }
}

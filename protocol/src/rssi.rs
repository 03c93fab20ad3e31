//! Received signal strength.

/// Why a number is no signal strength.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rssi {0}: expected -127 to 20 dBm")]
pub struct RssiError(i64);

/// Received signal strength indication in dBm, -127 to 20: the range of the Bluetooth Core Specification (vol 4,
/// part E, 7.7.65.2). A gateway that reports more would attract every label, so such a value can't be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rssi(i8);

impl Rssi {
    /// The signal strength in dBm.
    pub const fn dbm(self) -> i8 {
        self.0
    }
}

impl TryFrom<i64> for Rssi {
    type Error = RssiError;
    fn try_from(dbm: i64) -> Result<Self, RssiError> {
        match i8::try_from(dbm) {
            Ok(value @ -127..=20) => Ok(Self(value)),
            _ => Err(RssiError(dbm)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_outside_the_range_is_nonsense() {
        assert_eq!(Rssi::try_from(-61).unwrap().dbm(), -61);
        for dbm in [-128, 21, 50, i64::MIN, i64::MAX] {
            assert!(Rssi::try_from(dbm).is_err(), "{dbm}");
        }
    }
}

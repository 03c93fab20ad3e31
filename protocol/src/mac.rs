//! MAC addresses of labels and gateways: two types, so that one can't be given where the other is meant.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Why a text is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?}: expected 12 hexadecimal digits such as 001a2b3c4d5e, with or without ':' or '-'")]
pub struct MacError {
    what: &'static str,
    value: String,
}

/// 48 bits in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Octets([u8; 6]);

impl Octets {
    /// Accepts `001a2b3c4d5e`, `00:1A:2B:3C:4D:5E`, `00-1a-2b-3c-4d-5e` and `001a.2b3c.4d5e`, in any case.
    fn parse(text: &str) -> Option<Self> {
        let (group, separator) = match text.len() {
            12 => (12, None),
            17 => (2, Some(*text.as_bytes().get(2).filter(|b| matches!(b, b':' | b'-'))?)),
            14 => (4, Some(b'.')),
            _ => return None,
        };
        let mut octets = [0; 6];
        let mut digits = 0;
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            if let Some(separator) = separator
                && at % (group + 1) == group
            {
                if byte != separator {
                    return None;
                }
                continue;
            }
            let digit = (byte as char).to_digit(16)? as u8;
            octets[digits / 2] = octets[digits / 2] << 4 | digit;
            digits += 1;
        }
        Some(Self(octets))
    }

    fn encode(self) -> [u8; 12] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 12];
        for (pair, octet) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(octet >> 4)];
            pair[1] = DIGITS[usize::from(octet & 15)];
        }
        text
    }
}

macro_rules! mac_type {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Parses every common spelling, prints one: 12 lowercase hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Octets);

        impl $name {
            /// From its six octets, in the order in which they are written.
            pub const fn from_octets(octets: [u8; 6]) -> Self {
                Self(Octets(octets))
            }

            /// Its six octets, in the order in which they are written.
            pub const fn octets(self) -> [u8; 6] {
                self.0.0
            }
        }

        impl FromStr for $name {
            type Err = MacError;
            fn from_str(text: &str) -> Result<Self, MacError> {
                Octets::parse(text)
                    .map(Self)
                    .ok_or_else(|| MacError { what: $what, value: text.chars().take(40).collect() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.0.encode();
                f.pad(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::deserialize(deserializer, concat!("a ", $what, " as a string"))
            }
        }
    };
}

mac_type!(LabelMac, "label MAC", "The MAC address of a label.");
mac_type!(GatewayMac, "gateway MAC", "The MAC address of a gateway.");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_common_spelling_is_the_same_label() {
        let plain: LabelMac = "001a2b3c4d5e".parse().unwrap();
        for spelling in ["001A2B3C4D5E", "00:1a:2b:3c:4d:5e", "00-1A-2b-3C-4d-5E", "001a.2b3c.4d5e"] {
            assert_eq!(spelling.parse(), Ok(plain), "{spelling}");
        }
        assert_eq!(plain.to_string(), "001a2b3c4d5e");
        assert_eq!(serde_json::to_string(&plain).unwrap(), "\"001a2b3c4d5e\"");
    }

    #[test]
    fn nonsense_is_named() {
        for text in
            ["", "001a2b3c4d5", "001a2b3c4d5g", "00:1a:2b-3c:4d:5e", "0:01a:2b:3c:4d:5e", "00 1a 2b 3c 4d 5e", "ÿÿÿÿÿÿ"]
        {
            assert!(text.parse::<GatewayMac>().is_err(), "{text:?}");
        }
        let error = "kitchen".parse::<LabelMac>().unwrap_err().to_string();
        assert!(error.starts_with("label MAC \"kitchen\": expected 12 hexadecimal digits"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(octets: [u8; 6]) {
            let mac = LabelMac::from_octets(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(serde_json::from_str::<LabelMac>(&serde_json::to_string(&mac).unwrap()).unwrap(), mac);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<LabelMac>();
        }
    }
}

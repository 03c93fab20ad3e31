//! Prices and currencies. A price stays the decimal text that the store sent: it is shown, never computed with.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a text is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "price {0:?}: expected a decimal string such as \"299.90\", not negative, with at most 4 places after the point"
)]
pub struct PriceError(String);

/// Why a text is no currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("currency {0:?}: expected the three capital letters of ISO 4217, such as \"BRL\"")]
pub struct CurrencyError(String);

/// A price as a decimal number without a sign: 1 to 12 digits and, after a point, 1 to 4 more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Price(Arc<str>);

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Price {
    /// The decimal text, as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_price(text: &str) -> bool {
    let (whole, places) = text.split_once('.').map_or((text, None), |(whole, places)| (whole, Some(places)));
    let digits = |part: &str, max| (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    digits(whole, 12) && !leading_zero && places.is_none_or(|places| digits(places, 4))
}

impl FromStr for Price {
    type Err = PriceError;
    fn from_str(text: &str) -> Result<Self, PriceError> {
        if is_price(text) { Ok(Self(text.into())) } else { Err(PriceError(text.chars().take(40).collect())) }
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;
    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        match *text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(CurrencyError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a price as a decimal string such as \"299.90\"")
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a currency such as \"BRL\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nonsense_is_no_price() {
        for text in [
            "", "-1.00", "+1.00", "NaN", "inf", "12,90", "1e3", ".90", "12.", "012.90", "1 299.90", "1.23456", "12.9O",
            "１２",
        ] {
            let error = text.parse::<Price>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("price {text:?}: expected a decimal string")), "{error}");
        }
        assert!(
            serde_json::from_str::<Price>("12.9")
                .unwrap_err()
                .to_string()
                .contains("expected a price as a decimal string")
        );
    }

    #[test]
    fn a_price_keeps_its_text() {
        for text in ["0", "0.50", "299.90", "1234567.8999"] {
            assert_eq!(text.parse::<Price>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_currency_is_three_capitals() {
        assert_eq!("BRL".parse::<Currency>().unwrap().to_string(), "BRL");
        for text in ["brl", "R$", "BRLX", ""] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_decimal_is_a_price(whole in 0u64..1_000_000_000, cents in 0u8..100) {
            let text = format!("{whole}.{cents:02}");
            prop_assert_eq!(text.parse::<Price>().unwrap().to_string(), text);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (text.parse::<Price>(), text.parse::<Currency>());
        }
    }
}

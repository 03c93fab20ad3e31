//! Short identifiers that others choose: bounded, printable, and safe in the places where they end up.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

/// Why a text is no identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?}: expected {expected}")]
pub struct TextError {
    what: &'static str,
    value: String,
    expected: &'static str,
}

/// Deserialises from a string by `FromStr`, without copying the string first.
pub(crate) fn deserialize<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Visitor<T>(&'static str, PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Visitor<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor(expecting, PhantomData))
}

macro_rules! text_type {
    ($name:ident, $what:literal, $max:literal, $allowed:expr, $expected:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        #[doc = concat!("On the wire: ", $expected, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As it is written on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                let allowed: fn(char) -> bool = $allowed;
                if (1..=$max).contains(&text.chars().count()) && text.chars().all(allowed) {
                    return Ok(Self(text.into()));
                }
                Err(TextError { what: $what, value: text.chars().take(80).collect(), expected: $expected })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer, concat!("a ", $what, " as a string"))
            }
        }
    };
}

text_type!(
    Store,
    "store",
    64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "1 to 64 ASCII letters, digits, '-' or '_'",
    "A store of the chain. It is a word of a routing key, so it has no dot."
);
text_type!(
    Sku,
    "sku",
    64,
    |c| !c.is_control(),
    "1 to 64 characters, none of them a control character",
    "A product, by the number that the till scans or the chain's own."
);
text_type!(
    TaskId,
    "task_id",
    128,
    |c| c.is_ascii_graphic(),
    "1 to 128 printable ASCII characters without spaces",
    "A task's identity and idempotency key."
);
text_type!(
    BatchId,
    "batch",
    128,
    |c| !c.is_control(),
    "1 to 128 characters, none of them a control character",
    "A group of tasks whose progress is followed together."
);

impl Store {
    /// Stands for the store of a task whose asker does not know it: `_`.
    pub fn unknown() -> Self {
        Self("_".into())
    }
}

impl TaskId {
    /// The identity of a repair, made anew.
    pub fn repair(id: uuid::Uuid) -> Self {
        Self(format!("repair-{}", id.as_hyphenated()).into())
    }

    /// Milliseconds since the Unix epoch at which it was made, where it is a UUIDv7.
    pub fn unix_millis(&self) -> Option<u64> {
        uuid_v7_millis(&self.0)
    }
}

/// The time in a UUIDv7 (RFC 9562, section 5.7), in milliseconds since the Unix epoch.
pub(crate) fn uuid_v7_millis(text: &str) -> Option<u64> {
    let uuid = uuid::Uuid::try_parse(text).ok()?;
    (uuid.get_version_num() == 7).then(|| uuid.as_u64_pair().0 >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_names_itself_when_it_is_wrong() {
        let error = "sp.014".parse::<Store>().unwrap_err().to_string();
        assert_eq!(error, "store \"sp.014\": expected 1 to 64 ASCII letters, digits, '-' or '_'");
        assert!("".parse::<Sku>().is_err());
        assert!("a\nb".parse::<Sku>().is_err());
        assert!("7891000100103".parse::<Sku>().is_ok());
        assert!(
            serde_json::from_str::<TaskId>("7").unwrap_err().to_string().contains("expected a task_id as a string")
        );
    }

    #[test]
    fn only_a_uuid_v7_tells_its_time() {
        let id: TaskId = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f".parse().unwrap(); // RFC 9562, appendix A.6
        assert_eq!(id.unix_millis(), Some(1_645_557_742_000));
        assert_eq!("task-7".parse::<TaskId>().unwrap().unix_millis(), None);
    }
}

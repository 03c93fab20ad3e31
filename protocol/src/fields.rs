//! What a label shows.

use crate::{Currency, Price};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use std::{collections::BTreeMap, fmt};

/// At most so many fields besides name, price and currency.
pub const MAX_EXTRA_FIELDS: usize = 32;
/// At most so many bytes in a name or another text.
const MAX_TEXT_BYTES: usize = 1024;

/// The value of a field other than the price: text, a whole number or a flag. Never a float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// Text for a label's template.
    Text(String),
    /// A whole number, such as a page or a duration.
    Integer(i64),
    /// A flag.
    Flag(bool),
}

/// What a label shows, or what an action needs: name, price, currency, and whatever else the label's template knows.
///
/// Values of other kinds (floats, lists, objects, null) are ignored as unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The product's name as it is shown, at most 1024 bytes.
    pub name: Option<String>,
    /// The price as it is shown.
    pub price: Option<Price>,
    /// The currency of the price.
    pub currency: Option<Currency>,
    /// Everything else, by name.
    pub extra: BTreeMap<String, FieldValue>,
}

impl Fields {
    /// Nothing at all: the actions that show nothing new send none.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.price.is_none() && self.currency.is_none() && self.extra.is_empty()
    }

    fn take<'de, A: de::MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let prefixed = |error: A::Error| de::Error::custom(format_args!("fields.{key}: {error}"));
        match key {
            "price" => self.price = Some(map.next_value().map_err(prefixed)?),
            "currency" => self.currency = Some(map.next_value().map_err(prefixed)?),
            _ => {
                let value = map.next_value::<Loose>().map_err(prefixed)?.0;
                self.take_other(key, value).map_err(de::Error::custom)?;
            }
        }
        Ok(())
    }

    fn take_other(&mut self, key: &str, value: Option<FieldValue>) -> Result<(), String> {
        if let Some(FieldValue::Text(text)) = &value
            && text.len() > MAX_TEXT_BYTES
        {
            return Err(format!("fields.{key}: {} bytes of text, expected at most {MAX_TEXT_BYTES}", text.len()));
        }
        match (key, value) {
            ("name", Some(FieldValue::Text(text))) => self.name = Some(text),
            ("name", other) => return Err(format!("fields.name: {other:?}, expected text")),
            (_, None) => {}
            (_, Some(_)) if key.len() > 64 || key.chars().any(char::is_control) => {
                return Err(format!("fields: the name {key:?}, expected at most 64 bytes and no control characters"));
            }
            (_, Some(_)) if self.extra.len() == MAX_EXTRA_FIELDS => {
                return Err(format!("fields: more than {MAX_EXTRA_FIELDS} besides name, price and currency"));
            }
            (_, Some(value)) => {
                self.extra.insert(key.to_owned(), value);
            }
        }
        Ok(())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(price) = &self.price {
            map.serialize_entry("price", price)?;
        }
        if let Some(currency) = &self.currency {
            map.serialize_entry("currency", currency)?;
        }
        for (name, value) in &self.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields as an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<String>()? {
                    fields.take(&key, &mut map)?;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A value of any kind, kept only where a label can show it.
struct Loose(Option<FieldValue>);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Loose;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(Some(FieldValue::Text(text.to_owned()))))
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Loose, E> {
                Ok(Loose(Some(FieldValue::Flag(flag))))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
                Ok(Loose(Some(FieldValue::Integer(number))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(i64::try_from(number).ok().map(FieldValue::Integer)))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
                Ok(Loose(None))
            }
            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose(None))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Fields, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn known_fields_are_checked_and_others_kept() {
        let json = r#"{"name":"Furadeira 650W","price":"299.90","currency":"BRL","page":2,"sale":true,"was":"349.90"}"#;
        let fields = parse(json).unwrap();
        assert_eq!(fields.price.as_ref().unwrap().as_str(), "299.90");
        assert_eq!(fields.extra["page"], FieldValue::Integer(2));
        assert_eq!(parse(&serde_json::to_string(&fields).unwrap()), Ok(fields));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_value() {
        let error = parse(r#"{"price":"12,90"}"#).unwrap_err();
        assert!(error.starts_with("fields.price: price \"12,90\": expected a decimal string"), "{error}");
        let error = parse(r#"{"price":12.9}"#).unwrap_err();
        assert!(error.starts_with("fields.price: invalid type: floating point `12.9`, expected a price"), "{error}");
        let error = parse(r#"{"currency":"reais"}"#).unwrap_err();
        assert!(error.contains("fields.currency: currency \"reais\""), "{error}");
        assert!(
            parse(&format!(r#"{{"name":"{}"}}"#, "x".repeat(2000))).unwrap_err().contains("fields.name: 2000 bytes")
        );
    }

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(parse(r#"{"a\u0000b":1}"#).unwrap_err().contains("no control characters"));
        assert!(parse(&format!(r#"{{"{}":1}}"#, "x".repeat(65))).unwrap_err().contains("at most 64 bytes"));
    }

    #[test]
    fn what_no_label_can_show_is_ignored() {
        let fields = parse(r#"{"a":1.5,"b":null,"c":[1,[2]],"d":{"e":{}},"f":18446744073709551615}"#).unwrap();
        assert!(fields.is_empty());
    }
}

//! The JSON Schema of each message, for documents that describe the contract.
//!
//! Derived from the types where they are plain; what checks its text by hand says here what it takes. Schemas are as
//! narrow as what we write ourselves: input may spell a MAC in other ways.

use crate::{
    BatchId, CorrelationId, Currency, Fields, GatewayMac, LabelMac, Price, Reply, ResultMessage, Sku, Store, Task,
    TaskId, Timestamp, Version, Wait, command, report,
};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type},
    },
};

/// Every message and what it is made of, by name: JSON Schema of draft 2020-12, which name each other as
/// `#/components/schemas/<name>`.
pub fn schemas() -> BTreeMap<String, Value> {
    let mut found = Vec::new();
    add::<Task>(&mut found);
    add::<ResultMessage>(&mut found);
    add::<command::Command>(&mut found);
    add::<command::AnswerBody<'static>>(&mut found);
    add::<report::Body<'static>>(&mut found);
    add::<Reply>(&mut found);
    add::<Wait>(&mut found);
    let to_json = |(name, schema): (String, RefOr<Schema>)| (name, tidy(json!(schema)));
    found.into_iter().map(to_json).collect()
}

fn add<T: ToSchema>(found: &mut Vec<(String, RefOr<Schema>)>) {
    found.push((T::name().into_owned(), T::schema()));
    T::schemas(found);
}

/// What is absent is left out, never null; and documents don't link to Rust.
fn tidy(schema: Value) -> Value {
    match schema {
        Value::Object(mut object) => {
            if let Some(Value::Array(ways)) = object.get_mut("oneOf") {
                ways.retain(|way| way["type"] != "null");
                if let [only] = ways.as_slice() {
                    let only = only.clone();
                    object.remove("oneOf");
                    object.extend(only.as_object().cloned().unwrap_or_default());
                }
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|each| each != "null");
                if let [only] = types.as_slice() {
                    object["type"] = only.clone();
                }
            }
            Value::Object(object.into_iter().map(|(key, value)| (key, tidy(value))).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(tidy).collect()),
        Value::String(text) => Value::String(text.replace("[`", "`").replace("`]", "`")),
        other => other,
    }
}

fn text(description: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    text.pattern(Some(pattern)).examples([example]).into()
}

macro_rules! text_schema {
    ($($type:ident: $description:literal, $pattern:literal, $example:literal;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                text($description, $pattern, $example)
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
        }
    )+};
}

text_schema! {
    GatewayMac: "A gateway's MAC address.", "^[0-9a-f]{12}$", "00fa7e000001";
    LabelMac: "A label's MAC address.", "^[0-9a-f]{12}$", "001a2b3c4d5e";
    Store: "A store of the chain.", "^[A-Za-z0-9_-]{1,64}$", "sp-014";
    Sku: "A product, by the number that the till scans or the chain's own.", r"^[^\x00-\x1f\x7f-\x9f]{1,64}$", "7891000100103";
    TaskId: "A task's identity and idempotency key.", "^[!-~]{1,128}$", "0198c0de-1234-7000-8000-000000000000";
    BatchId: "A group of tasks whose progress is followed together.", r"^[^\x00-\x1f\x7f-\x9f]{1,128}$", "promo-2026-11";
    CorrelationId: "The identity of one RPC.", "^[A-Za-z0-9_-]{1,64}$", "01a1fd96-523c-71c9-88f6-755fd1d43d1a";
    Price: "A decimal string, never a float.", r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,4})?$", "299.90";
    Currency: "ISO 4217.", "^[A-Z]{3}$", "BRL";
}

impl PartialSchema for Version {
    fn schema() -> RefOr<Schema> {
        let number =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(Self::MAX.get() as usize));
        number.description(Some("A version of what a label shows: grows with every change, per label.")).into()
    }
}

impl ToSchema for Version {
    fn name() -> Cow<'static, str> {
        "Version".into()
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        text.description(Some("RFC 3339, in UTC.")).examples(["2026-11-21T09:00:00.123Z"]).into()
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

impl PartialSchema for Fields {
    fn schema() -> RefOr<Schema> {
        let text = |about: &str| {
            ObjectBuilder::new().schema_type(Type::String).max_length(Some(1024)).description(Some(about.to_owned()))
        };
        let named = |name: &str| RefOr::<Schema>::Ref(Ref::from_schema_name(name));
        let other = OneOfBuilder::new()
            .item(text("Text, at most 1024 bytes."))
            .item(ObjectBuilder::new().schema_type(Type::Integer).description(Some("A whole number.")))
            .item(ObjectBuilder::new().schema_type(Type::Boolean).description(Some("A flag.")));
        let about = "What a label shows, or what an action needs. Up to 32 fields besides these three are handed on to the \
                     label's template; values of other kinds are ignored.";
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(about))
            .property("name", text("The product's name as it is shown, at most 1024 bytes."))
            .property("price", named("Price"))
            .property("currency", named("Currency"))
            .additional_properties(Some(RefOr::<Schema>::from(other)))
            .into()
    }
}

impl ToSchema for Fields {
    fn name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn schemas(found: &mut Vec<(String, RefOr<Schema>)>) {
        found.push(("Price".to_owned(), Price::schema()));
        found.push(("Currency".to_owned(), Currency::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Outcome, Priority};

    #[test]
    fn every_reference_leads_somewhere_and_nothing_is_null() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(to)) = object.get("$ref") {
                        found.push(to.clone());
                    }
                    assert_ne!(object.get("type"), Some(&json!("null")));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(all) => all.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let schemas = schemas();
        let mut found = Vec::new();
        schemas.values().for_each(|schema| references(schema, &mut found));
        assert!(found.len() > 20, "{found:?}");
        for to in found {
            let name = to.strip_prefix("#/components/schemas/").unwrap_or_default();
            assert!(schemas.contains_key(name), "{to}");
        }
    }

    #[test]
    fn words_are_those_of_the_types() {
        let schemas = schemas();
        assert_eq!(schemas["Action"]["enum"], json!(Action::ALL.map(Action::as_str)));
        assert_eq!(schemas["Priority"]["enum"], json!(Priority::ALL.map(Priority::as_str)));
        assert_eq!(schemas["Outcome"]["enum"], json!(Outcome::ALL.map(Outcome::as_str)));
    }
}

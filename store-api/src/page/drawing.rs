//! A little drawing of a label's display.

use super::visitor::Visitor;
use maud::{Markup, html};
use protocol::{FieldValue, Fields, Version};

/// What a label shows or should show.
pub(crate) struct Drawn<'a> {
    pub(crate) fields: &'a Fields,
    pub(crate) version: Version,
    pub(crate) sku: Option<&'a str>,
}

/// So many further fields are drawn; a template shows few.
const EXTRA: usize = 4;

/// The display with name, price and currency, as a shopper sees it, and its version.
pub(crate) fn draw(visitor: &Visitor, drawn: Option<&Drawn<'_>>) -> Markup {
    let Some(Drawn { fields, version, sku }) = drawn else {
        return html! {
            div.epaper.blank { p { (visitor.t("Nothing", "Nada")) } }
        };
    };
    let price = visitor.language.price(fields);
    html! {
        div.epaper {
            p.name dir="auto" { (fields.name.as_deref().unwrap_or("")) }
            @for (name, value) in fields.extra.iter().take(EXTRA) {
                p.extra { span { (name) } " " (text(value)) }
            }
            p.price { (price.as_deref().unwrap_or("–")) }
            p.foot { span { (sku.unwrap_or("")) } span { "v" (version) } }
        }
    }
}

fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::Text(text) => text.clone(),
        FieldValue::Integer(number) => number.to_string(),
        FieldValue::Flag(flag) => flag.to_string(),
    }
}

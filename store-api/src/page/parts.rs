//! Small parts that several views have.

use super::{layout, visitor::Visitor};
use maud::{Markup, html};
use protocol::{GatewayMac, LabelMac, Outcome, Store, Timestamp};

/// A point in time: the script writes it in the browser's time zone, and without it it is said in UTC.
pub(crate) fn time(at: Timestamp) -> Markup {
    let text = at.to_string();
    let utc: String = text.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect();
    html! { time datetime=(text) { (utc) " UTC" } }
}

/// How long ago, with the time itself to be read by whoever wants it.
pub(crate) fn ago(visitor: &Visitor, at: Timestamp) -> Markup {
    html! { span.ago title=(at) { (visitor.language.ago(at)) } }
}

pub(crate) fn label_link(label: LabelMac) -> Markup {
    html! { a.mac href={ "/labels/" (label) } { (label) } }
}

pub(crate) fn gateway_link(store: &Store, gateway: GatewayMac) -> Markup {
    html! { a.mac href={ "/stores/" (store) "/gateways/" (gateway) } { (gateway) } }
}

/// As it is written in a path.
pub(crate) fn escaped(text: &str) -> String {
    crate::enqueue::escaped(text)
}

pub(crate) fn outcome_name(visitor: &Visitor, outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Shown => visitor.language.t("shown", "mostrado"),
        Outcome::Superseded => visitor.language.t("superseded", "substituído"),
        Outcome::Rejected => visitor.language.t("refused", "recusado"),
        Outcome::Unreachable => visitor.language.t("unreachable", "inalcançável"),
    }
}

/// An outcome with its colour.
pub(crate) fn outcome(visitor: &Visitor, outcome: Outcome) -> Markup {
    html! { span class={ "outcome " (outcome) } { (outcome_name(visitor, outcome)) } }
}

/// One number with its name.
pub(crate) fn tile(class: &str, name: &str, value: &str, more: &str) -> Markup {
    html! {
        div class={ "tile " (class) } {
            dt { (name) }
            dd { strong { (value) } @if !more.is_empty() { span { (more) } } }
        }
    }
}

/// Shares of a whole next to each other; what they are is said in text beside it.
pub(crate) fn stack(parts: &[(&str, u64)]) -> Markup {
    let whole = parts.iter().map(|(_, count)| count).sum::<u64>().max(1);
    let mut from = 0.0;
    let mut placed = Vec::with_capacity(parts.len());
    for (class, count) in parts.iter().filter(|(_, count)| *count > 0) {
        // One label in 50,000 is to be seen, too.
        let width = (*count as f64 * 1000.0 / whole as f64).max(4.0);
        placed.push((class, from, width));
        from += width;
    }
    html! {
        svg.stack viewBox={ "0 0 " (from.max(1.0)) " 10" } preserveAspectRatio="none" aria-hidden="true" {
            @for (class, at, width) in placed { rect class=(class) x=(at) width=(width) height="10" {} }
        }
    }
}

/// Nothing to list, and why that may be.
pub(crate) fn empty(title: &str, why: &str) -> Markup {
    html! { div.empty { p { strong { (title) } } p { (why) } } }
}

/// A button that posts a form to the view that it is on.
pub(crate) fn button(visitor: &Visitor, url: &str, what: &str, name: &str, class: &str) -> Markup {
    html! {
        form.inline method="post" action=(url) {
            (layout::form_key(visitor))
            button class=(class) name="what" value=(what) { (name) }
        }
    }
}

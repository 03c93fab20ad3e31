//! `/stores/{store}/actions`: who did what by the page, and who paused or cancelled what by whatever. Written before it
//! is done, so that nothing is done unwritten.

use super::{
    layout::Place,
    parts,
    show::{View, show},
    visitor::Visitor,
};
use crate::{api::Api, ask::PathOf, problem::Problem};
use axum::{extract::State, response::Response};
use backbone::{ledger::ActionTaken, service::now};
use maud::{Markup, html};
use protocol::Store;

/// So many are listed.
const MOST: u32 = 200;

struct Actions(Store);

/// What is about to be done.
pub(crate) struct Act<'a> {
    pub(crate) what: &'static str,
    pub(crate) target: &'a str,
    pub(crate) detail: &'a str,
}

/// Writes down what is about to be done, and who does it; where that fails, it must not be done.
pub(crate) async fn record(api: &Api, visitor: &Visitor, store: Option<&Store>, act: Act<'_>) -> Result<(), Problem> {
    let Act { what, target, detail } = act;
    tracing::info!(caller.name = visitor.name(), action.what = what, action.target = target, "an operator acts");
    let action = ActionTaken {
        at: now(),
        who: visitor.name().to_owned(),
        store: store.cloned(),
        what: what.to_owned(),
        target: target.to_owned(),
        detail: detail.to_owned(),
    };
    Ok(api.ledger.record_action(&action).await?)
}

/// `GET /stores/{store}/actions`
pub(crate) async fn actions(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    Ok(show(api, visitor, Actions(store)).await)
}

impl View for Actions {
    const PLACE: Place = Place::Actions;

    fn store(&self) -> Option<&Store> {
        Some(&self.0)
    }

    fn title(&self, visitor: &Visitor) -> String {
        visitor.t("Actions", "Ações").to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let mut actions = api.ledger.actions(Some(&self.0), MOST).await?;
        if visitor.may_all() {
            // Whoever may see everything sees what concerned no single store, too.
            actions.extend(api.ledger.actions(None, MOST).await?);
            actions.sort_by_key(|action| std::cmp::Reverse(action.at));
            actions.truncate(MOST as usize);
        }
        Ok(html! {
            h1 { (self.title(visitor)) }
            @if actions.is_empty() {
                (parts::empty(visitor.t("Nobody has done anything by this page yet.", "Ninguém fez nada por esta página ainda."),
                    visitor.t("Each button that is pressed is written down here, with who pressed it.",
                        "Cada botão apertado fica registrado aqui, com quem o apertou.")))
            } @else { (table(visitor, &actions)) }
        })
    }
}

fn table(visitor: &Visitor, actions: &[ActionTaken]) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            thead { tr {
                th scope="col" { (visitor.t("When", "Quando")) }
                th scope="col" { (visitor.t("Who", "Quem")) }
                th scope="col" { (visitor.t("What", "O quê")) }
                th scope="col" { (visitor.t("To what", "Em quê")) }
            } }
            tbody { @for action in actions { tr {
                td { (parts::time(action.at)) }
                th scope="row" { (action.who) }
                td { (name(visitor, &action.what)) }
                td.long { (target(action)) @if !action.detail.is_empty() { " " code { (action.detail) } } }
            } } }
        } }
    }
}

fn target(action: &ActionTaken) -> Markup {
    let batch = matches!(&*action.what, "pause" | "resume" | "cancel" | "send_again");
    match (action.target.parse(), &action.store) {
        (_, Some(store)) if batch => {
            html! { a href={ "/stores/" (store) "/batches/" (parts::escaped(&action.target)) } { (action.target) } }
        }
        (Ok(label), _) => parts::label_link(label),
        (Err(_), _) => html! { (action.target) },
    }
}

fn name<'a>(visitor: &Visitor, what: &'a str) -> &'a str {
    match what {
        "blink" => visitor.language.t("let it blink", "fez piscar"),
        "ping" => visitor.language.t("pinged", "chamou"),
        "repair" => visitor.language.t("sent again", "enviou de novo"),
        "send_again" => visitor.language.t("sent failures again", "reenviou as falhas"),
        "pause" => visitor.language.t("paused", "pausou"),
        "resume" => visitor.language.t("resumed", "retomou"),
        "cancel" => visitor.language.t("cancelled", "cancelou"),
        "bind" => visitor.language.t("bound", "vinculou"),
        "unbind" => visitor.language.t("unbound", "desvinculou"),
        "replay" => visitor.language.t("replayed dead letters", "reenviou tarefas mortas"),
        other => other,
    }
}

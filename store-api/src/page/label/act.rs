//! Letting a label blink, pinging it, sending it its newest version again; and what came back.

use super::{Label, Seen, known, unknown};
use crate::{
    api::Api,
    ask::PathOf,
    page::{
        actions::{Act, record},
        cause,
        door::FormOf,
        parts::{self, button},
        visitor::Visitor,
    },
    problem::Problem,
};
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use backbone::queue;
use maud::{Markup, html};
use protocol::{Action, LabelMac, Outcome, ResultMessage, Task, TaskId};
use serde::Deserialize;
use uuid::Uuid;

/// Whoever pressed a button does not wait longer.
const PATIENCE_MS: u64 = 30_000;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    what: String,
}

impl Label {
    pub(super) fn buttons(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let url = format!("/labels/{}", self.label);
        html! {
            div.buttons {
                @if self.store.is_some() {
                    (button(visitor, &url, "blink", visitor.t("Blink", "Piscar"), ""))
                    (button(visitor, &url, "ping", "Ping", ""))
                    @if seen.record.desired.is_some() {
                        (button(visitor, &url, "repair", visitor.t("Send again", "Enviar de novo"), ""))
                    }
                }
            }
            @if self.asked.task.is_some() { (self.came_back(visitor, seen.answer.as_ref())) }
        }
    }

    /// What came back to whoever pressed a button.
    fn came_back(&self, visitor: &Visitor, answer: Option<&ResultMessage>) -> Markup {
        let language = visitor.language;
        let what = match self.asked.what.as_deref() {
            Some("blink") => language.t("Blink", "Piscar"),
            Some("repair") => language.t("Send again", "Enviar de novo"),
            _ => "Ping",
        };
        let came = |ended: &ResultMessage| {
            let gateway = ended.gateway.map_or_else(|| "–".to_owned(), |gateway| gateway.to_string());
            let took = language.millis(ended.latency_ms);
            match ended.outcome {
                Outcome::Shown => format!(
                    "{} {gateway}, {took}",
                    language.t("the label answered through", "a etiqueta respondeu por")
                ),
                outcome => {
                    let reason = cause::reason(visitor.language, ended.reason.as_deref().unwrap_or("–"));
                    format!("{}: {reason} ({gateway}, {took})", parts::outcome_name(visitor, outcome))
                }
            }
        };
        let class = match answer.map(|ended| ended.outcome) {
            None => "waiting",
            Some(Outcome::Shown) => "good",
            Some(_) => "bad",
        };
        html! {
            p class={ "notice " (class) } role="status" {
                strong { (what) ": " }
                @match answer {
                    Some(ended) => (came(ended)),
                    None => (language.t("waiting for the gateway…", "aguardando o gateway…")),
                }
            }
        }
    }
}

/// `POST /labels/{label}`: enqueues what was asked for, and shows what comes of it.
pub(crate) async fn act(
    State(api): State<Api>,
    PathOf(label): PathOf<LabelMac>,
    visitor: Visitor,
    FormOf(Wanted { what }): FormOf<Wanted>,
) -> Result<Response, Problem> {
    let record_of = known(&api, &visitor, label).await?;
    let store = record_of.and_then(|record| record.store).ok_or_else(|| unknown(&visitor, label))?;
    let publisher = api.publisher.borrow().clone();
    let publisher = publisher.ok_or_else(|| {
        Problem::unavailable(
            visitor.t("the broker is away, so nothing was sent", "o broker está fora, então nada foi enviado"),
        )
    })?;
    let (name, action) = match what.as_str() {
        "blink" => ("blink", Action::Blink),
        "ping" => ("ping", Action::Ping),
        "repair" => ("repair", Action::Repair),
        other => return Err(Problem::unprocessable(format!("what {other:?}: expected blink, ping or repair"))),
    };
    record(&api, &visitor, Some(&store), Act { what: name, target: &label.to_string(), detail: "" }).await?;
    let id = TaskId::repair(Uuid::now_v7());
    let task = Task { store, action, timeout_ms: Some(PATIENCE_MS), ..Task::repair(id, label) };
    queue::enqueue(&publisher, task.priority, &serde_json::to_vec(&task).unwrap_or_default()).await?;
    let there = format!("/labels/{label}?what={name}&task={}", task.task_id);
    Ok(Redirect::to(&there).into_response())
}

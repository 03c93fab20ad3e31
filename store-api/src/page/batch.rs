//! `/stores/{store}/batches/{batch}`: how far it is, what holds it up; pausing, resuming and cancelling it, and sending
//! its failures again.

use super::{
    actions::{Act, record},
    batches::{bar, failed, state},
    cause,
    door::FormOf,
    layout::{Place, form_key},
    parts::{self, button, escaped, tile},
    show::{View, show},
    visitor::Visitor,
    window::Windows,
};
use crate::{
    api::Api,
    batches::{BatchView, look},
    control::decide,
    problem::Problem,
};
use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use backbone::{
    ledger::{BatchControl, BatchKey, Enqueued},
    queue,
    service::now,
};
use futures::future::try_join_all;
use maud::{Markup, html};
use protocol::{Action, BatchId, BatchState, GatewayMac, LabelMac, MAX_LABELS_PER_TASK, Store, Task, TaskId};
use serde::Deserialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// So many labels that wait are looked at, to say what holds them up.
const MOST_WAITING: u32 = 5_000;
/// So many labels are listed.
const LISTED: usize = 50;

#[derive(Deserialize)]
pub(crate) struct Asked {
    confirm: Option<Question>,
}

/// What is done only by those who have confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    SendAgain,
    Cancel,
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    what: What,
    /// To how many labels the failures are to be sent again, as was confirmed.
    count: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Pause,
    Resume,
    Cancel,
    SendAgain,
}

struct Batch {
    store: Store,
    batch: BatchId,
    confirm: Option<Question>,
}

/// `GET /stores/{store}/batches/{batch}`
pub(crate) async fn batch(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    Query(asked): Query<Asked>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let (store, batch) = read(&visitor, &path)?;
    Ok(show(api, visitor, Batch { store, batch, confirm: asked.confirm }).await)
}

fn read(visitor: &Visitor, (store, batch): &(String, String)) -> Result<(Store, BatchId), Problem> {
    let wrong = |error: protocol::TextError| Problem::not_found(error.to_string());
    let (store, batch) = (store.parse().map_err(wrong)?, batch.parse().map_err(wrong)?);
    visitor.demand(&store)?;
    Ok((store, batch))
}

/// What the view shows besides the batch's own numbers.
struct Seen {
    view: BatchView,
    control: Option<BatchControl>,
    /// By the gateway that hears them best.
    held_up: Vec<(Option<GatewayMac>, u64)>,
    windows: Windows,
    waiting: Vec<LabelMac>,
    failed: Vec<LabelMac>,
    reasons: Vec<String>,
}

impl View for Batch {
    const PLACE: Place = Place::Batches;

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn title(&self, visitor: &Visitor) -> String {
        format!("{} {}", visitor.t("Batch", "Lote"), self.batch)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
        let view = look(api, &self.batch, caller).await?;
        let key = self.key();
        let control = api.ledger.controls_of(std::slice::from_ref(&key)).await?.remove(&key);
        let waiting = api.ledger.waiting_in(&self.store, &self.batch, MOST_WAITING).await?;
        let failed = api.ledger.failed_in(&self.store, &self.batch, MAX_LABELS_PER_TASK as u32).await?;
        let survey = api.surveys.of(api, &self.store).await?;
        let mut held_up: BTreeMap<Option<GatewayMac>, u64> = BTreeMap::new();
        for label in &waiting {
            *held_up.entry(survey.best.get(label).copied()).or_default() += 1;
        }
        let mut held_up: Vec<_> = held_up.into_iter().collect();
        held_up.sort_by_key(|(_, labels)| std::cmp::Reverse(*labels));
        let windows = Windows::read(api).await?;
        let latest = failed.iter().take(LISTED).map(|label| api.ledger.history(*label, 1));
        let reason = |mut history: Vec<protocol::ResultMessage>| history.pop().and_then(|ended| ended.reason);
        let reasons =
            try_join_all(latest).await?.into_iter().map(|history| reason(history).unwrap_or_default()).collect();
        Ok(self.draw(visitor, &Seen { view, control, held_up, windows, waiting, failed, reasons }))
    }
}

impl Batch {
    fn key(&self) -> BatchKey {
        BatchKey { store: self.store.clone(), batch: self.batch.clone() }
    }

    fn url(&self) -> String {
        format!("/stores/{}/batches/{}", self.store, escaped(self.batch.as_str()))
    }

    fn draw(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        html! {
            p.trail { a href={ "/stores/" (self.store) "/batches" } { (visitor.t("Batches", "Lotes")) } }
            h1.long dir="auto" { (visitor.t("Batch", "Lote")) " " (self.batch) }
            @match self.confirm {
                Some(Question::SendAgain) => (self.confirm_sending(visitor, seen.failed.len())),
                Some(Question::Cancel) if seen.may_be_held() => (self.confirm_cancelling(visitor, &seen.view)),
                _ => {}
            }
            (progress(visitor, seen))
            (self.buttons(visitor, seen))
            div.columns {
                section.card { (balance(visitor, &seen.view)) }
                section.card { (self.holders(visitor, seen)) }
                section.card { (self.failures(visitor, seen)) }
            }
        }
    }

    fn buttons(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let url = self.url();
        html! {
            @if seen.may_be_held() {
                div.buttons {
                    @if seen.state() == BatchState::Paused {
                        (button(visitor, &url, "resume", visitor.t("Resume", "Retomar"), "primary"))
                    } @else {
                        (button(visitor, &url, "pause", visitor.t("Pause", "Pausar"), ""))
                    }
                    a.button href={ (url) "?confirm=cancel" } { (visitor.t("Cancel what is left…", "Cancelar o que resta…")) }
                }
            }
        }
    }

    fn confirm_cancelling(&self, visitor: &Visitor, view: &BatchView) -> Markup {
        let left = view.waiting.map(|waiting| visitor.language.labels(waiting));
        html! {
            section.confirm role="alertdialog" aria-labelledby="question" {
                h2 #question {
                    @match left {
                        Some(left) => { (visitor.t("Cancel what is not yet done: ", "Cancelar o que falta: ")) (left) "?" }
                        None => (visitor.t("Cancel whatever is not yet done?", "Cancelar tudo o que falta?")),
                    }
                }
                p { (visitor.t("These labels keep what they show, and end as refused. What a gateway has in hand ends as it ends. This can't be undone.",
                    "Essas etiquetas mantêm o que mostram e terminam como recusadas. O que um gateway já tem termina como terminar. Isto não pode ser desfeito.")) }
                form method="post" action=(self.url()) {
                    (form_key(visitor))
                    button.primary name="what" value="cancel" { (visitor.t("Cancel the batch", "Cancelar o lote")) }
                    a.button href=(self.url()) { (visitor.t("Don't", "Não")) }
                }
            }
        }
    }

    fn confirm_sending(&self, visitor: &Visitor, count: usize) -> Markup {
        let labels = visitor.language.labels(count as u64);
        html! {
            section.confirm role="alertdialog" aria-labelledby="question" {
                h2 #question { (visitor.t("Send again to ", "Enviar de novo a ")) (labels) "?" }
                p { (visitor.t("Each is driven to the newest version that it should show, as a batch of its own.",
                    "Cada uma será levada à versão mais nova que deve mostrar, como um lote próprio.")) }
                form method="post" action=(self.url()) {
                    (form_key(visitor))
                    input type="hidden" name="count" value=(count);
                    button.primary name="what" value="send_again" { (visitor.t("Send again", "Enviar de novo")) }
                    a.button href=(self.url()) { (visitor.t("Don't", "Não")) }
                }
            }
        }
    }

    fn holders(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        let language = visitor.language;
        html! {
            h2 { (visitor.t("What holds it up", "O que o atrasa")) }
            @if seen.waiting.is_empty() {
                p.fine { (visitor.t("No label of it is with a gateway now.", "Nenhuma etiqueta dele está com um gateway agora.")) }
            } @else {
                div.scroll tabindex="0" { table {
                    thead { tr {
                        th scope="col" { "Gateway" }
                        th scope="col" { (visitor.t("State", "Estado")) }
                        th.number scope="col" { (visitor.t("In flight", "Em voo")) }
                        th.number scope="col" { (visitor.t("Line", "Fila")) }
                        th.number scope="col" { (visitor.t("Labels not yet done", "Etiquetas por fazer")) }
                    } }
                    tbody { @for (gateway, labels) in &seen.held_up { tr {
                        th scope="row" {
                            @match gateway {
                                Some(gateway) => (parts::gateway_link(&self.store, *gateway)),
                                None => (visitor.t("none hears them", "nenhum as ouve")),
                            }
                        }
                        @match gateway {
                            Some(gateway) => {
                                td { (seen.windows.health(visitor, *gateway)) }
                                td.number { (seen.windows.in_flight(visitor, *gateway)) }
                                td.number { (seen.windows.line(visitor, *gateway)) }
                            }
                            None => { td { "–" } td.number { "–" } td.number { "–" } }
                        }
                        td.number { (language.number(*labels)) }
                    } } }
                } }
                h3 { (visitor.t("Not yet done", "Por fazer")) }
                p.macs { @for label in seen.waiting.iter().take(LISTED) { (parts::label_link(*label)) " " } }
                (more(visitor, seen.waiting.len()))
            }
        }
    }

    fn failures(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        html! {
            h2 { (visitor.t("Still not right", "Ainda não certas")) }
            @if seen.failed.is_empty() {
                p.fine { (visitor.t("No label that it failed on is still out of date.", "Nenhuma etiqueta em que falhou continua desatualizada.")) }
            } @else {
                @if seen.state() == BatchState::Cancelled {
                    p.fine { (visitor.t("What was cancelled is not sent again: send prices that they should show.",
                        "O que foi cancelado não é enviado de novo: envie os preços que elas devem mostrar.")) }
                } @else {
                    p { a.button href={ (self.url()) "?confirm=send_again" } {
                        (visitor.t("Send again to ", "Enviar de novo a ")) (visitor.language.labels(seen.failed.len() as u64)) "…"
                    } }
                }
                table {
                    thead { tr {
                        th scope="col" { (visitor.t("Label", "Etiqueta")) }
                        th scope="col" { (visitor.t("Why", "Por quê")) }
                    } }
                    tbody { @for (label, reason) in seen.failed.iter().zip(&seen.reasons) { tr {
                        th scope="row" { (parts::label_link(*label)) }
                        td.long { (cause::reason(visitor.language, reason)) }
                    } } }
                }
                (more(visitor, seen.failed.len()))
            }
        }
    }
}

fn more(visitor: &Visitor, all: usize) -> Markup {
    html! {
        @if all > LISTED {
            p { (visitor.t("and more: ", "e mais: ")) (visitor.language.labels((all - LISTED) as u64)) }
        }
    }
}

impl Seen {
    fn state(&self) -> BatchState {
        self.control.as_ref().map(|control| control.state).unwrap_or_default()
    }

    /// There may be something left to pause or to cancel.
    fn may_be_held(&self) -> bool {
        !self.view.complete && self.state() != BatchState::Cancelled
    }
}

/// Who has paused or cancelled it, and what that means.
fn held(visitor: &Visitor, seen: &Seen) -> Markup {
    let Some(control) = seen.control.as_ref().filter(|control| control.state != BatchState::Running) else {
        return html! {};
    };
    let what = match control.state {
        BatchState::Cancelled => visitor.t("Cancelled by ", "Cancelado por "),
        _ => visitor.t("Paused by ", "Pausado por "),
    };
    html! {
        p { (what) strong { (control.by) } ", " (parts::ago(visitor, control.at)) ". "
            @if seen.state() == BatchState::Paused && !seen.view.complete {
                (visitor.t("Nothing of it is sent, and no label runs out of time, until it is resumed.",
                    "Nada dele é enviado, e nenhuma etiqueta perde prazo, até que seja retomado."))
            }
        }
    }
}

fn progress(visitor: &Visitor, seen: &Seen) -> Markup {
    let (language, view) = (visitor.language, &seen.view);
    let is_running = seen.state() == BatchState::Running;
    let unknown = || "–".to_owned();
    let class = if seen.may_be_held() && !is_running {
        "blank"
    } else if failed(view) > 0 {
        "late"
    } else if view.complete {
        "right"
    } else {
        "moving"
    };
    let labels = view.labels.map_or_else(unknown, |labels| language.number(labels));
    let rate = view.labels_per_second.map_or_else(unknown, |rate| language.decimal(rate, 1));
    let eta = view
        .eta_seconds
        .filter(|_| !view.complete && is_running)
        .map(|seconds| language.millis((seconds * 1e3) as u64));
    html! {
        section class={ "verdict " (class) } {
            p.sentence aria-live="polite" { (state(visitor, view, seen.control.as_ref())) }
            (held(visitor, seen))
            (bar(view))
            dl.tiles {
                (tile("", visitor.t("Labels done", "Etiquetas feitas"), &language.number(view.done), &format!("/ {labels}")))
                (tile("", visitor.t("Rate", "Taxa"), &rate, visitor.t("labels/s", "etiquetas/s")))
                @if let Some(eta) = eta { (tile("", visitor.t("Done in about", "Pronto em cerca de"), &eta, "")) }
                @if let Some(at) = view.enqueued_at { (tile("", visitor.t("Sent", "Enviado"), &language.ago(at), "")) }
                @if let Some(at) = view.last_ended_at { (tile("", visitor.t("Latest label", "Última etiqueta"), &language.ago(at), "")) }
            }
        }
    }
}

fn balance(visitor: &Visitor, view: &BatchView) -> Markup {
    let language = visitor.language;
    html! {
        h2 { (visitor.t("Balance", "Balanço")) }
        table.balance {
            tbody {
                @for (outcome, labels) in &view.outcomes { tr {
                    th scope="row" { (parts::outcome(visitor, *outcome)) }
                    td.number { (language.number(*labels)) }
                    td.number { (language.percent(*labels, view.labels.unwrap_or(view.done))) }
                } }
                @if let Some(waiting) = view.waiting { tr {
                    th scope="row" { (visitor.t("not yet done", "por fazer")) }
                    td.number { (language.number(waiting)) }
                    td.number { (language.percent(waiting, view.labels.unwrap_or(0))) }
                } }
            }
        }
    }
}

/// `POST /stores/{store}/batches/{batch}`
pub(crate) async fn change(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    visitor: Visitor,
    FormOf(Wanted { what, count }): FormOf<Wanted>,
) -> Result<Response, Problem> {
    let (store, batch) = read(&visitor, &path)?;
    let this = Batch { store, batch, confirm: None };
    let state = match what {
        What::SendAgain => return send_again(&api, &visitor, this, count.unwrap_or(0)).await,
        What::Pause => BatchState::Paused,
        What::Resume => BatchState::Running,
        What::Cancel => BatchState::Cancelled,
    };
    let Some(caller) = &visitor.caller else { return Err(Problem::forbidden("")) };
    decide(&api, caller, this.key(), state).await?;
    Ok(Redirect::to(&this.url()).into_response())
}

/// Drives what it failed on to the newest version, as a batch of its own.
async fn send_again(api: &Api, visitor: &Visitor, this: Batch, count: usize) -> Result<Response, Problem> {
    let labels = api.ledger.failed_in(&this.store, &this.batch, MAX_LABELS_PER_TASK as u32).await?;
    if labels.len() != count || labels.is_empty() {
        // Not what was confirmed: it is asked again, with the number of this moment.
        return Ok(Redirect::to(&format!("{}?confirm=send_again", this.url())).into_response());
    }
    let publisher = api.publisher.borrow().clone();
    let publisher = publisher.ok_or_else(|| Problem::unavailable("the broker is away, so nothing was sent"))?;
    let id = Uuid::now_v7();
    let again: BatchId = again(&this.batch, id)?;
    let act = Act { what: "send_again", target: this.batch.as_str(), detail: &format!("{again}: {count} labels") };
    record(api, visitor, Some(&this.store), act).await?;
    let enqueued = Enqueued {
        key: format!("p-{id}"),
        store: this.store.clone(),
        batch: again.clone(),
        digest: String::new(),
        at: now(),
        tasks: 1,
        labels: count as u64,
        confirmed: false,
    };
    api.ledger.begin_enqueueing(&enqueued).await?;
    let task = Task {
        task_id: TaskId::repair(id),
        store: this.store.clone(),
        action: Action::Repair,
        labels: Some(labels),
        batch: Some(again.clone()),
        ..Task::repair(TaskId::repair(id), LabelMac::from_octets([0; 6]))
    };
    queue::enqueue(&publisher, task.priority, &serde_json::to_vec(&task).unwrap_or_default()).await?;
    api.ledger.confirm_enqueued(&this.store, &enqueued.key).await?;
    let there = Batch { batch: again, ..this };
    Ok(Redirect::to(&there.url()).into_response())
}

/// The name of what is sent again: by whom it was sent first, as far as there is room, and what tells it apart.
fn again(batch: &BatchId, id: Uuid) -> Result<BatchId, Problem> {
    const ROOM: usize = 110;
    let mut name = batch.as_str();
    while name.len() > ROOM {
        name = name.char_indices().next_back().map_or("", |(at, _)| &name[..at]);
    }
    let apart = &id.simple().to_string()[24..];
    format!("{name}-again-{apart}").parse().map_err(|error: protocol::TextError| Problem::bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_has_a_name_that_fits() {
        let id = Uuid::now_v7();
        assert!(again(&"promo".parse().unwrap(), id).unwrap().as_str().starts_with("promo-again-"));
        let long: BatchId = "ç".repeat(64).parse().unwrap();
        assert!(again(&long, id).unwrap().as_str().starts_with("çççç"));
    }
}

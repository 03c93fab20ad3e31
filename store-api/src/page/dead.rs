//! `/dead-letters`: the tasks that could not be used, why, and sending them again.

use super::{
    actions::{Act, record},
    door::FormOf,
    layout::{Place, form_key},
    parts,
    show::{View, show},
    visitor::Visitor,
};
use crate::{api::Api, ask::QueryOf, problem::Problem};
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use backbone::queue::{self, DeadLetter, Replayed};
use maud::{Markup, html};
use protocol::{Store, TaskId};
use serde::Deserialize;

/// So many are looked at.
const MOST: u16 = 1_000;
/// So many are listed.
const LISTED: usize = 100;
/// So much of a task is shown.
const SHOWN_BYTES: usize = 2_048;
const NAME: &str = "store-api";

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// Where the visitor comes from.
    store: Option<Store>,
    #[serde(default)]
    confirm: bool,
    replayed: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct Which {
    /// One task's; else all.
    task: Option<TaskId>,
    /// How many all were.
    count: Option<usize>,
    store: Option<Store>,
}

struct DeadLetters(Asked);

struct Letter {
    task: Option<TaskId>,
    store: Option<Store>,
    reason: String,
    body: String,
}

/// `GET /dead-letters`
pub(crate) async fn dead_letters(State(api): State<Api>, QueryOf(asked): QueryOf<Asked>, visitor: Visitor) -> Response {
    show(api, visitor, DeadLetters(asked)).await
}

fn may_see(visitor: &Visitor, letter: &DeadLetter) -> bool {
    visitor.may_all() || letter.store().is_some_and(|store| visitor.may(&store))
}

async fn look(api: &Api, visitor: &Visitor) -> Result<(u32, Vec<Letter>), Problem> {
    let _alone = api.dead_letters.lock().await;
    let mut letters = Vec::new();
    let each = |letter: &DeadLetter| letters.extend(may_see(visitor, letter).then(|| Letter::from(letter)));
    let total = queue::look(&api.amqp_url, NAME, MOST, each).await?;
    Ok((total, letters))
}

impl View for DeadLetters {
    const PLACE: Place = Place::DeadLetters;
    /// Looking holds them, so it is done only for whoever asks.
    const IS_LIVE: bool = false;

    fn store(&self) -> Option<&Store> {
        self.0.store.as_ref()
    }

    fn title(&self, visitor: &Visitor) -> String {
        visitor.t("Dead letters", "Tarefas mortas").to_owned()
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let (total, letters) = look(api, visitor).await?;
        let language = visitor.language;
        Ok(html! {
            h1 { (self.title(visitor)) }
            p { (visitor.t("Tasks that no worker could use. Mend what is named here, then send them again; a task that is sent twice is carried out once.",
                "Tarefas que nenhum worker pôde usar. Corrija o que está indicado e envie de novo; uma tarefa enviada duas vezes é feita uma vez.")) }
            @if let Some(count) = self.0.replayed {
                p.notice role="status" { (language.count(count, ["task was sent again.", "tasks were sent again."],
                    ["tarefa foi enviada de novo.", "tarefas foram enviadas de novo."])) }
            }
            @if self.0.confirm && !letters.is_empty() { (self.confirmation(visitor, letters.len())) }
            @if letters.is_empty() {
                (parts::empty(visitor.t("There are none.", "Não há nenhuma."),
                    visitor.t("Every task that came could be used.", "Toda tarefa que chegou pôde ser usada.")))
            } @else {
                p { a.button href=(self.url(true)) {
                    (visitor.t("Send all again: ", "Enviar todas de novo: ")) (language.number(letters.len() as u64)) "…"
                } " " a href=(self.url(false)) { (visitor.t("Look again", "Olhar de novo")) } }
                (self.table(visitor, &letters))
                @if total as usize > letters.len().min(LISTED) {
                    p.fine { (visitor.t("In all: ", "Ao todo: ")) (language.number(total.into())) }
                }
            }
        })
    }
}

impl DeadLetters {
    fn url(&self, confirm: bool) -> String {
        let store = self.0.store.as_ref().map(|store| format!("store={store}"));
        let confirm = confirm.then(|| "confirm=true".to_owned());
        let query: Vec<_> = store.into_iter().chain(confirm).collect();
        format!("/dead-letters?{}", query.join("&"))
    }

    fn confirmation(&self, visitor: &Visitor, count: usize) -> Markup {
        let number = visitor.language.number(count as u64);
        html! {
            section.confirm role="alertdialog" aria-labelledby="question" {
                h2 #question { (visitor.t("Send again all ", "Enviar de novo todas as ")) (number) "?" }
                form method="post" action="/dead-letters" {
                    (form_key(visitor))
                    (self.from())
                    input type="hidden" name="count" value=(count);
                    button.primary { (visitor.t("Send all again", "Enviar todas de novo")) }
                    a.button href=(self.url(false)) { (visitor.t("Don't", "Não")) }
                }
            }
        }
    }

    fn from(&self) -> Markup {
        html! { @if let Some(store) = &self.0.store { input type="hidden" name="store" value=(store); } }
    }

    fn table(&self, visitor: &Visitor, letters: &[Letter]) -> Markup {
        html! {
            ul.letters { @for letter in letters.iter().take(LISTED) { li.card {
                p.reason { (letter.reason) }
                p.fine {
                    (visitor.t("Task ", "Tarefa ")) code { (letter.task.as_ref().map_or("–", TaskId::as_str)) }
                    @if let Some(store) = &letter.store { ", " (visitor.t("store ", "loja ")) (store) }
                }
                details { summary { (visitor.t("The task as it was sent", "A tarefa como foi enviada")) } pre tabindex="0" { (letter.body) } }
                @if let Some(task) = &letter.task {
                    form.inline method="post" action="/dead-letters" {
                        (form_key(visitor))
                        (self.from())
                        button name="task" value=(task) { (visitor.t("Send again", "Enviar de novo")) }
                    }
                }
            } } }
        }
    }
}

/// `POST /dead-letters`: sends one again, or all, if they are still as many as were confirmed.
pub(crate) async fn replay(
    State(api): State<Api>,
    visitor: Visitor,
    FormOf(which): FormOf<Which>,
) -> Result<Response, Problem> {
    let back = DeadLetters(Asked { store: which.store.clone(), confirm: false, replayed: None });
    if let (None, Some(count)) = (&which.task, which.count)
        && look(&api, &visitor).await?.1.len() != count
    {
        return Ok(Redirect::to(&back.url(true)).into_response());
    }
    if which.task.is_none() && which.count.is_none() {
        return Err(Problem::unprocessable("neither a task nor a count: open the page again"));
    }
    let target = which.task.as_ref().map_or("all", TaskId::as_str);
    let detail = which.count.map_or_else(String::new, |count| count.to_string());
    record(&api, &visitor, which.store.as_ref(), Act { what: "replay", target, detail: &detail }).await?;
    let wanted = |letter: &DeadLetter| {
        may_see(&visitor, letter) && which.task.as_ref().is_none_or(|task| letter.task_id().as_ref() == Some(task))
    };
    let _alone = api.dead_letters.lock().await;
    let mut replayed = Replayed::default();
    queue::replay(&api.amqp_url, NAME, wanted, &mut replayed).await?;
    let separator = if which.store.is_some() { "&" } else { "" };
    Ok(Redirect::to(&format!("{}{separator}replayed={}", back.url(false), replayed.tasks.len())).into_response())
}

impl From<&DeadLetter> for Letter {
    fn from(letter: &DeadLetter) -> Self {
        let body = letter.body();
        let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
        Self { task: letter.task_id(), store: letter.store(), reason: letter.reason().to_owned(), body }
    }
}

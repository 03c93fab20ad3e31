//! What is done only by those who have confirmed it, and what needs no confirmation.

use super::{Batch, Seen};
use crate::{
    batches::BatchView,
    page::{layout::form_key, parts::button, visitor::Visitor},
};
use maud::{Markup, html};
use protocol::BatchState;
use serde::Deserialize;

/// What is done only by those who have confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    SendAgain,
    Cancel,
}

impl Batch {
    pub(super) fn buttons(&self, visitor: &Visitor, seen: &Seen) -> Markup {
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

    pub(super) fn confirm_cancelling(&self, visitor: &Visitor, view: &BatchView) -> Markup {
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

    pub(super) fn confirm_sending(&self, visitor: &Visitor, count: usize) -> Markup {
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
}

//! Why a label does not show what it should, in the words of a person who can do something about it.

use super::language::Language;
use backbone::ledger::Standing;
use protocol::{CANCELLED, Outcome, Timestamp};
use std::{borrow::Cow, collections::BTreeMap};

/// Kinds of reasons that call for different hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Unheard,
    Silent,
    Busy,
    Battery,
    Refused,
    Cancelled,
    Other,
}

impl Cause {
    pub(crate) const ALL: [Self; 7] =
        [Self::Unheard, Self::Silent, Self::Busy, Self::Battery, Self::Refused, Self::Cancelled, Self::Other];

    /// By how the label's task ended.
    pub(crate) fn of(outcome: Outcome, reason: Option<&str>) -> Self {
        let reason = reason.unwrap_or("");
        let says = |word: &str| reason.contains(word);
        let busy = ["the gateway answered", "another command", "no time was left", "no place at", "keeps failing"];
        match outcome {
            Outcome::Rejected if says("battery") => Self::Battery,
            Outcome::Rejected if reason == CANCELLED => Self::Cancelled,
            Outcome::Rejected => Self::Refused,
            Outcome::Unreachable if says("no gateway") || says("is gone") => Self::Unheard,
            Outcome::Unreachable if says("no answer") => Self::Silent,
            Outcome::Unreachable if busy.iter().any(|text| says(text)) => Self::Busy,
            Outcome::Unreachable | Outcome::Superseded | Outcome::Shown => Self::Other,
        }
    }

    /// In a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Silent => "silent",
            Self::Busy => "busy",
            Self::Battery => "battery",
            Self::Refused => "refused",
            Self::Cancelled => CANCELLED,
            Self::Other => "other",
        }
    }

    pub(crate) fn of_str(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    pub(crate) fn name(self, language: Language) -> &'static str {
        match self {
            Self::Unheard => language.t("No gateway hears it", "Nenhum gateway a ouve"),
            Self::Silent => language.t("The gateway does not answer", "O gateway não responde"),
            Self::Busy => language.t("The gateway is overloaded", "O gateway está sobrecarregado"),
            Self::Battery => language.t("Its battery is empty", "A bateria está vazia"),
            Self::Refused => language.t("Label or gateway refuse", "Etiqueta ou gateway recusam"),
            Self::Cancelled => language.t("Its batch was cancelled", "O lote dela foi cancelado"),
            Self::Other => language.t("Something else", "Outra causa"),
        }
    }

    /// What to do about it.
    pub(crate) fn advice(self, language: Language) -> &'static str {
        match self {
            Self::Unheard => language.t(
                "Look whether a gateway is offline, or the label was carried away.",
                "Veja se um gateway está fora do ar ou se a etiqueta foi levada embora.",
            ),
            Self::Silent => language.t("Restart the gateway that hears it.", "Reinicie o gateway que a ouve."),
            Self::Busy => language.t(
                "It is sent again by itself; more gateways would help.",
                "Será enviado de novo sozinho; mais gateways ajudariam.",
            ),
            Self::Battery => {
                language.t("Change the battery, then ping the label.", "Troque a bateria e chame a etiqueta.")
            }
            Self::Refused => {
                language.t("The reason is in the label's history.", "O motivo está no histórico da etiqueta.")
            }
            Self::Cancelled => language.t(
                "It keeps what it shows; send a price that it should show.",
                "Ela mantém o que mostra; envie um preço que ela deva mostrar.",
            ),
            Self::Other => language.t("See the label's history.", "Veja o histórico da etiqueta."),
        }
    }
}

/// Why a label ended so, as the worker has recorded it; a gateway's own words stay as they are.
pub(crate) fn reason(language: Language, recorded: &str) -> Cow<'_, str> {
    if recorded == CANCELLED {
        return language.t("the batch was cancelled", "o lote foi cancelado").into();
    }
    if language == Language::English {
        return recorded.into();
    }
    if let Some(error) = recorded.strip_prefix("the gateway answered ") {
        return format!("o gateway respondeu {error}").into();
    }
    if let Some(version) = recorded.strip_prefix("version ").and_then(|rest| rest.strip_suffix(" is desired")) {
        return format!("deseja-se a versão {version}").into();
    }
    match recorded {
        "no answer from the gateway" => "sem resposta do gateway",
        "no gateway hears the label" => "nenhum gateway ouve a etiqueta",
        "no gateway hears the label, or none answers" => "nenhum gateway ouve a etiqueta, ou nenhum responde",
        "no place at the gateway came free" => "nenhum lugar no gateway ficou livre",
        "the gateway keeps failing, and is left alone for a while" => "o gateway segue falhando e fica em repouso",
        "another command to the label was under way" => "outro comando para a etiqueta estava em andamento",
        "a newer version was started" => "uma versão mais nova já foi iniciada",
        "no time was left when the command was to be sent" => "não havia mais tempo para enviar o comando",
        "no time was left when its batch was resumed" => "não havia mais tempo quando o lote foi retomado",
        other => other,
    }
    .into()
}

/// Labels out of date for the same cause.
pub(crate) struct Group {
    pub(crate) cause: Cause,
    pub(crate) labels: u64,
    pub(crate) since: Timestamp,
}

/// A store's labels that are out of date by cause, the most frequent first.
pub(crate) fn groups(standing: &Standing) -> Vec<Group> {
    let mut by_cause: BTreeMap<Cause, Group> = BTreeMap::new();
    for counted in &standing.causes {
        let cause = Cause::of(counted.outcome, counted.reason.as_deref());
        let group = by_cause.entry(cause).or_insert(Group { cause, labels: 0, since: counted.since });
        group.labels += counted.labels;
        group.since = group.since.min(counted.since);
    }
    let mut groups: Vec<_> = by_cause.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.labels));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_in_the_readers_language() {
        let said = |recorded| reason(Language::Portuguese, recorded).into_owned();
        assert_eq!(said("no answer from the gateway"), "sem resposta do gateway");
        assert_eq!(said("the gateway answered queue_full"), "o gateway respondeu queue_full");
        assert_eq!(said("version 7 is desired"), "deseja-se a versão 7");
        assert_eq!(said("insufficient_battery"), "insufficient_battery");
        assert_eq!(reason(Language::English, "no answer from the gateway"), "no answer from the gateway");
        assert_eq!(reason(Language::English, CANCELLED), "the batch was cancelled");
    }

    #[test]
    fn what_a_worker_records_has_its_cause() {
        let of = |outcome, reason| Cause::of(outcome, Some(reason));
        assert_eq!(of(Outcome::Rejected, "insufficient_battery"), Cause::Battery);
        assert_eq!(of(Outcome::Rejected, "invalid_parameters"), Cause::Refused);
        assert_eq!(of(Outcome::Rejected, "cancelled"), Cause::Cancelled);
        assert_eq!(of(Outcome::Unreachable, "no gateway hears the label"), Cause::Unheard);
        assert_eq!(of(Outcome::Unreachable, "no answer from the gateway"), Cause::Silent);
        assert_eq!(of(Outcome::Unreachable, "the gateway answered queue_full"), Cause::Busy);
        assert_eq!(of(Outcome::Unreachable, "another command to the label was under way"), Cause::Busy);
        assert_eq!(Cause::of(Outcome::Unreachable, None), Cause::Other);
        assert!(Cause::ALL.iter().all(|cause| Cause::of_str(cause.as_str()) == Some(*cause)));
    }
}

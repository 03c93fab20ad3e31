//! `/stores/{store}`: is the store right, and if not, why?

use super::{
    cause::{self, Cause, Group},
    known::{Lately, SPAN, WINDOW},
    latency::Latencies,
    layout::Place,
    parts::{self, stack, tile},
    show::{View, show},
    survey::{HOUR, Survey, millis},
    visitor::Visitor,
};
use crate::{api::Api, ask::PathOf, problem::Problem};
use axum::{extract::State, response::Response};
use backbone::{
    ledger::{EndedIn, Standing},
    registry::GatewayState,
    service::now,
};
use maud::{Markup, html};
use protocol::{GatewayMac, Outcome, Timestamp};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// The view does not wait longer for who hears the labels, and for what ended in a day.
const SURVEY_PATIENCE: Duration = Duration::from_millis(150);

struct Store(protocol::Store);

/// `GET /stores/{store}`
pub(crate) async fn store(
    State(api): State<Api>,
    PathOf(store): PathOf<protocol::Store>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    visitor.demand(&store)?;
    Ok(show(api, visitor, Store(store)).await)
}

/// All that the view shows.
struct Seen {
    standing: Arc<Standing>,
    /// `None`: it is still being made, and follows.
    survey: Option<Arc<Survey>>,
    lately: Arc<Lately>,
    latencies: Latencies,
    gateways: HashMap<GatewayMac, GatewayState>,
    at: Timestamp,
}

impl View for Store {
    const PLACE: Place = Place::Store;

    fn store(&self) -> Option<&protocol::Store> {
        Some(&self.0)
    }

    fn title(&self, visitor: &Visitor) -> String {
        format!("{} {}", visitor.t("Store", "Loja"), self.0)
    }

    async fn content(&self, api: &Api, visitor: &Visitor) -> Result<Markup, Problem> {
        let Self(store) = self;
        // Whether the store is right is said at once, even where the rest takes longer.
        let survey = tokio::time::timeout(SURVEY_PATIENCE, api.survey(store));
        let survey = async { survey.await.map_or(Ok(None), |survey| survey.map(Some)) };
        let (standing, survey, lately) = futures::try_join!(api.standing(store), survey, api.lately(store))?;
        if standing.labels == 0 {
            return Ok(empty(visitor, store));
        }
        let latencies = Latencies::of(lately.latencies.clone());
        let gateways = api.registry.gateways().await.unwrap_or_default();
        let seen = Seen { standing, survey, lately, latencies, gateways, at: now() };
        Ok(seen.draw(visitor, store))
    }
}

fn empty(visitor: &Visitor, store: &protocol::Store) -> Markup {
    html! {
        h1 { (visitor.t("Store", "Loja")) " " (store) }
        (parts::empty(
            visitor.t("This store has no labels yet.", "Esta loja ainda não tem etiquetas."),
            visitor.t("They appear here as soon as they are bound to products.",
                "Elas aparecem aqui assim que forem vinculadas a produtos."),
        ))
    }
}

impl Seen {
    fn draw(&self, visitor: &Visitor, store: &protocol::Store) -> Markup {
        let groups = cause::groups(&self.standing);
        html! {
            h1 { (visitor.t("Store", "Loja")) " " (store) }
            (self.verdict(visitor, &groups))
            div.columns {
                section.card { (self.causes(visitor, store, &groups)) }
                section.card { (self.live(visitor)) }
                @if let Some(survey) = &self.survey {
                    section.card { (self.day(visitor, survey)) }
                    section.card { (self.hearing(visitor, store, survey)) }
                } @else {
                    section.card aria-busy="true" {
                        h2 { (visitor.t("The last day", "O último dia")) }
                        p.fine { (visitor.t("The records are being counted.", "Os registros estão sendo contados.")) }
                        div.skeleton {}
                    }
                }
            }
        }
    }

    fn verdict(&self, visitor: &Visitor, groups: &[Group]) -> Markup {
        let language = visitor.language;
        let Standing { labels, blank, in_progress, .. } = *self.standing;
        let late: u64 = groups.iter().map(|group| group.labels).sum();
        let right = labels.saturating_sub(late + in_progress + blank);
        let (class, sentence) = match (late, in_progress) {
            (0, 0) if right == 0 => {
                ("blank", visitor.t("No label has a price yet.", "Nenhuma etiqueta tem preço ainda.").to_owned())
            }
            (0, 0) => ("right", visitor.t("The store is right.", "A loja está certa.").to_owned()),
            (0, moving) => {
                ("moving", format!("{} {}", language.labels(moving), visitor.t("on their way.", "a caminho.")))
            }
            (late, _) => {
                ("late", format!("{} {}", language.labels(late), visitor.t("out of date.", "desatualizadas.")))
            }
        };
        html! {
            section class={ "verdict " (class) } {
                p.sentence aria-live="polite" { (sentence) }
                (stack(&[("right", right), ("moving", in_progress), ("late", late), ("blank", blank)]))
                dl.tiles {
                    (tile("right", visitor.t("Right", "Certas"), &language.number(right), &language.percent(right, labels)))
                    (tile("moving", visitor.t("On their way", "A caminho"), &language.number(in_progress), ""))
                    (tile("late", visitor.t("Out of date", "Desatualizadas"), &language.number(late), &language.percent(late, labels)))
                    @if blank > 0 {
                        (tile("blank", visitor.t("Never priced", "Nunca precificadas"), &language.number(blank), ""))
                    }
                    (tile("", visitor.t("All labels", "Todas"), &language.number(labels), ""))
                }
            }
        }
    }

    fn causes(&self, visitor: &Visitor, store: &protocol::Store, groups: &[Group]) -> Markup {
        let language = visitor.language;
        let url = |cause: &str| format!("/stores/{store}/out-of-date?cause={cause}");
        html! {
            h2 { (visitor.t("Why labels are out of date", "Por que há etiquetas desatualizadas")) }
            @if groups.is_empty() {
                p.fine { (visitor.t("None is.", "Não há nenhuma.")) }
            } @else {
                div.scroll tabindex="0" { table.causes {
                    thead { tr {
                        th scope="col" { (visitor.t("Cause", "Causa")) }
                        th.number scope="col" { (visitor.t("Labels", "Etiquetas")) }
                        th scope="col" { (visitor.t("Since", "Desde")) }
                    } }
                    tbody {
                        @for group in groups {
                            tr {
                                th scope="row" {
                                    a href=(url(group.cause.as_str())) { (group.cause.name(language)) }
                                    p.advice { (group.cause.advice(language)) }
                                }
                                td.number { (language.number(group.labels)) }
                                td { (parts::ago(visitor, group.since)) }
                            }
                        }
                    }
                } }
            }
            @if self.standing.in_progress > 0 {
                p { a href=(url("")) { (visitor.t("Everything that is not right", "Tudo o que não está certo")) } }
            }
        }
    }

    fn live(&self, visitor: &Visitor) -> Markup {
        let language = visitor.language;
        let rate = rate(&self.lately.spans, self.lately.at);
        let per_second = visitor.t("labels/s", "etiquetas/s");
        html! {
            h2 { (visitor.t("Now", "Agora")) }
            dl.tiles {
                (tile("", visitor.t("Rate", "Taxa"), &language.decimal(rate, 1), per_second))
                (tile("", visitor.t("Half within (p50)", "Metade em até (p50)"), &self.latencies.percentile(visitor, 0.5), ""))
                (tile("", visitor.t("99% within (p99)", "99% em até (p99)"), &self.latencies.percentile(visitor, 0.99), ""))
            }
            div.plot #rate role="img" data-plot=(self.plot(visitor))
                aria-label=(visitor.t("Labels per second over the last ten minutes", "Etiquetas por segundo nos últimos dez minutos")) {}
            @if self.latencies.len() > 0 {
                (self.latencies.histogram(visitor, visitor.t("How long labels took", "Quanto tempo as etiquetas levaram")))
            } @else {
                p.fine { (visitor.t("No label was updated in the last 15 minutes.", "Nenhuma etiqueta foi atualizada nos últimos 15 minutos.")) }
            }
        }
    }

    /// What the script draws: labels per second, those that were shown and those that were not.
    fn plot(&self, visitor: &Visitor) -> String {
        let span = millis(SPAN);
        let at = self.lately.at.unix_millis();
        let (first, last) = ((at - millis(WINDOW)) / span + 1, at / span - 1);
        let mut counts: BTreeMap<i64, [u64; 2]> = (first..=last).map(|at| (at, [0, 0])).collect();
        for ended in &self.lately.spans {
            if let Some(count) = counts.get_mut(&(ended.from.unix_millis() / span)) {
                count[usize::from(ended.outcome != Outcome::Shown)] += ended.labels;
            }
        }
        let series = |which: usize| -> Vec<f64> {
            counts.values().map(|count| count[which] as f64 / SPAN.as_secs_f64()).collect()
        };
        let times: Vec<i64> = counts.keys().map(|at| at * span / 1_000).collect();
        let shown = json!({ "name": visitor.t("shown", "mostradas"), "colour": "right", "values": series(0) });
        let others = json!({ "name": visitor.t("not shown", "não mostradas"), "colour": "late", "values": series(1) });
        json!({ "times": times, "series": [shown, others] }).to_string()
    }

    fn day(&self, visitor: &Visitor, survey: &Survey) -> Markup {
        let language = visitor.language;
        let mut hours: BTreeMap<i64, [u64; 2]> = BTreeMap::new();
        let hour = |at: Timestamp| at.unix_millis() / millis(HOUR);
        for at in hour(self.at) - 23..=hour(self.at) {
            hours.insert(at, [0, 0]);
        }
        let mut outcomes: BTreeMap<Outcome, u64> = Outcome::ALL.map(|outcome| (outcome, 0)).into();
        for ended in &survey.day {
            *outcomes.entry(ended.outcome).or_default() += ended.labels;
            if let Some(count) = hours.get_mut(&hour(ended.from)) {
                count[usize::from(ended.outcome != Outcome::Shown)] += ended.labels;
            }
        }
        let most = hours.values().map(|[shown, other]| shown + other).max().unwrap_or(0).max(1);
        let all: u64 = outcomes.values().sum();
        let causes = causes_of(&survey.day);
        html! {
            h2 { (visitor.t("The last day", "O último dia")) }
            svg.hours viewBox="0 0 240 60" preserveAspectRatio="none" aria-hidden="true" {
                @for (at, [shown, other]) in hours.values().enumerate() {
                    @let (up, down) = (*shown as f64 * 60.0 / most as f64, *other as f64 * 60.0 / most as f64);
                    rect.right x=(at * 10 + 1) width="8" y=(60.0 - up) height=(up) {}
                    rect.late x=(at * 10 + 1) width="8" y=(60.0 - up - down) height=(down) {}
                }
            }
            p.axis aria-hidden="true" { span { (visitor.t("24 h ago", "há 24 h")) } span { (visitor.t("now", "agora")) } }
            table.balance {
                caption.hidden { (visitor.t("How labels ended in the last day", "Como as etiquetas terminaram no último dia")) }
                tbody {
                    @for (outcome, labels) in &outcomes {
                        tr {
                            th scope="row" { (parts::outcome(visitor, *outcome)) }
                            td.number { (language.number(*labels)) }
                            td.number { (language.percent(*labels, all)) }
                        }
                    }
                }
            }
            @if !causes.is_empty() {
                table.balance {
                    caption { (visitor.t("Why labels were not shown what they should", "Por que etiquetas não mostraram o que deviam")) }
                    tbody { @for (labels, cause) in &causes { tr {
                        th scope="row" { (cause.name(language)) }
                        td.number { (language.number(*labels)) }
                        td.number { (language.percent(*labels, all)) }
                    } } }
                }
            }
        }
    }

    fn hearing(&self, visitor: &Visitor, store: &protocol::Store, survey: &Survey) -> Markup {
        let is_online = |gateway: &GatewayMac| self.gateways.get(gateway).is_some_and(|state| state.online);
        let (online, offline): (Vec<&GatewayMac>, Vec<&GatewayMac>) =
            survey.gateways.keys().partition(|gateway| is_online(gateway));
        let unheard = survey.unheard.len() as u64;
        html! {
            h2 { "Gateways" }
            dl.tiles {
                (tile("right", visitor.t("Online", "No ar"), &visitor.language.number(online.len() as u64), ""))
                (tile(if offline.is_empty() { "" } else { "late" }, visitor.t("Offline", "Fora do ar"),
                    &visitor.language.number(offline.len() as u64), ""))
                (tile(if unheard == 0 { "" } else { "late" }, visitor.t("Labels unheard", "Etiquetas não ouvidas"),
                    &visitor.language.number(unheard), ""))
            }
            @if !offline.is_empty() {
                p { (visitor.t("Offline: ", "Fora do ar: "))
                    @for (at, gateway) in offline.iter().enumerate() {
                        @if at > 0 { ", " } (parts::gateway_link(store, **gateway))
                    }
                }
            }
            p { a href={ "/stores/" (store) "/gateways" } { (visitor.t("All gateways", "Todos os gateways")) } }
        }
    }
}

/// Why labels ended without what they were sent, the most frequent cause first.
fn causes_of(day: &[EndedIn]) -> Vec<(u64, Cause)> {
    let mut causes: BTreeMap<Cause, u64> = BTreeMap::new();
    for ended in day.iter().filter(|ended| matches!(ended.outcome, Outcome::Rejected | Outcome::Unreachable)) {
        *causes.entry(Cause::of(ended.outcome, ended.reason.as_deref())).or_default() += ended.labels;
    }
    let mut causes: Vec<_> = causes.into_iter().map(|(cause, labels)| (labels, cause)).collect();
    causes.sort_by_key(|(labels, _)| std::cmp::Reverse(*labels));
    causes
}

/// Labels that ended per second in the last two whole spans.
fn rate(spans: &[EndedIn], at: Timestamp) -> f64 {
    let now = at.unix_millis() / millis(SPAN);
    let recent = |ended: &&EndedIn| (now - 2..now).contains(&(ended.from.unix_millis() / millis(SPAN)));
    let labels: u64 = spans.iter().filter(recent).map(|ended| ended.labels).sum();
    labels as f64 / (2.0 * SPAN.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_ten_seconds_that_are_over() {
        let ended = |seconds: i64, labels| EndedIn {
            from: Timestamp::from_unix_millis(seconds * 1_000),
            outcome: Outcome::Shown,
            reason: None,
            labels,
        };
        let spans = [ended(100, 1_000), ended(105, 30), ended(110, 20), ended(115, 7)];
        assert_eq!(rate(&spans, Timestamp::from_unix_millis(117_000)), 5.0);
        assert_eq!(rate(&[], Timestamp::from_unix_millis(117_000)), 0.0);
    }

    #[test]
    fn a_days_failures_are_counted_by_cause() {
        let ended = |outcome, reason: &str, labels| EndedIn {
            from: Timestamp::from_unix_millis(0),
            outcome,
            reason: Some(reason.to_owned()),
            labels,
        };
        let day = [
            ended(Outcome::Unreachable, "no gateway hears the label", 2),
            ended(Outcome::Unreachable, "no answer from the gateway", 3),
            ended(Outcome::Unreachable, "no gateway hears the label", 2),
            ended(Outcome::Superseded, "version 7 is desired", 9),
        ];
        assert_eq!(causes_of(&day), [(4, Cause::Unheard), (3, Cause::Silent)]);
    }
}

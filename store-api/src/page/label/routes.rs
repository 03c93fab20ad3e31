//! Who hears a label, and how strongly: now, since the page was opened, and over a day.

use super::{Label, Seen};
use crate::{
    api::Api,
    page::{parts, visitor::Visitor},
    problem::Problem,
};
use backbone::{
    ledger::Recorded,
    registry::{RouteEntry, Signal},
    service::now,
};
use maud::{Markup, html};
use protocol::{GatewayMac, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;

/// The signals of so many gateways are drawn.
const MOST_SIGNALS: usize = 8;

impl Label {
    /// Of those who hear it, and of those who have lately done something with it.
    pub(super) async fn signals(
        &self,
        api: &Api,
        routes: &[RouteEntry],
        history: &[Recorded],
    ) -> Result<Vec<(GatewayMac, Vec<Signal>)>, Problem> {
        let heard = routes.iter().map(|route| route.gateway);
        let gateways: BTreeSet<GatewayMac> =
            heard.chain(history.iter().filter_map(|ended| ended.result.gateway)).collect();
        let gateways: Vec<GatewayMac> = gateways.into_iter().take(MOST_SIGNALS).collect();
        let signals = api.registry.signals(self.label, &gateways).await?;
        Ok(gateways.into_iter().zip(signals).filter(|(_, signals)| !signals.is_empty()).collect())
    }

    pub(super) fn routes(&self, visitor: &Visitor, seen: &Seen) -> Markup {
        html! {
            h2 { (visitor.t("Who hears it", "Quem a ouve")) }
            (last_day(visitor, &seen.signals, &seen.routes))
            @if seen.routes.is_empty() {
                p.fine { (visitor.t("No gateway has heard it lately.", "Nenhum gateway a ouviu ultimamente.")) }
            } @else {
                div.scroll tabindex="0" { table {
                    thead { tr {
                        th scope="col" { "Gateway" }
                        th.number scope="col" { "RSSI" }
                        th scope="col" { (visitor.t("Heard", "Ouvida")) }
                        th scope="col" { (visitor.t("State", "Estado")) }
                        th.number scope="col" { (visitor.t("In flight", "Em voo")) }
                    } }
                    tbody { @for route in &seen.routes { (self.route(visitor, seen, route)) } }
                } }
                div.plot #rssi role="img" data-plot=(signals(&seen.routes)) data-grows="true" data-dbm="true"
                    aria-label=(visitor.t("Signal strength since this page was opened", "Força do sinal desde que esta página foi aberta")) {}
                p.fine { (visitor.t("Signal strength (dBm) since this page was opened.", "Força do sinal (dBm) desde que esta página foi aberta.")) }
            }
        }
    }

    fn route(&self, visitor: &Visitor, seen: &Seen, route: &RouteEntry) -> Markup {
        html! { tr {
            th scope="row" {
                @match &self.store {
                    Some(store) => (parts::gateway_link(store, route.gateway)),
                    None => (route.gateway),
                }
            }
            td.number { (route.rssi.dbm()) " dBm" }
            td { (parts::ago(visitor, route.at)) }
            td { (seen.windows.health(visitor, route.gateway)) }
            td.number { (seen.windows.in_flight(visitor, route.gateway)) }
        } }
    }
}

/// How strongly each gateway has heard it, half hour by half hour, and now.
fn last_day(visitor: &Visitor, signals: &[(GatewayMac, Vec<Signal>)], routes: &[RouteEntry]) -> Markup {
    let title = visitor.t(
        "Signal strength (dBm) in the last day, by the half hour",
        "Força do sinal (dBm) no último dia, a cada meia hora",
    );
    html! {
        @if !signals.is_empty() {
            div.plot #signal-day role="img" data-plot=(day_of(signals, routes)) data-dbm="true" aria-label=(title) {}
            p.fine { (title) "." }
        }
    }
}

fn day_of(signals: &[(GatewayMac, Vec<Signal>)], routes: &[RouteEntry]) -> String {
    let now = now().unix_millis() / 1_000;
    let times: BTreeSet<i64> =
        signals.iter().flat_map(|(_, signals)| signals).map(|signal| seconds(signal.at)).collect();
    let series = signals.iter().map(|(gateway, signals)| {
        let of = |time: &i64| signals.iter().find(|signal| seconds(signal.at) == *time).map(|signal| signal.rssi.dbm());
        let current = routes.iter().find(|route| route.gateway == *gateway).map(|route| route.rssi.dbm());
        let values: Vec<_> = times.iter().map(of).chain([current]).collect();
        json!({ "name": gateway, "values": values })
    });
    let series: Vec<_> = series.collect();
    json!({ "times": times.iter().chain([&now]).collect::<Vec<_>>(), "series": series }).to_string()
}

fn seconds(at: Timestamp) -> i64 {
    at.unix_millis() / 1_000
}

/// What the script draws a point of: each gateway's signal at this moment.
fn signals(routes: &[RouteEntry]) -> String {
    let signal = |route: &RouteEntry| json!({ "name": route.gateway, "values": [route.rssi.dbm()] });
    let series: Vec<_> = routes.iter().map(signal).collect();
    json!({ "times": [now().unix_millis() / 1_000], "series": series }).to_string()
}

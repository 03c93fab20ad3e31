//! What gateways cope with at this moment: their windows, the line before them, and whether they are left alone.

use super::visitor::Visitor;
use crate::{api::Api, problem::Problem};
use backbone::{
    registry::{Breaker, GatewayState, WindowState},
    service::now,
};
use maud::{Markup, html};
use protocol::{GatewayMac, Timestamp};
use std::collections::HashMap;

/// The gateways that were ever heard of, and the windows of those that were sent anything lately.
#[derive(Default)]
pub(crate) struct Windows {
    pub(crate) states: HashMap<GatewayMac, GatewayState>,
    windows: HashMap<GatewayMac, WindowState>,
}

impl Windows {
    /// Of all gateways, in two round trips.
    pub(crate) async fn read(api: &Api) -> Result<Self, Problem> {
        let states = api.registry.gateways().await?;
        let gateways: Vec<GatewayMac> = states.keys().copied().collect();
        let found = api.registry.windows(&gateways, &api.window).await?;
        let windows = gateways.into_iter().zip(found).filter_map(|(gateway, window)| Some((gateway, window?)));
        Ok(Self { windows: windows.collect(), states })
    }

    /// Of one gateway.
    pub(crate) async fn of(api: &Api, gateway: GatewayMac) -> Result<Self, Problem> {
        let state = api.registry.gateway(gateway).await?;
        let window = api.registry.windows(&[gateway], &api.window).await?.pop().flatten();
        let states = state.map(|state| (gateway, state)).into_iter().collect();
        Ok(Self { states, windows: window.map(|window| (gateway, window)).into_iter().collect() })
    }

    pub(crate) fn state(&self, gateway: GatewayMac) -> Option<&GatewayState> {
        self.states.get(&gateway)
    }

    /// How many commands it has, of how many that it may have.
    pub(crate) fn in_flight(&self, visitor: &Visitor, gateway: GatewayMac) -> String {
        let number = |number| visitor.language.number(number);
        // Limits are 1 to some hundreds.
        let places =
            |window: &WindowState| format!("{} / {}", number(window.in_flight as u64), number(window.limit as u64));
        self.windows.get(&gateway).map_or_else(|| "–".to_owned(), places)
    }

    /// How long a label waits that comes now.
    pub(crate) fn line(&self, visitor: &Visitor, gateway: GatewayMac) -> String {
        let turn = self.windows.get(&gateway).and_then(|window| window.waiting_until);
        turn.map_or_else(|| "–".to_owned(), |turn| visitor.language.millis(until(turn)))
    }

    /// Whether it is there and takes commands, in a word or two.
    pub(crate) fn health(&self, visitor: &Visitor, gateway: GatewayMac) -> Markup {
        let breaker = self.windows.get(&gateway).map(|window| window.breaker);
        match (self.states.get(&gateway), breaker) {
            (None, _) => html! { span.outcome { (visitor.t("unknown", "desconhecido")) } },
            (Some(state), _) if !state.online => {
                html! { span.outcome.rejected { (visitor.t("offline", "fora do ar")) } }
            }
            (Some(_), Some(Breaker::Open { until: at })) => html! {
                span.outcome.rejected { (visitor.t("failing", "falhando")) } " "
                (visitor.t("left alone for ", "em repouso por ")) (visitor.language.millis(until(at)))
            },
            (Some(_), Some(Breaker::HalfOpen { .. })) => html! {
                span.outcome.superseded { (visitor.t("failing", "falhando")) } " "
                (visitor.t("tried with one command", "testado com um comando"))
            },
            (Some(_), _) => html! { span.outcome.shown { (visitor.t("online", "no ar")) } },
        }
    }
}

fn until(at: Timestamp) -> u64 {
    u64::try_from(at.unix_millis() - now().unix_millis()).unwrap_or(0)
}

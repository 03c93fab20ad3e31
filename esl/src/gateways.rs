//! `esl gateways`: where the gateways are.

use crate::{
    back_end::BackEnd,
    cli::GatewaysArgs,
    failure::{Ending, Failure},
    output::Output,
    text::{ago, count, seconds, table},
};
use backbone::{
    registry::{Breaker, WindowState},
    service::now,
};
use protocol::{GatewayMac, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<Listed>);

/// A gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) gateway: GatewayMac,
    pub(crate) online: bool,
    pub(crate) broker: String,
    /// When it last reported.
    pub(crate) at: Timestamp,
    /// What it copes with, where it was sent anything lately.
    pub(crate) window: Option<Window>,
}

/// What a gateway copes with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// How many commands it may have in flight.
    limit: u32,
    in_flight: usize,
    /// When a label that comes now would have its turn.
    next_turn: Option<Timestamp>,
    breaker: String,
    /// Until when it is sent nothing.
    open_until: Option<Timestamp>,
}

impl From<WindowState> for Window {
    fn from(window: WindowState) -> Self {
        let (breaker, open_until) = match window.breaker {
            Breaker::Closed { .. } => ("closed", None),
            Breaker::Open { until } => ("open", Some(until)),
            Breaker::HalfOpen { .. } => ("half_open", None),
        };
        Self {
            // Limits are 1 to some hundreds.
            limit: window.limit as u32,
            in_flight: window.in_flight,
            next_turn: window.waiting_until,
            breaker: breaker.to_owned(),
            open_until,
        }
    }
}

impl Window {
    fn line(&self) -> String {
        let wait = self.next_turn.map(|turn| turn.unix_millis() - now().unix_millis());
        match wait.and_then(|wait| u64::try_from(wait).ok()) {
            Some(wait) => seconds(Duration::from_millis(wait)),
            None => "-".to_owned(),
        }
    }

    fn state(&self) -> &str {
        match self.breaker.as_str() {
            "open" => "failing, left alone",
            "half_open" => "failing, probed",
            _ => "",
        }
    }
}

/// Lists the gateways.
pub(crate) async fn run(args: &GatewaysArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    output.answer(&Listing(back_end.gateways(&args.window.policy()).await?))?;
    Ok(Ending::Well)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["gateway", "state", "broker", "last report", "in flight", "line"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for Listed { gateway, online, broker, at, window } in &self.0 {
            let failing = window.as_ref().map_or("", Window::state);
            let state = match (online, failing) {
                (false, _) => "offline",
                (true, "") => "online",
                (true, failing) => failing,
            };
            let places = window.as_ref().map_or("-".to_owned(), |of| format!("{} of {}", of.in_flight, of.limit));
            let line = window.as_ref().map_or("-".to_owned(), Window::line);
            rows.push(vec![gateway.to_string(), state.to_owned(), broker.clone(), ago(*at), places, line]);
        }
        if !self.0.is_empty() {
            f.write_str(&table(&rows))?;
        }
        let online = self.0.iter().filter(|gateway| gateway.online).count();
        writeln!(f, "{}, {online} online", count(self.0.len() as u64, "gateway"))
    }
}

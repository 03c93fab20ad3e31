//! `esl gateways`: where the gateways are.

use crate::{
    back_end::BackEnd,
    failure::{Ending, Failure},
    output::Output,
    text::{ago, count, table},
};
use protocol::{GatewayMac, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

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
}

/// Lists the gateways.
pub(crate) async fn run(back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    output.answer(&Listing(back_end.gateways().await?))?;
    Ok(Ending::Well)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["gateway", "state", "broker", "last report"].map(str::to_owned).to_vec()];
        for Listed { gateway, online, broker, at } in &self.0 {
            let state = if *online { "online" } else { "offline" };
            rows.push(vec![gateway.to_string(), state.to_owned(), broker.clone(), ago(*at)]);
        }
        if !self.0.is_empty() {
            f.write_str(&table(&rows))?;
        }
        let online = self.0.iter().filter(|gateway| gateway.online).count();
        writeln!(f, "{}, {online} online", count(self.0.len() as u64, "gateway"))
    }
}

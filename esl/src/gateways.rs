//! `esl gateways`: where the gateways are.

use crate::{
    cli::GatewaysArgs,
    failure::{Ending, Failure},
    output::Output,
    text::{ago, count, table},
};
use anyhow::Context;
use backbone::registry::{GatewayState, Registry};
use protocol::{GatewayMac, Timestamp};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<Listed>);

#[derive(Debug, Serialize)]
struct Listed {
    gateway: GatewayMac,
    online: bool,
    broker: String,
    /// When it last reported.
    at: Timestamp,
}

/// Lists the gateways.
pub(crate) async fn run(args: &GatewaysArgs, output: Output) -> Result<Ending, Failure> {
    let url = &args.redis.redis_url;
    let at = || format!("Redis at {url}");
    let registry = Registry::connect(url).with_context(at)?;
    let gateways: BTreeMap<_, _> = registry.gateways().await.with_context(at)?.into_iter().collect();
    let listed = gateways.into_iter().map(|(gateway, GatewayState { online, broker, at })| Listed {
        gateway,
        online,
        broker: broker.to_string(),
        at,
    });
    output.answer(&Listing(listed.collect()))?;
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

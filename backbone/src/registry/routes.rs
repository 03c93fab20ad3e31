//! The route table: which gateways hear which labels.

use super::{Registry, RegistryError, connection::Backend, error::Doing};
use protocol::{
    GatewayMac, LabelMac, Rssi, Timestamp,
    names::redis::{LabelKey, label_key},
};
use std::{collections::BTreeMap, time::Duration};

/// One gateway hears one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEntry {
    /// The label.
    pub label: LabelMac,
    /// The gateway.
    pub gateway: GatewayMac,
    /// How strongly, smoothed.
    pub rssi: Rssi,
    /// When.
    pub at: Timestamp,
}

impl Registry {
    /// Writes entries of the route table in one round trip. A label's entries are forgotten together when none of
    /// them was written for `forget_after`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn write_routes(&self, entries: &[RouteEntry], forget_after: Duration) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                memory.write_routes(entries, forget_after);
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::Pipeline::with_capacity(entries.len() * 2);
        let forget_after = i64::try_from(forget_after.as_millis()).unwrap_or(i64::MAX);
        for entry in entries {
            let key = label_key(LabelKey::Route, entry.label);
            let value = format!("{} {}", entry.rssi.dbm(), entry.at.unix_millis());
            pipeline.hset(&key, entry.gateway.to_string(), value).ignore();
            pipeline.pexpire(&key, forget_after).ignore();
        }
        redis.query(&pipeline).await.doing("writing routes")
    }

    /// The gateways that hear a label, whether fresh or not.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn routes(&self, label: LabelMac) -> Result<Vec<RouteEntry>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.routes(label)),
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::pipe();
        pipeline.hgetall(label_key(LabelKey::Route, label));
        let (entries,): (BTreeMap<String, String>,) = redis.query(&pipeline).await.doing("reading a label's routes")?;
        let read = |(gateway, value): (String, String)| {
            let (dbm, millis) = value.split_once(' ')?;
            Some(RouteEntry {
                label,
                gateway: gateway.parse().ok()?,
                rssi: Rssi::try_from(dbm.parse::<i64>().ok()?).ok()?,
                at: Timestamp::from_unix_millis(millis.parse().ok()?),
            })
        };
        Ok(entries.into_iter().filter_map(read).collect())
    }
}

//! The route table: which gateways hear which labels.

use super::{Registry, RegistryError, connection::Backend, error::Doing};
use protocol::{
    GatewayMac, LabelMac, Rssi, Timestamp,
    names::redis::{BATTERY_FIELD, LabelKey, label_key},
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
    /// The label's battery in millivolts: to write, as this gateway reports it, where it does; as it is read, what any
    /// gateway reported last, the same in all entries of a label. 0 is as good as none.
    pub battery_mv: Option<u16>,
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
            let write = pipeline.cmd("HSET").arg(&key).arg(entry.gateway.to_string()).arg(value);
            if let Some(battery_mv) = entry.battery_mv.filter(|mv| *mv > 0) {
                write.arg(BATTERY_FIELD).arg(battery_mv);
            }
            pipeline.ignore();
            pipeline.pexpire(&key, forget_after).ignore();
        }
        redis.query(&pipeline).await.doing("writing routes")
    }

    /// The gateways that hear a label, whether fresh or not.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn routes(&self, label: LabelMac) -> Result<Vec<RouteEntry>, RegistryError> {
        Ok(self.routes_of(&[label]).await?.pop().unwrap_or_default())
    }

    /// The gateways that hear each of these labels, whether fresh or not, in one round trip and in their order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn routes_of(&self, labels: &[LabelMac]) -> Result<Vec<Vec<RouteEntry>>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(labels.iter().map(|&label| memory.routes(label)).collect()),
            Backend::Redis(redis) => redis,
        };
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(labels.len());
        for &label in labels {
            pipeline.hgetall(label_key(LabelKey::Route, label));
        }
        let found: Vec<BTreeMap<String, String>> = redis.query(&pipeline).await.doing("reading labels' routes")?;
        let read = |(&label, entries): (&LabelMac, BTreeMap<String, String>)| {
            let battery_mv = entries.get(BATTERY_FIELD).and_then(|text| text.parse().ok());
            entries.iter().filter_map(|(gateway, value)| read(label, gateway, value, battery_mv)).collect()
        };
        Ok(labels.iter().zip(found).map(read).collect())
    }
}

impl Registry {
    /// Claims the repair of each of these labels: `true` for the first who does so within `keep`. In one round trip,
    /// in their order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_repairs(&self, labels: &[LabelMac], keep: Duration) -> Result<Vec<bool>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.claim_repairs(labels, keep)),
            Backend::Redis(redis) => redis,
        };
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut pipeline = redis::Pipeline::with_capacity(labels.len());
        for &label in labels {
            pipeline.cmd("SET").arg(label_key(LabelKey::Repair, label)).arg(1).arg("NX").arg("PX").arg(keep);
        }
        let set: Vec<Option<String>> = redis.query(&pipeline).await.doing("claiming repairs")?;
        Ok(set.iter().map(Option::is_some).collect())
    }
}

fn read(label: LabelMac, gateway: &str, value: &str, battery_mv: Option<u16>) -> Option<RouteEntry> {
    let (dbm, millis) = value.split_once(' ')?;
    Some(RouteEntry {
        label,
        gateway: gateway.parse().ok()?,
        rssi: Rssi::try_from(dbm.parse::<i64>().ok()?).ok()?,
        at: Timestamp::from_unix_millis(millis.parse().ok()?),
        battery_mv,
    })
}

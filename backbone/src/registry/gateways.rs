//! Where each gateway is, and whether Redis still has what was written.

use super::{Registry, RegistryError, connection::Backend, error::Doing};
use crate::mqtt::BrokerName;
use protocol::{GatewayMac, Timestamp, names};
use std::collections::HashMap;

/// What a gateway last reported about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayState {
    /// It is there; `false` after its last will.
    pub online: bool,
    /// The broker that its last report came through.
    pub broker: BrokerName,
    /// When that was.
    pub at: Timestamp,
}

impl Registry {
    /// Writes where gateways are, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn write_gateways(&self, gateways: &[(GatewayMac, GatewayState)]) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                memory.write_gateways(gateways);
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::pipe();
        for (gateway, GatewayState { online, broker, at }) in gateways {
            let value = format!("{broker} {} {}", u8::from(*online), at.unix_millis());
            pipeline.hset(names::redis::GATEWAYS, gateway.to_string(), value).ignore();
        }
        redis.query(&pipeline).await.doing("writing gateways")
    }

    /// Forgets gateways that are gone, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget_gateways(&self, gateways: &[GatewayMac]) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                memory.forget_gateways(gateways);
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        if gateways.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        let gateways: Vec<_> = gateways.iter().map(ToString::to_string).collect();
        pipeline.hdel(names::redis::GATEWAYS, gateways).ignore();
        redis.query(&pipeline).await.doing("forgetting gateways")
    }

    /// Where all gateways are.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn gateways(&self) -> Result<HashMap<GatewayMac, GatewayState>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.gateways()),
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::pipe();
        pipeline.hgetall(names::redis::GATEWAYS);
        let (entries,): (HashMap<String, String>,) = redis.query(&pipeline).await.doing("reading the gateways")?;
        Ok(entries.iter().filter_map(|(mac, value)| Some((mac.parse().ok()?, read(value)?))).collect())
    }

    /// Where one gateway is, if it ever reported.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn gateway(&self, gateway: GatewayMac) -> Result<Option<GatewayState>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.gateway(gateway)),
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::pipe();
        pipeline.hget(names::redis::GATEWAYS, gateway.to_string());
        let (value,): (Option<String>,) = redis.query(&pipeline).await.doing("reading a gateway")?;
        Ok(value.as_deref().and_then(read))
    }

    /// A mark that changes when Redis has lost its data; sets `mark` where there is none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn epoch(&self, mark: &str) -> Result<String, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.epoch(mark)),
            Backend::Redis(redis) => redis,
        };
        let mut pipeline = redis::pipe();
        pipeline.set_nx(names::redis::EPOCH, mark).ignore().get(names::redis::EPOCH);
        let (epoch,) = redis.query(&pipeline).await.doing("asking whether Redis has lost its data")?;
        Ok(epoch)
    }
}

fn read(value: &str) -> Option<GatewayState> {
    let mut words = value.split(' ');
    let (broker, online, at) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    Some(GatewayState { online: online == "1", broker: broker.into(), at: Timestamp::from_unix_millis(at) })
}

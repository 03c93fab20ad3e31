//! What the emulated labels really show, and the faults of their gateways.

use anyhow::{Context, Result, ensure};
use protocol::{CorrelationId, Fields, GatewayMac, LabelMac, Timestamp, Version};
use serde::Deserialize;
use serde_json::Value;

/// The emulator's control port.
#[derive(Debug, Clone)]
pub struct Emulator {
    url: String,
    client: reqwest::Client,
}

/// A label as it really is.
#[derive(Debug, Clone, Deserialize)]
pub struct EmulatedLabel {
    /// Its MAC.
    pub mac: LabelMac,
    /// What it shows.
    pub shown: Option<EmulatedShown>,
    /// What was written to it, oldest first.
    #[serde(default)]
    pub history: Vec<Write>,
    /// How many writes there were.
    pub writes: u64,
    /// How many other commands it carried out.
    pub others: u64,
    /// Which gateways hear it, the strongest first.
    #[serde(default)]
    pub heard_by: Vec<Hearer>,
}

/// A gateway that hears a label.
#[derive(Debug, Clone, Deserialize)]
pub struct Hearer {
    /// The gateway.
    pub gateway: GatewayMac,
    /// How strongly on average, in dBm.
    pub rssi: f64,
}

/// A gateway as it really is.
#[derive(Debug, Clone, Deserialize)]
pub struct EmulatedGateway {
    /// Its MAC.
    pub mac: GatewayMac,
    /// It is connected, and has said so.
    pub online: bool,
    /// How many commands came to it.
    pub commands: u64,
}

/// What a label shows.
#[derive(Debug, Clone, Deserialize)]
pub struct EmulatedShown {
    /// The version.
    pub version: Version,
    /// The content.
    pub fields: Fields,
}

/// A write to a label.
#[derive(Debug, Clone, Deserialize)]
pub struct Write {
    /// The RPC.
    pub id: CorrelationId,
    /// The version, of a price update.
    pub version: Option<Version>,
    /// Through which gateway.
    pub gateway: GatewayMac,
    /// When the command came to the gateway.
    pub came: Timestamp,
    /// When it was done.
    pub at: Timestamp,
    /// The broker had kept the command for whoever subscribes.
    #[serde(default)]
    pub retained: bool,
}

impl Emulator {
    /// The emulator with this admin port.
    pub fn new(url: String) -> Self {
        Self { url, client: testbed::http_builder().build().unwrap_or_default() }
    }

    /// A label with all its history.
    pub async fn label(&self, label: LabelMac) -> Result<EmulatedLabel> {
        let answer = self.client.get(format!("{}/labels/{label}", self.url)).send().await?.error_for_status()?;
        answer.json().await.with_context(|| format!("reading label {label} from the emulator"))
    }

    /// A gateway.
    pub async fn gateway(&self, gateway: GatewayMac) -> Result<EmulatedGateway> {
        let answer = self.client.get(format!("{}/gateways", self.url)).send().await?.error_for_status()?;
        let gateways: Vec<EmulatedGateway> = answer.json().await.context("reading the emulator's gateways")?;
        gateways.into_iter().find(|known| known.mac == gateway).with_context(|| format!("no gateway {gateway}"))
    }

    /// Sets the faults of the whole store, in place of those before.
    pub async fn store_faults(&self, faults: Value) -> Result<()> {
        self.send(reqwest::Method::PUT, "/faults", faults).await
    }

    /// Sets the faults of a gateway, in place of those before.
    pub async fn gateway_faults(&self, gateway: GatewayMac, faults: Value) -> Result<()> {
        self.send(reqwest::Method::PUT, &format!("/gateways/{gateway}/faults"), faults).await
    }

    /// Sets the faults of a label, in place of those before.
    pub async fn label_faults(&self, label: LabelMac, faults: Value) -> Result<()> {
        self.send(reqwest::Method::PUT, &format!("/labels/{label}/faults"), faults).await
    }

    /// Moves a label: `{"near": MAC}`, `{"nowhere": true}` or `{"home": true}`.
    pub async fn place(&self, label: LabelMac, place: Value) -> Result<()> {
        self.send(reqwest::Method::PUT, &format!("/labels/{label}/place"), place).await
    }

    /// Makes a gateway go `offline` (`offline?abrupt=true`: without a word), `online`, `hang` or `resume`.
    pub async fn gateway_state(&self, gateway: GatewayMac, state: &str) -> Result<()> {
        self.send(reqwest::Method::POST, &format!("/gateways/{gateway}/{state}"), Value::Null).await
    }

    /// Lets a gateway send this as an answer.
    pub async fn answer(&self, gateway: GatewayMac, body: Value) -> Result<()> {
        self.send(reqwest::Method::POST, &format!("/gateways/{gateway}/answer"), body).await
    }

    /// Lets a gateway send this as a report.
    pub async fn report(&self, gateway: GatewayMac, body: Value) -> Result<()> {
        self.send(reqwest::Method::POST, &format!("/gateways/{gateway}/report"), body).await
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> Result<()> {
        let answer = self.client.request(method, format!("{}{path}", self.url)).json(&body).send().await?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "the emulator answered {status} to {path}: {text}");
        Ok(())
    }
}

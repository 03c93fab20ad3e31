//! The store that all gateways of the process share.

use crate::{
    Config,
    config::Echo,
    faults::Faults,
    floor::Floor,
    label::{Labels, gateway_mac},
    metrics::Metrics,
};
use backbone::mqtt::gateway::{Gateway as Connection, GatewayCommand, GatewayOptions};
use protocol::GatewayMac;
use std::sync::{
    Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

/// Commands on their way from a gateway's connection to the gateway, which takes them at once.
const INBOX: usize = 1024;

/// Labels, gateways, where they are, and what is wrong with them.
#[derive(Debug)]
pub struct Store {
    /// What the store is like.
    pub config: Config,
    /// The labels' memories.
    pub labels: Labels,
    /// The gateways, by index.
    pub gateways: Vec<Gateway>,
    /// What is counted.
    pub metrics: Metrics,
    /// Something changed that readiness depends on.
    pub changed: Notify,
    floor: RwLock<Floor>,
    faults: Mutex<Faults>,
}

/// What is known of a gateway from outside.
#[derive(Debug)]
pub struct Gateway {
    /// Its MAC.
    pub mac: GatewayMac,
    /// How it names RPCs in its answers.
    pub echo: Echo,
    /// Its connection to a broker.
    pub connection: Connection,
    /// Whether it hangs: connected, but doing nothing.
    pub hanging: watch::Sender<bool>,
    /// Whether it has reported since it is connected.
    pub has_reported: AtomicBool,
    /// Commands that came.
    pub commands: AtomicU64,
    /// Commands carried out and acknowledged.
    pub acks: AtomicU64,
    /// Commands refused.
    pub nacks: AtomicU64,
    /// Commands neither carried out nor refused, and answers lost.
    pub dropped: AtomicU64,
    own_faults: Mutex<Faults>,
    faults: watch::Sender<Arc<Faults>>,
}

impl Store {
    /// Sets the store up and begins to connect its gateways, in tasks of `tracker`. Also gives each gateway's commands.
    pub fn open(
        config: Config,
        metrics: Metrics,
        tracker: &TaskTracker,
    ) -> (Self, Vec<mpsc::Receiver<GatewayCommand>>) {
        let indices = 0..config.gateways as usize;
        let (gateways, inboxes) = indices.map(|index| Gateway::open(&config, index, tracker)).unzip();
        let floor = Floor::new(config.gateways as usize, config.labels as usize, config.seed);
        let store = Self {
            labels: Labels::new(config.first_label, config.labels),
            gateways,
            metrics,
            changed: Notify::new(),
            floor: RwLock::new(floor),
            faults: Mutex::new(config.faults.clone()),
            config,
        };
        (store, inboxes)
    }

    /// Where everything is.
    pub fn floor(&self) -> RwLockReadGuard<'_, Floor> {
        self.floor.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to move something.
    pub fn floor_mut(&self) -> RwLockWriteGuard<'_, Floor> {
        self.floor.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the faults of the whole store.
    pub fn set_faults(&self, faults: Faults) {
        let mut store = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *store = faults;
        for gateway in &self.gateways {
            gateway.apply(&store);
        }
    }

    /// Replaces the faults of one gateway; gives what holds there now.
    pub fn set_gateway_faults(&self, gateway: &Gateway, faults: Faults) -> Arc<Faults> {
        let store = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *gateway.own_faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        gateway.apply(&store);
        gateway.faults()
    }

    /// The gateway with a MAC.
    pub fn gateway(&self, mac: GatewayMac) -> Option<(usize, &Gateway)> {
        self.gateways.iter().enumerate().find(|(_, gateway)| gateway.mac == mac)
    }

    /// Whether every gateway that is meant to be online is, and has reported.
    pub fn is_ready(&self) -> bool {
        self.gateways.iter().all(|gateway| {
            !gateway.connection.is_wanted_online()
                || gateway.is_online() && (*gateway.hanging.borrow() || gateway.has_reported.load(Ordering::Relaxed))
        })
    }
}

impl Gateway {
    fn open(config: &Config, index: usize, tracker: &TaskTracker) -> (Self, mpsc::Receiver<GatewayCommand>) {
        let (inbox, commands) = mpsc::channel(INBOX);
        let mac = gateway_mac(config.first_gateway, index);
        let options = GatewayOptions {
            mac,
            brokers: config.mqtt_url.iter().cloned().collect(),
            first_broker: index,
            version: config.version_of(index),
        };
        let gateway = Self {
            mac,
            echo: config.echo_of(index),
            connection: Connection::start(options, inbox, tracker),
            hanging: watch::channel(false).0,
            has_reported: AtomicBool::new(false),
            commands: AtomicU64::new(0),
            acks: AtomicU64::new(0),
            nacks: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            own_faults: Mutex::default(),
            faults: watch::channel(Arc::new(config.faults.clone())).0,
        };
        (gateway, commands)
    }

    /// What is wrong with it now.
    pub fn faults(&self) -> Arc<Faults> {
        self.faults.borrow().clone()
    }

    /// Whether it is connected and subscribed.
    pub fn is_online(&self) -> bool {
        self.connection.status().borrow().online
    }

    fn apply(&self, store: &Faults) {
        let own = self.own_faults.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.send_replace(Arc::new(own.or(store)));
    }
}

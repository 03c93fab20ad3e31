//! The two back-ends. Commands don't know which they have.

use crate::{
    api::{Api, ApiError},
    balance::Dead,
    batch::Held,
    dead::{Letters, Sent},
    failure::Failure,
    gateways::Listed as Gateway,
    label::Facts,
    letters::Backlog,
    place::Place,
    publish::Publishing,
    servers::Servers,
    text::chain,
};
use backbone::{
    ledger::{BindReport, Binding},
    registry::WindowPolicy,
};
use indicatif::ProgressBar;
use protocol::{BatchId, BatchState, LabelMac, Outcome, Sku, Store, TaskId};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// What does what the commands are asked to.
pub(crate) enum BackEnd {
    /// The API, over HTTP.
    Api(Api),
    /// RabbitMQ, MongoDB and Redis.
    Servers(Box<Servers>),
}

/// Why a batch can't be looked at.
pub(crate) enum Trouble {
    /// For a reason that may pass; one sentence.
    Passing(String),
    /// For good.
    Final(Failure),
}

impl BackEnd {
    /// Makes ready; nothing is connected yet.
    ///
    /// # Errors
    /// When the token can't be used.
    pub(crate) fn new(place: &Place) -> Result<Self, Failure> {
        match place {
            Place::Api { url, token, token_file, wait, authorities } => {
                Api::new(url, token.as_ref(), token_file.as_deref(), authorities.as_ref(), *wait).map(Self::Api)
            }
            Place::Servers { amqp, mongodb, redis } => {
                let servers = Servers::new(amqp.clone(), mongodb.clone(), redis.clone());
                Ok(Self::Servers(Box::new(servers)))
            }
        }
    }

    /// Binds labels. Binding twice does no harm.
    pub(crate) async fn bind(&self, bindings: &[Binding], bar: &ProgressBar) -> Result<BindReport, Failure> {
        match self {
            Self::Api(api) => Ok(api.bind(bindings, bar).await?),
            Self::Servers(servers) => Ok(servers.bind(bindings).await?),
        }
    }

    /// How many labels each of these products has, where it has any.
    pub(crate) async fn count_labels(&self, store: &Store, skus: &[Sku]) -> Result<HashMap<Sku, u64>, Failure> {
        match self {
            Self::Api(api) => Ok(api.count_labels(store, skus).await?),
            Self::Servers(servers) => Ok(servers.count_labels(store, skus).await?),
        }
    }

    /// Sends tasks until all are confirmed, or it is stopped.
    pub(crate) async fn send(&self, publishing: &Publishing<'_>, store: &Store) -> Result<(), Failure> {
        match self {
            Self::Api(api) => Ok(api.send(publishing, store).await?),
            Self::Servers(servers) => Ok(publishing.run(servers.amqp_url()).await?),
        }
    }

    /// How many labels of a batch have ended, by outcome.
    pub(crate) async fn outcomes(&self, batch: &BatchId) -> Result<BTreeMap<Outcome, u64>, Trouble> {
        match self {
            Self::Api(api) => api.outcomes(batch).await.map_err(|error| match error {
                ApiError::Away { text, .. } => Trouble::Passing(text),
                error => Trouble::Final(error.into()),
            }),
            Self::Servers(servers) => servers.outcomes(batch).await,
        }
    }

    /// The stores that a batch was sent to over HTTP.
    pub(crate) async fn stores_of(&self, batch: &BatchId) -> Result<Vec<Store>, Failure> {
        match self {
            Self::Api(api) => Ok(api.stores_of(batch).await?),
            Self::Servers(servers) => Ok(servers.stores_of(batch).await?),
        }
    }

    /// Pauses, resumes or cancels a batch in a store; answers what counts now.
    pub(crate) async fn hold(&self, store: &Store, batch: &BatchId, state: BatchState) -> Result<Held, Failure> {
        match self {
            Self::Api(api) => Ok(api.hold(store, batch, state).await?),
            Self::Servers(servers) => Ok(servers.hold(store, batch, state).await?),
        }
    }

    /// The dead letters of a batch.
    pub(crate) async fn dead_of(&self, batch: &BatchId) -> Result<Dead, Failure> {
        match self {
            Self::Api(api) => Ok(api.dead_of(batch).await?),
            Self::Servers(servers) => Ok(servers.dead_of(batch).await?),
        }
    }

    /// How many tasks wait for a worker, and how many are dead letters.
    pub(crate) async fn backlog(&self) -> Result<Backlog, Failure> {
        match self {
            Self::Api(api) => Ok(api.backlog().await?),
            Self::Servers(servers) => Ok(servers.backlog().await?),
        }
    }

    /// The oldest dead letters.
    pub(crate) async fn dead_letters(&self, limit: u16) -> Result<Letters, Failure> {
        match self {
            Self::Api(api) => Ok(api.dead_letters(limit).await?),
            Self::Servers(servers) => Ok(servers.dead_letters(limit).await?),
        }
    }

    /// Sends dead letters again: these tasks', or all.
    pub(crate) async fn replay(&self, tasks: Option<&[TaskId]>) -> Result<Sent, Failure> {
        match self {
            Self::Api(api) => Ok(api.replay(tasks).await?),
            Self::Servers(servers) => Ok(servers.replay(tasks).await?),
        }
    }

    /// The gateways, in the order of their MACs, with windows by this policy where they are read here.
    pub(crate) async fn gateways(&self, policy: &WindowPolicy) -> Result<Vec<Gateway>, Failure> {
        match self {
            Self::Api(api) => Ok(api.gateways().await?),
            Self::Servers(servers) => Ok(servers.gateways(policy).await?),
        }
    }

    /// What is known of a label, with so many of its latest outcomes.
    pub(crate) async fn label(&self, label: LabelMac, history: u32) -> Result<Facts, Failure> {
        match self {
            Self::Api(api) => Ok(api.label(label, history).await?),
            Self::Servers(servers) => Ok(servers.label(label, history).await?),
        }
    }

    /// Who says how far a batch is.
    pub(crate) fn teller(&self) -> String {
        match self {
            Self::Api(api) => api.name(),
            Self::Servers(_) => "MongoDB".to_owned(),
        }
    }

    /// What it means for the tasks that the teller is away.
    pub(crate) fn meanwhile(&self) -> &'static str {
        match self {
            Self::Api(_) => "waiting for it, the tasks go on without it",
            Self::Servers(_) => "waiting for it, the tasks wait too",
        }
    }

    /// How often a batch is looked at.
    pub(crate) fn poll(&self) -> Duration {
        match self {
            Self::Api(_) => Duration::from_millis(500),
            Self::Servers(_) => Duration::from_millis(250),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(text) => Self::Server(anyhow::anyhow!(text)),
            Trouble::Final(failure) => failure,
        }
    }
}

impl From<anyhow::Error> for Trouble {
    /// For good, as far as is known.
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error.into())
    }
}

impl Trouble {
    pub(crate) fn passing(error: &anyhow::Error) -> Self {
        Self::Passing(chain(error))
    }
}

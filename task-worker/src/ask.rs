//! Making RPCs, over the queues or over HTTP.

use crate::{Config, config::RpcBy};
use anyhow::Result;
use backbone::{
    http::{HttpRpcClient, HttpRpcError},
    queue::{Broker, QueueError, RpcClient, RpcError, RpcRequest},
};
use futures::future::{BoxFuture, FutureExt, pending};
use protocol::{LabelMac, Reply, ReplyOutcome};

/// What makes the RPCs of one session.
#[derive(Debug)]
pub(crate) enum Asker {
    Queue(RpcClient),
    Http(HttpRpcClient),
}

impl Asker {
    /// The second part must be polled as long as RPCs are made; it ends with the error that ended the session.
    pub(crate) async fn open(config: &Config, broker: &Broker) -> Result<(Self, BoxFuture<'static, QueueError>)> {
        match config.rpc {
            RpcBy::Queue => {
                let (rpc, listen) = RpcClient::open(broker).await?;
                Ok((Self::Queue(rpc), listen.boxed()))
            }
            RpcBy::Http => {
                let client = HttpRpcClient::new(&config.http_rpc_url, &config.service.tls)?;
                Ok((Self::Http(client), pending().boxed()))
            }
        }
    }

    /// One RPC; `None`: no reply came in time.
    pub(crate) async fn call(&self, request: RpcRequest<'_>) -> Result<Option<Reply>, QueueError> {
        match self {
            Self::Queue(client) => match client.call(request).await {
                Ok(reply) => Ok(Some(reply)),
                Err(RpcError::Timeout) => Ok(None),
                Err(RpcError::Session(error)) => Err(error),
            },
            Self::Http(client) => {
                let label = request.label;
                match client.call(request).await {
                    Ok(reply) => Ok(Some(reply)),
                    Err(HttpRpcError::Timeout) => Ok(None),
                    // A router that is away ends no session: the label is tried again.
                    Err(HttpRpcError::NotTaken(why)) => Ok(Some(not_taken(label, why))),
                }
            }
        }
    }
}

fn not_taken(label: LabelMac, why: String) -> Reply {
    let outcome = ReplyOutcome::NoRoute;
    Reply { id: None, label, outcome, error: Some(why), gateway: None, retry_after_ms: None }
}

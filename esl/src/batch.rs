//! `esl batch pause|resume|cancel`: holds a batch, lets it go on, or gives up what is left of it.

use crate::{
    back_end::BackEnd,
    cli::{BatchArgs, BatchCommand},
    failure::{Ending, Failure},
    output::Output,
    text::ago,
};
use protocol::{BatchId, BatchState, Store, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a batch is held in a store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) store: Store,
    pub(crate) state: BatchState,
    /// Who decided so.
    pub(crate) by: Option<String>,
    pub(crate) at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Report {
    batch: BatchId,
    stores: Vec<Held>,
}

/// Decides about a batch, in one store or in all that it was sent to.
pub(crate) async fn run(args: &BatchArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    let (held, state) = match &args.command {
        BatchCommand::Pause(which) => (which, BatchState::Paused),
        BatchCommand::Resume(which) => (which, BatchState::Running),
        BatchCommand::Cancel(which) => (which, BatchState::Cancelled),
    };
    let batch = &held.batch;
    let named = match &held.store {
        Some(store) => vec![store.clone()],
        None => back_end.stores_of(batch).await?,
    };
    if named.is_empty() {
        let text = format!("batch {batch}: nothing of it was sent over HTTP; name its store with --store");
        return Err(Failure::Input(text));
    }
    let mut stores = Vec::with_capacity(named.len());
    for store in &named {
        let held = back_end.hold(store, batch, state).await?;
        if held.state != state {
            let by = held.by.as_deref().unwrap_or("somebody");
            let text = format!("batch {batch} was cancelled by {by}, which is final: send its prices again");
            return Err(Failure::Input(text));
        }
        stores.push(held);
    }
    output.answer(&Report { batch: batch.clone(), stores })?;
    Ok(Ending::Well)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Held { store, state, by, at } in &self.stores {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            let at = at.map_or_else(String::new, |at| format!(", {}", ago(at)));
            writeln!(f, "batch {} in store {store}: {state}{by}{at}", self.batch)?;
        }
        Ok(())
    }
}

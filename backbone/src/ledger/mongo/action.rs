//! Who did what.

use super::{
    Mongo,
    command::{Write, within},
    document::encode,
    survey::{date, timestamp},
};
use crate::ledger::{ActionTaken, LedgerError};
use futures::TryStreamExt;
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use protocol::{Store, names::ledger as names};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ActionDocument {
    /// Grows with time, so that actions have an order.
    #[serde(rename = "_id")]
    id: ObjectId,
    at: DateTime,
    who: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
    what: String,
    target: String,
    detail: String,
}

impl Mongo {
    pub(in crate::ledger) async fn record_action(&self, action: &ActionTaken) -> Result<(), LedgerError> {
        const DOING: &str = "recording an action";
        let ActionTaken { at, who, store, what, target, detail } = action.clone();
        let document = ActionDocument { id: ObjectId::new(), at: date(at), who, store, what, target, detail };
        self.write(DOING, Write::Insert, names::ACTIONS, &[encode(DOING, &document)?]).await?;
        Ok(())
    }

    pub(in crate::ledger) async fn actions(
        &self,
        store: Option<&Store>,
        limit: u32,
    ) -> Result<Vec<ActionTaken>, LedgerError> {
        // `null` is also what is not there.
        let filter = doc! { "store": store.map(Store::as_str) };
        let actions = self.database.collection::<ActionDocument>(names::ACTIONS);
        let find = async {
            let find = actions.find(filter).sort(doc! { "at": -1, "_id": -1 }).limit(limit.max(1).into());
            find.await?.map_ok(ActionTaken::from).try_collect().await
        };
        within("reading what was done", Box::pin(find)).await
    }
}

impl From<ActionDocument> for ActionTaken {
    fn from(ActionDocument { id: _, at, who, store, what, target, detail }: ActionDocument) -> Self {
        Self { at: timestamp(at), who, store, what, target, detail }
    }
}

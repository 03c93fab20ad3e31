//! What a request to enqueue stands for: pure, so that a repeat leads to the same tasks.

mod body;

use crate::problem::{Fault, Problem};
use backbone::sheet::{PriceChange, Table, read_prices};
use protocol::{Action, BatchId, LabelMac, Priority, Sku, Store, Task, TaskId, Timestamp, Version};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use uuid::Uuid;

/// A request has at most so many tasks.
pub(crate) const MAX_TASKS: usize = 10_000;
/// So many faults of a body are named.
const MAX_FAULTS: usize = 1_000;
/// Stands for the ID of a task that has none, until it gets one.
const NO_ID: &str = "-";

/// Tasks as they were asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) batch: Option<BatchId>,
    drafts: Vec<Draft>,
}

#[derive(Debug)]
struct Draft {
    task: Task,
    has_id: bool,
}

impl Request {
    /// Reads JSON: a task, an array of tasks, or an object with `tasks` and perhaps `batch`.
    pub(crate) fn from_json(store: &Store, batch: Option<BatchId>, body: &[u8]) -> Result<Self, Problem> {
        let (drafts, others) = body::read(body, |value| draft(store, value))?;
        let named = named_batch(others.get("batch").filter(|_| drafts.is_some()))?;
        let drafts = drafts.unwrap_or_else(|| body::Drafts::one(draft(store, Value::Object(others))));
        demand_count(drafts.count)?;
        Self::all(drafts, named.or(batch))
    }

    fn all(body::Drafts { good, faults, .. }: body::Drafts<Draft>, batch: Option<BatchId>) -> Result<Self, Problem> {
        if !faults.is_empty() {
            let fault = |(at, detail)| Fault { index: Some(at), line: None, column: None, detail };
            return Err(unusable("tasks", faults.into_iter().map(fault).collect()));
        }
        let batch = batch.or_else(|| good.iter().find_map(|draft| draft.task.batch.clone()));
        let other = good.iter().position(|draft| draft.task.batch.is_some() && draft.task.batch != batch);
        if let Some(at) = other {
            return Err(Problem::unprocessable(format!("task {at} names another batch: send each batch by itself")));
        }
        let request = Self { batch, drafts: good };
        request.demand_one_order()?;
        Ok(request)
    }

    /// Reads CSV: columns sku, name, price, currency, and perhaps version.
    pub(crate) fn from_csv(store: &Store, batch: Option<BatchId>, body: &[u8]) -> Result<Self, Problem> {
        let table: Table<PriceChange> =
            read_prices("the body", body).map_err(|error| Problem::unprocessable(error.to_string()))?;
        if !table.bad.is_empty() {
            return Err(unusable("lines", table.bad.iter().map(Fault::from).collect()));
        }
        demand_count(table.rows.len())?;
        let task_id: TaskId = NO_ID.parse().map_err(|error: protocol::TextError| Problem::bad(error.to_string()))?;
        let draft = |change: PriceChange| Draft {
            task: Task {
                task_id: task_id.clone(),
                store: store.clone(),
                action: Action::PriceUpdate,
                sku: Some(change.sku),
                labels: None,
                version: change.version,
                fields: change.fields,
                batch: None,
                timeout_ms: None,
                priority: Priority::Normal,
            },
            has_id: false,
        };
        Ok(Self { batch, drafts: table.rows.into_iter().map(draft).collect() })
    }

    /// Two tasks that get the request's time as their version would be the same change of a label: refused, since nobody
    /// knows which of them is meant to come second.
    fn demand_one_order(&self) -> Result<(), Problem> {
        let (mut skus, mut labels) = (HashSet::<&Sku>::new(), HashSet::<LabelMac>::new());
        let timed = |draft: &&Draft| draft.task.version.is_none() && draft.task.action == Action::PriceUpdate;
        for task in self.drafts.iter().filter(|draft| !draft.has_id).filter(timed).map(|draft| &draft.task) {
            let new = match (&task.labels, &task.sku) {
                (Some(named), _) => named.iter().all(|label| labels.insert(*label)),
                (None, Some(sku)) => skus.insert(sku),
                (None, None) => true,
            };
            if !new {
                let what = task.sku.as_ref().map_or_else(|| "a label".to_owned(), |sku| format!("sku {sku}"));
                return Err(Problem::unprocessable(format!(
                    "two tasks without version for {what}: give them versions"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.drafts.len()
    }

    /// What the tasks are for, before they have IDs.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.drafts.iter().map(|draft| &draft.task)
    }

    /// The key of a request all of whose tasks have IDs of their own.
    pub(crate) fn own_key(&self) -> Option<String> {
        let all = self.drafts.iter().all(|draft| draft.has_id);
        all.then(|| hex(&self.drafts.iter().map(|draft| draft.task.task_id.as_str()).collect::<Vec<_>>().join("\n")))
    }

    /// Tells requests apart by what they ask.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.batch.as_ref().map_or("", BatchId::as_str));
        for (at, task) in self.tasks().enumerate() {
            digest.update(if at == 0 { "\n[" } else { "," });
            // A task has text keys only, so it can always be written.
            digest.update(serde_json::to_vec(task).unwrap_or_default());
        }
        digest.update("]");
        hex_of(&digest.finalize())
    }

    /// The tasks as they are sent: the same for the same key and time, however often.
    pub(crate) fn into_tasks(self, key: &str, batch: &BatchId, at: Timestamp) -> Vec<Task> {
        let of_request = Version::try_from(at.unix_millis().unsigned_abs()).ok();
        let finish = |(index, Draft { mut task, has_id }): (usize, Draft)| {
            let own_time = task.task_id.unix_millis().filter(|_| has_id);
            if !has_id && let Ok(id) = derived(&task.store, key, index).to_string().parse() {
                task.task_id = id;
            }
            if task.action == Action::PriceUpdate && task.version.is_none() {
                task.version = own_time.map_or(of_request, |millis| Version::try_from(millis).ok());
            }
            task.batch = Some(batch.clone());
            task
        };
        self.drafts.into_iter().enumerate().map(finish).collect()
    }
}

fn demand_count(count: usize) -> Result<(), Problem> {
    match count {
        1..=MAX_TASKS => Ok(()),
        0 => Err(Problem::unprocessable("no task in the body")),
        _ => Err(Problem::unprocessable(format!("{count} tasks, expected at most {MAX_TASKS}: send them in parts"))),
    }
}

fn unusable(what: &str, mut faults: Vec<Fault>) -> Problem {
    let count = faults.len();
    faults.truncate(MAX_FAULTS);
    Problem::unprocessable(format!("faults in {what}: {count}; nothing was enqueued: mend them and repeat"))
        .with_errors(faults)
}

fn named_batch(value: Option<&Value>) -> Result<Option<BatchId>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            text.parse().map(Some).map_err(|error: protocol::TextError| Problem::unprocessable(error.to_string()))
        }
        Some(_) => Err(Problem::unprocessable("batch: expected a string")),
    }
}

/// Reads a task as a worker would read it, with what the path and the request say in place of what is absent.
fn draft(store: &Store, value: Value) -> Result<Draft, String> {
    let Value::Object(mut object) = value else { return Err("expected an object".to_owned()) };
    object.retain(|_, value| !value.is_null());
    let has_id = object.contains_key("task_id");
    default(&mut object, "task_id", NO_ID);
    default(&mut object, "store", store.as_str());
    default(&mut object, "action", Action::PriceUpdate.as_str());
    let task = Task::parse(Value::Object(object).to_string().as_bytes()).map_err(|error| plain(&error.to_string()))?;
    if task.store != *store {
        return Err(format!("store {}: the path says {store}", task.store));
    }
    let timeless = task.version.is_none() && task.task_id.unix_millis().is_none();
    if has_id && timeless && task.action == Action::PriceUpdate {
        // The time of the request would be another version in each request that names this task.
        return Err("version: absent, but this task_id is no UUIDv7 to take one from".to_owned());
    }
    Ok(Draft { task, has_id })
}

fn default(object: &mut Map<String, Value>, key: &str, value: &str) {
    object.entry(key).or_insert_with(|| Value::String(value.to_owned()));
}

/// Without the place in a text that nobody has seen.
fn plain(error: &str) -> String {
    error.rsplit_once(" at line ").map_or(error, |(text, _)| text).to_owned()
}

pub(crate) fn hex(text: &str) -> String {
    hex_of(&Sha256::digest(text))
}

fn hex_of(digest: &[u8]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A UUIDv8 (RFC 9562, section 5.8) of what it is made from: SHA-256, as far as it fits.
fn derived(store: &Store, key: &str, index: usize) -> Uuid {
    let digest = Sha256::digest(format!("{store}/{key}/{index}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        "sp-014".parse().unwrap()
    }

    fn read(body: &str) -> Result<Request, Problem> {
        Request::from_json(&store(), None, body.as_bytes())
    }

    fn faults(body: &str) -> String {
        serde_json::to_string(&read(body).unwrap_err()).unwrap()
    }

    #[test]
    fn a_repeat_leads_to_the_same_tasks() {
        let body = r#"{"batch":"b","tasks":[{"sku":"a","fields":{"price":"1"}},{"sku":"b","fields":{"price":"2"},"version":7}]}"#;
        let at = Timestamp::from_unix_millis(1_000);
        let tasks = |key| read(body).unwrap().into_tasks(key, &"b".parse().unwrap(), at);
        let versions: Vec<_> = tasks("k").iter().map(|task| task.version.unwrap().get()).collect();
        assert_eq!((tasks("k"), &versions[..]), (tasks("k"), &[1_000, 7][..]));
        assert_ne!(tasks("k")[0].task_id, tasks("k")[1].task_id);
        assert_ne!(tasks("k")[0].task_id, tasks("l")[0].task_id);
        assert_eq!(read(body).unwrap().digest(), read(body).unwrap().digest());
        assert_eq!(tasks("k")[0].task_id.unix_millis(), None, "an ID that is derived has no time");
        let request = read(body).unwrap();
        let whole = serde_json::to_string(&request.tasks().collect::<Vec<_>>()).unwrap();
        assert_eq!(request.digest(), hex(&format!("b\n{whole}")), "known by what is recorded already");
    }

    #[test]
    fn a_task_with_an_id_of_its_own_has_its_own_version() {
        let v7 = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        let request = read(&format!(r#"{{"task_id":"{v7}","sku":"a","fields":{{"price":"1"}}}}"#)).unwrap();
        assert!(request.own_key().is_some());
        let task = request.into_tasks("k", &"b".parse().unwrap(), Timestamp::from_unix_millis(1)).remove(0);
        assert_eq!((task.task_id.as_str(), task.version.unwrap().get()), (v7, 1_645_557_742_000));
        assert!(faults(r#"{"task_id":"mine","sku":"a","fields":{"price":"1"}}"#).contains("no UUIDv7"));
    }

    #[test]
    fn every_bad_task_is_named() {
        let text = faults(
            r#"[{"sku":"a","fields":{"price":1}},{"sku":"b","fields":{"price":"1"}},7,{"store":"x","sku":"c","fields":{"price":"1"}}]"#,
        );
        for part in [r#""index":0"#, r#""index":2"#, r#""index":3"#, "the path says sp-014"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains(r#""index":1"#) && !text.contains("at line"), "{text}");
        assert!(faults(r#"[]"#).contains("no task"));
        assert!(faults(&format!("[{}0]", "0,".repeat(MAX_TASKS))).contains("10001 tasks"));
        assert!(
            faults(r#"[{"sku":"a","fields":{"price":"1"}},{"sku":"a","fields":{"price":"2"}}]"#).contains("two tasks")
        );
        let csv = Request::from_csv(&store(), None, b"sku,name,price,currency\na,x,1,BRL\nb,y,z,w\n").unwrap_err();
        let text = serde_json::to_string(&csv).unwrap();
        assert!(text.contains(r#""line":3,"column":"price""#) && text.contains(r#""column":"currency""#), "{text}");
    }
}

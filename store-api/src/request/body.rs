//! A body of tasks in JSON, read one task at a time: as a tree of values, 10,000 tasks would take some 20 MB.

use super::MAX_TASKS;
use crate::problem::Problem;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What the tasks of a body were made into.
#[derive(Debug)]
pub(super) struct Drafts<T> {
    pub(super) good: Vec<T>,
    /// By the place in the array.
    pub(super) faults: Vec<(usize, String)>,
    /// How many tasks there were; those beyond [`MAX_TASKS`] were not looked at.
    pub(super) count: usize,
}

/// The tasks, where there are any, and what else is in an object.
type Read<T> = (Option<Drafts<T>>, Map<String, Value>);

impl<T> Drafts<T> {
    fn new() -> Self {
        Self { good: Vec::new(), faults: Vec::new(), count: 0 }
    }

    pub(super) fn one(draft: Result<T, String>) -> Self {
        let mut drafts = Self::new();
        drafts.add(draft);
        drafts
    }

    fn add(&mut self, draft: Result<T, String>) {
        match draft {
            Ok(draft) => self.good.push(draft),
            Err(fault) => self.faults.push((self.count, fault)),
        }
        self.count += 1;
    }
}

/// Makes a draft of each task in an array, or in the array `tasks` of an object; else there are none. Also gives what
/// else is in an object.
pub(super) fn read<T>(body: &[u8], mut draft: impl FnMut(Value) -> Result<T, String>) -> Result<Read<T>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let tasks = Tasks(&mut draft);
    let read = match body.iter().find(|octet| !octet.is_ascii_whitespace()) {
        Some(b'[') => tasks.deserialize(&mut json).map(|drafts| (Some(drafts), Map::new())),
        Some(b'{') => json.deserialize_map(Object(tasks)),
        _ => {
            let detail = "the body: expected a task, an array of tasks, or {\"tasks\": [...]}";
            serde_json::from_slice::<IgnoredAny>(body).map_err(|error| no_json(&error))?;
            return Err(Problem::bad(detail));
        }
    };
    read.and_then(|read| json.end().map(|()| read)).map_err(|error| no_json(&error))
}

fn no_json(error: &serde_json::Error) -> Problem {
    // Of values only the array is demanded to be of some shape.
    Problem::bad(if error.is_data() {
        "tasks: expected an array".to_owned()
    } else {
        format!("the body is no JSON: {error}")
    })
}

struct Tasks<'a, D>(&'a mut D);

impl<'de, T, D: FnMut(Value) -> Result<T, String>> DeserializeSeed<'de> for Tasks<'_, D> {
    type Value = Drafts<T>;
    fn deserialize<J: Deserializer<'de>>(self, json: J) -> Result<Self::Value, J::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, T, D: FnMut(Value) -> Result<T, String>> Visitor<'de> for Tasks<'_, D> {
    type Value = Drafts<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tasks")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut tasks: S) -> Result<Self::Value, S::Error> {
        let mut drafts = Drafts::new();
        while drafts.count < MAX_TASKS {
            let Some(value) = tasks.next_element()? else { return Ok(drafts) };
            drafts.add((self.0)(value));
        }
        while tasks.next_element::<IgnoredAny>()?.is_some() {
            drafts.count += 1;
        }
        Ok(drafts)
    }
}

struct Object<'a, D>(Tasks<'a, D>);

impl<'de, T, D: FnMut(Value) -> Result<T, String>> Visitor<'de> for Object<'_, D> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut drafts, mut others) = (None, Map::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == "tasks" {
                drafts = Some(map.next_value_seed(Tasks(&mut *self.0.0))?);
            } else {
                others.insert(key, map.next_value()?);
            }
        }
        Ok((drafts, others))
    }
}

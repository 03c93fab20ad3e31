//! A durable queue's turn in a transaction: what was settled goes, and consumers get what they may have.

use super::durable::{DurableQueue, Plan};
use crate::{
    embedded::{Job, StoreError},
    queue::{Delivery, Ticket},
    service::now,
};
use protocol::Wait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{sync::Arc, time::Duration};

/// A task that was delivered again so often, each time after a crash or the end of a session, becomes a dead letter.
/// The same as in RabbitMQ.
const TASK_DELIVERY_LIMIT: i64 = 20;
/// The reason of those, in RabbitMQ's words.
const LIMIT_REACHED: &str = "delivery_limit";

const COLUMNS: &str = "SELECT id, published_at, expiration_ms, correlation_id, reply_to, reason, body,
    ifnull((SELECT times FROM delivered WHERE message = id), 0), wait FROM message";

/// What a turn has found.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// What is to be handed out, counted as delivered.
    pub(super) deliveries: Vec<Delivery>,
    /// How many were found and are gone: expired, or dead letters now.
    pub(super) gone: usize,
    /// There may be more.
    pub(super) more: bool,
}

/// One turn.
pub(super) struct Turn {
    queue: Arc<DurableQueue>,
    /// Made once, however often the turn is run.
    plan: Option<Plan>,
    fetched: Fetched,
    /// The last row read.
    cursor: i64,
    buried: i64,
}

struct Found {
    delivery: Delivery,
    published_at: i64,
    times: i64,
}

impl Turn {
    pub(super) fn of(queue: Arc<DurableQueue>) -> Self {
        Self { queue, plan: None, fetched: Fetched::default(), cursor: 0, buried: 0 }
    }

    fn read(&mut self, connection: &Connection) -> rusqlite::Result<Vec<Found>> {
        let Some(plan) = &self.plan else { return Ok(Vec::new()) };
        let mut found = Vec::with_capacity(plan.returned.len() + plan.wanted);
        let mut one = connection.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?;
        for id in &plan.returned {
            match one.query_row([id], read).optional()? {
                Some(row) => found.push(row),
                None => self.fetched.gone += 1,
            }
        }
        self.cursor = plan.cursor;
        if plan.wanted > 0 {
            let mut next =
                connection.prepare_cached(&format!("{COLUMNS} WHERE queue = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))?;
            let rows = next.query_map(params![self.queue.id, self.cursor, plan.wanted as i64], read)?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            self.fetched.more = rows.len() == plan.wanted;
            self.cursor = rows.last().map_or(self.cursor, |row| row.delivery.ticket.0.cast_signed());
            found.extend(rows);
        }
        Ok(found)
    }

    /// Hands it out, or says what becomes of it instead.
    fn decide(&mut self, connection: &Connection, found: Found, now: i64) -> rusqlite::Result<()> {
        let Found { mut delivery, published_at, times } = found;
        let id = delivery.ticket.0.cast_signed();
        let age = Duration::from_millis(u64::try_from(now - published_at).unwrap_or(0));
        if delivery.expiration.is_some_and(|expiration| expiration <= age) {
            self.fetched.gone += 1;
            return delete(connection, id);
        }
        if let Some(dead_letters) = &self.queue.dead_letters
            && times > TASK_DELIVERY_LIMIT
        {
            bury(connection, id, dead_letters.id)?;
            dead_letters.push_turn_for_new();
            (self.fetched.gone, self.buried) = (self.fetched.gone + 1, self.buried + 1);
            return delete(connection, id);
        }
        let count = "INSERT INTO delivered VALUES (?1, 1) ON CONFLICT DO UPDATE SET times = times + 1";
        connection.prepare_cached(count)?.execute([id])?;
        delivery.redelivered = times > 0;
        self.fetched.deliveries.push(delivery);
        Ok(())
    }
}

impl Job for Turn {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let plan = self.plan.take().unwrap_or_else(|| self.queue.plan());
        let plan = self.plan.insert(plan);
        (self.fetched, self.buried) = (Fetched::default(), 0);
        for id in &plan.settled {
            delete(connection, *id)?;
        }
        let now = now().unix_millis();
        for found in self.read(connection)? {
            self.decide(connection, found, now)?;
        }
        // Room was left by those that are gone.
        self.fetched.more |= self.fetched.gone > 0;
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => {
                if let Some(dead_letters) = &self.queue.dead_letters {
                    dead_letters.add_waiting(self.buried);
                }
                self.queue.finish(self.cursor, self.fetched);
            }
            Err(error) => self.queue.undo(self.plan.unwrap_or_default(), &error),
        }
    }
}

fn delete(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM delivered WHERE message = ?1")?.execute([id])?;
    Ok(())
}

/// Under a new ID, because consumers of dead letters may be past the old one.
fn bury(connection: &Connection, id: i64, dead_letters: i64) -> rusqlite::Result<()> {
    let copy = "INSERT INTO message (queue, published_at, correlation_id, reply_to, reason, body)
        SELECT ?2, published_at, correlation_id, reply_to, ?3, body FROM message WHERE id = ?1";
    connection.prepare_cached(copy)?.execute(params![id, dead_letters, LIMIT_REACHED])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
    let published_at: i64 = row.get(1)?;
    let expiration: Option<i64> = row.get(2)?;
    let delivery = Delivery {
        ticket: Ticket(row.get::<_, i64>(0)?.cast_unsigned()),
        expiration: expiration.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        correlation_id: row.get(3)?,
        reply_to: row.get(4)?,
        reason: row.get(5)?,
        body: row.get(6)?,
        timestamp_seconds: None,
        timestamp_ms: u64::try_from(published_at).ok(),
        redelivered: false,
        // Only requests have one, and those are in memory.
        turn: Default::default(),
        wait: row.get::<_, Option<String>>(8)?.as_deref().and_then(Wait::parse),
    };
    Ok(Found { delivery, published_at, times: row.get(7)? })
}

//! `esl watch`, and `esl enqueue --watch`: follows a batch until each of its labels has its outcome.

use crate::{
    balance::{Balance, Batch, Dead},
    bind::{at, open},
    cli::{Patience, WatchArgs},
    failure::{Ending, Failure},
    file,
    interrupt::Interrupts,
    letters,
    output::Output,
    progress,
    text::{chain, count, seconds},
};
use anyhow::{Context, anyhow};
use backbone::{
    ledger::{Ledger, LedgerError, LedgerUrl},
    queue::AmqpUrl,
    sheet::{PriceChange, read_prices},
};
use indicatif::ProgressBar;
use protocol::{BatchId, Outcome, Sku, Store, names::amqp};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

const POLL: Duration = Duration::from_millis(250);
/// When no label has ended for so long, and so often from then on, dead letters are looked for.
const DEAD_LOOK: Duration = Duration::from_secs(5);
/// A look that takes longer is given up.
const DEAD_LOOK_LIMIT: Duration = Duration::from_secs(5);
/// When no label has ended for so long, that is said.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Follows a batch that was sent before.
pub(crate) async fn run(args: &WatchArgs, output: Output) -> Result<Ending, Failure> {
    let ledger = open(&args.mongodb.mongodb_url).await?;
    let batch = match (args.total, &args.file, &args.store) {
        (None, Some(file), Some(store)) => {
            let changes = file::demand(file::read(file, read_prices)?, file, true)?.rows;
            counted(&ledger, &args.mongodb.mongodb_url, &args.batch, store, &changes).await?
        }
        (total, ..) => Batch { id: args.batch.clone(), labels: total.unwrap_or(0), without_label: Vec::new() },
    };
    let urls = (args.mongodb.mongodb_url.clone(), args.amqp.amqp_url.clone());
    let follower = Follower::new(ledger, urls, batch, Instant::now());
    let (balance, ending) = follower.follow(args.patience, &mut Interrupts::listen()?).await?;
    output.answer(&balance)?;
    Ok(ending)
}

/// Counts the labels of these products.
///
/// # Errors
/// When there are none, since nothing would come of the tasks, or the ledger does not answer.
pub(crate) async fn counted(
    ledger: &Ledger,
    url: &LedgerUrl,
    id: &BatchId,
    store: &Store,
    changes: &[PriceChange],
) -> Result<Batch, Failure> {
    let skus: Vec<Sku> = changes.iter().map(|change| change.sku.clone()).collect();
    let counts = ledger.count_bound(store, &skus).await.with_context(|| at(url))?;
    let labels = counts.values().sum();
    if labels == 0 {
        let products = count(skus.len() as u64, "product");
        return Err(Failure::Input(format!("--store {store}: no label there is bound to any of the {products}")));
    }
    let without_label = skus.into_iter().filter(|sku| counts.get(sku).is_none_or(|labels| *labels == 0)).collect();
    Ok(Batch { id: id.clone(), labels, without_label })
}

/// How many labels of a batch have ended already.
///
/// # Errors
/// When the ledger does not answer.
pub(crate) async fn ended(ledger: &Ledger, url: &LedgerUrl, id: &BatchId) -> Result<u64, Failure> {
    let outcomes = ledger.balance(id).await.with_context(|| at(url))?;
    Ok(outcomes.values().sum())
}

/// Follows one batch.
pub(crate) struct Follower {
    ledger: Ledger,
    mongodb_url: LedgerUrl,
    amqp_url: AmqpUrl,
    batch: Batch,
    bar: ProgressBar,
    began: Instant,
    outcomes: BTreeMap<Outcome, u64>,
    dead: Dead,
    /// When a label ended last.
    moved: Instant,
    looked: Instant,
    stands_still: bool,
    ledger_is_away: bool,
}

impl Follower {
    /// `began` is when the batch began, as far as this process knows.
    pub(crate) fn new(
        ledger: Ledger,
        (mongodb_url, amqp_url): (LedgerUrl, AmqpUrl),
        batch: Batch,
        began: Instant,
    ) -> Self {
        let bar = progress::bar(batch.labels, "labels ended");
        let now = Instant::now();
        Self {
            ledger,
            mongodb_url,
            amqp_url,
            batch,
            bar,
            began,
            outcomes: BTreeMap::new(),
            dead: Dead::default(),
            moved: now,
            looked: now,
            stands_still: false,
            ledger_is_away: false,
        }
    }

    /// Follows until every label has its outcome, patience ends, or Ctrl-C.
    ///
    /// # Errors
    /// When the ledger will never answer; while it is away, it is waited for.
    pub(crate) async fn follow(
        mut self,
        patience: Patience,
        interrupts: &mut Interrupts,
    ) -> Result<(Balance, Ending), Failure> {
        let labels = count(self.batch.labels, "label");
        let text = format!("following batch {}: {labels}; Ctrl-C stops following, not the tasks", self.batch.id);
        progress::say(&self.bar, &text);
        let ending = tokio::select! {
            ending = self.until_ended(patience) => ending?,
            () = interrupts.next() => Ending::Interrupted,
        };
        self.bar.finish_and_clear();
        if ending == Ending::Interrupted {
            let Batch { id, labels, .. } = &self.batch;
            let again = format!("esl watch {:?} --total {labels}", id.as_str());
            progress::say(&self.bar, &format!("stopped following, the tasks go on; to follow on: {again}"));
        }
        Ok((self.balance(), ending))
    }

    async fn until_ended(&mut self, patience: Patience) -> Result<Ending, Failure> {
        let mut polls = tokio::time::interval(POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            let polled = self.ledger.balance(&self.batch.id).await;
            self.take(polled)?;
            let balance = self.balance();
            if balance.waiting == 0 {
                return Ok(Ending::of(balance.is_well()));
            }
            if self.moved.elapsed() >= DEAD_LOOK && self.looked.elapsed() >= DEAD_LOOK && !self.ledger_is_away {
                self.look_for_dead().await;
                self.looked = Instant::now();
            }
            self.say_standstill().await;
            if let Some(patience) = patience.give_up_after.filter(|patience| self.moved.elapsed() >= *patience) {
                progress::say(&self.bar, &format!("gave up: no label ended within {}", seconds(patience)));
                return Ok(Ending::NotAll);
            }
        }
    }

    fn balance(&self) -> Balance {
        Balance::new(&self.batch, &self.outcomes, self.dead, self.began.elapsed())
    }

    fn take(&mut self, polled: Result<BTreeMap<Outcome, u64>, LedgerError>) -> Result<(), Failure> {
        match polled {
            Ok(outcomes) => {
                if self.ledger_is_away {
                    progress::say(&self.bar, "MongoDB answers again");
                }
                self.ledger_is_away = false;
                if outcomes != self.outcomes {
                    self.moved = Instant::now();
                    self.stands_still = false;
                    self.outcomes = outcomes;
                }
                self.bar.set_position(self.outcomes.values().sum());
            }
            Err(error) if error.is_passing() => {
                if !self.ledger_is_away {
                    let error = anyhow!(error).context(at(&self.mongodb_url));
                    progress::say(&self.bar, &format!("{}; waiting for it, the tasks wait too", chain(&error)));
                }
                self.ledger_is_away = true;
            }
            Err(error) => return Err(anyhow!(error).context(at(&self.mongodb_url)).into()),
        }
        Ok(())
    }

    /// Whether labels wait because their tasks are dead. What can't be found out now is found out the next time.
    async fn look_for_dead(&mut self) {
        let looking = async {
            let mut tasks = Vec::new();
            letters::look(&self.amqp_url, letters::MOST, |letter| {
                tasks.extend(letter.task().filter(|task| task.batch.as_ref() == Some(&self.batch.id)));
            })
            .await?;
            let mut dead = Dead { tasks: tasks.len() as u64, labels: 0 };
            for task in &tasks {
                dead.labels += match (&task.labels, &task.sku) {
                    (Some(labels), _) => labels.len() as u64,
                    (None, Some(sku)) => self.ledger.labels_of(&task.store, sku).await?.len() as u64,
                    (None, None) => 0,
                };
            }
            anyhow::Ok(dead)
        };
        if let Ok(Ok(dead)) = tokio::time::timeout(DEAD_LOOK_LIMIT, looking).await {
            self.dead = dead;
        }
    }

    async fn say_standstill(&mut self) {
        if self.stands_still || self.ledger_is_away || self.moved.elapsed() < STANDSTILL {
            return;
        }
        self.stands_still = true;
        let looking = async {
            anyhow::Ok((letters::waiting(&self.amqp_url, amqp::TASKS).await?, letters::put_off(&self.amqp_url).await?))
        };
        let tasks = match tokio::time::timeout(DEAD_LOOK_LIMIT, looking).await {
            Ok(Ok((0, 0))) => "no task waits for a worker".to_owned(),
            Ok(Ok((0, tasks))) => {
                format!("labels of {} wait for their gateways; see `esl gateways`", count(tasks.into(), "task"))
            }
            Ok(Ok((tasks, _))) => {
                format!("{} in {}; does a task-worker run?", count(tasks.into(), "waiting task"), amqp::TASKS)
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("RabbitMQ at {} does not answer", self.amqp_url),
        };
        progress::say(&self.bar, &format!("no label has ended for {}: {tasks}", seconds(STANDSTILL)));
    }
}

//! `esl watch`, and `esl enqueue --watch`: follows a batch until each of its labels has its outcome.

use crate::{
    back_end::{BackEnd, Trouble},
    balance::{Balance, Batch, Dead},
    cli::{Patience, WatchArgs},
    failure::{Ending, Failure},
    file,
    interrupt::Interrupts,
    letters::Backlog,
    output::Output,
    progress,
    text::{count, seconds},
};
use backbone::sheet::{PriceChange, read_prices};
use indicatif::ProgressBar;
use protocol::{BatchId, Outcome, Sku, Store, names::amqp};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

/// When no label has ended for so long, and so often from then on, dead letters are looked for.
const DEAD_LOOK: Duration = Duration::from_secs(5);
/// A look that takes longer is given up.
const DEAD_LOOK_LIMIT: Duration = Duration::from_secs(5);
/// When no label has ended for so long, that is said.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Follows a batch that was sent before.
pub(crate) async fn run(args: &WatchArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    let batch = match (args.total, &args.file, &args.store) {
        (None, Some(file), Some(store)) => {
            let changes = file::demand(file::read(file, read_prices)?, file, true)?.rows;
            counted(back_end, &args.batch, store, &changes).await?
        }
        (total, ..) => Batch { id: args.batch.clone(), labels: total.unwrap_or(0), without_label: Vec::new() },
    };
    let follower = Follower::new(back_end, batch, Instant::now());
    let (balance, ending) = follower.follow(args.patience, &mut Interrupts::listen()?).await?;
    output.answer(&balance)?;
    Ok(ending)
}

/// Counts the labels of these products.
///
/// # Errors
/// When there are none, since nothing would come of the tasks, or they can't be counted.
pub(crate) async fn counted(
    back_end: &BackEnd,
    id: &BatchId,
    store: &Store,
    changes: &[PriceChange],
) -> Result<Batch, Failure> {
    let skus: Vec<Sku> = changes.iter().map(|change| change.sku.clone()).collect();
    let counts = back_end.count_labels(store, &skus).await?;
    let labels = counts.values().sum();
    if labels == 0 {
        let products = count(skus.len() as u64, "product");
        return Err(Failure::Input(format!("--store {store}: no label there is bound to any of the {products}")));
    }
    let without_label = skus.into_iter().filter(|sku| counts.get(sku).is_none_or(|labels| *labels == 0)).collect();
    Ok(Batch { id: id.clone(), labels, without_label })
}

/// Follows one batch.
pub(crate) struct Follower<'a> {
    back_end: &'a BackEnd,
    batch: Batch,
    bar: ProgressBar,
    began: Instant,
    outcomes: BTreeMap<Outcome, u64>,
    dead: Dead,
    /// When a label ended last.
    moved: Instant,
    looked: Instant,
    stands_still: bool,
    teller_is_away: bool,
}

impl<'a> Follower<'a> {
    /// `began` is when the batch began, as far as this process knows.
    pub(crate) fn new(back_end: &'a BackEnd, batch: Batch, began: Instant) -> Self {
        let bar = progress::bar(batch.labels, "labels ended");
        let now = Instant::now();
        Self {
            back_end,
            batch,
            bar,
            began,
            outcomes: BTreeMap::new(),
            dead: Dead::default(),
            moved: now,
            looked: now,
            stands_still: false,
            teller_is_away: false,
        }
    }

    /// Follows until every label has its outcome, patience ends, or Ctrl-C.
    ///
    /// # Errors
    /// When nobody will ever say how far it is; who is away is waited for.
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
        let mut polls = tokio::time::interval(self.back_end.poll());
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            let polled = self.back_end.outcomes(&self.batch.id).await;
            self.take(polled)?;
            let balance = self.balance();
            if balance.waiting == 0 {
                return Ok(Ending::of(balance.is_well()));
            }
            if self.moved.elapsed() >= DEAD_LOOK && self.looked.elapsed() >= DEAD_LOOK && !self.teller_is_away {
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

    fn take(&mut self, polled: Result<BTreeMap<Outcome, u64>, Trouble>) -> Result<(), Failure> {
        match polled {
            Ok(outcomes) => {
                if self.teller_is_away {
                    progress::say(&self.bar, &format!("{} answers again", self.back_end.teller()));
                }
                self.teller_is_away = false;
                if outcomes != self.outcomes {
                    self.moved = Instant::now();
                    self.stands_still = false;
                    self.outcomes = outcomes;
                }
                self.bar.set_position(self.outcomes.values().sum());
            }
            Err(Trouble::Passing(text)) => {
                if !self.teller_is_away {
                    progress::say(&self.bar, &format!("{text}; {}", self.back_end.meanwhile()));
                }
                self.teller_is_away = true;
            }
            Err(Trouble::Final(failure)) => return Err(failure),
        }
        Ok(())
    }

    /// Whether labels wait because their tasks are dead. What can't be found out now is found out the next time.
    async fn look_for_dead(&mut self) {
        let looking = self.back_end.dead_of(&self.batch.id);
        if let Ok(Ok(dead)) = tokio::time::timeout(DEAD_LOOK_LIMIT, looking).await {
            self.dead = dead;
        }
    }

    async fn say_standstill(&mut self) {
        if self.stands_still || self.teller_is_away || self.moved.elapsed() < STANDSTILL {
            return;
        }
        self.stands_still = true;
        let tasks = match tokio::time::timeout(DEAD_LOOK_LIMIT, self.back_end.backlog()).await {
            Ok(Ok(Backlog { tasks: 0, waiting: 0, .. })) => "no task waits for a worker".to_owned(),
            Ok(Ok(Backlog { tasks: 0, waiting, .. })) => {
                format!("labels of {} wait for their gateways; see `esl gateways`", count(waiting.into(), "task"))
            }
            Ok(Ok(Backlog { tasks, .. })) => {
                format!("{} in {}; does a task-worker run?", count(tasks.into(), "waiting task"), amqp::TASKS)
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "nobody says how many tasks wait".to_owned(),
        };
        progress::say(&self.bar, &format!("no label has ended for {}: {tasks}", seconds(STANDSTILL)));
    }
}

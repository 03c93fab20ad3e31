//! The books: results exchange, ledger and labels must tell the same story, and it must keep the promises.

use crate::{EmulatedLabel, Emulator, Story, results::Seen};
use anyhow::{Context, Result, ensure};
use backbone::ledger::{LabelRecord, Ledger};
use protocol::{Action, LabelMac, Outcome, ResultMessage, Task, TaskId, names::amqp};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Queues must be empty and repairs done within this time after the last result.
const QUIET_LIMIT: Duration = Duration::from_secs(60);

/// What to expect of the books. By default: nothing goes back, nothing is dead.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// A label may have gone back to an older version, if it was put right (gateways that carry out expired commands).
    pub may_go_back: bool,
    /// How many dead letters there must be.
    pub dead_letters: u32,
    /// Labels of which commands are known to have been lost or refused: they need not show what is desired.
    pub troubled: Vec<LabelMac>,
}

/// All that is known of one label.
struct Account {
    record: LabelRecord,
    emulated: EmulatedLabel,
    outcomes: HashMap<TaskId, ResultMessage>,
}

impl Books {
    /// Checks P1 to P7 over everything that was enqueued.
    ///
    /// # Errors
    /// With the first violation found.
    pub async fn check(&self, story: &Story) -> Result<()> {
        self.wait_for_quiet(story).await?;
        let Story { backend, results, ledger, emulator, .. } = story;
        self.check_entries(&backend.enqueued(), &results.seen(), ledger, emulator).await
    }

    /// Checks what is recorded and shown, once nothing is under way any more.
    ///
    /// # Errors
    /// With the first violation found.
    pub async fn check_entries(
        &self,
        enqueued: &[(Task, Vec<LabelMac>)],
        results: &Seen,
        ledger: &Ledger,
        emulator: &Emulator,
    ) -> Result<()> {
        let mut by_label: BTreeMap<LabelMac, Vec<&Task>> = BTreeMap::new();
        for (task, labels) in enqueued {
            for label in labels {
                by_label.entry(*label).or_default().push(task);
            }
        }
        check_results(results)?;
        for (label, tasks) in &by_label {
            let account = account(ledger, emulator, *label).await?;
            self.check_label(*label, tasks, &account, results)
                .with_context(|| format!("the books of label {label}"))?;
        }
        Ok(())
    }

    /// P6: what was backlog is worked off, and nothing is left behind.
    async fn wait_for_quiet(&self, story: &Story) -> Result<()> {
        let quiet = async |story: &Story| {
            Ok(story.backlog(amqp::TASKS).await? == 0
                && story.backlog(amqp::URGENT_TASKS).await? == 0
                && story.waiting().await? == 0
                && story.backlog(amqp::RPC).await? == 0
                && story.metric("task_worker_tasks_in_hand").await? == 0.0)
        };
        story.until("all queues are empty and no task is in hand", QUIET_LIMIT, quiet).await?;
        let dead = story.backlog(amqp::DEAD_TASKS).await?;
        ensure!(dead == self.dead_letters, "{dead} dead letters, expected {}", self.dead_letters);
        let retained = story.stack.emulator.metric("gateway_emulator_retained_commands_total").await?;
        ensure!(retained == 0.0, "P7: {retained} commands were retained");
        Ok(())
    }

    fn check_label(&self, label: LabelMac, tasks: &[&Task], account: &Account, results: &Seen) -> Result<()> {
        for task in tasks {
            let outcome = account.outcomes.get(&task.task_id);
            let outcome = outcome.with_context(|| format!("P1: no outcome of task {} is recorded", task.task_id))?;
            let published = results.get(&(task.task_id.clone(), label)).and_then(|results| results.first());
            ensure!(published == Some(outcome), "P1: published {published:?}, recorded {outcome:?}");
            check_evidence(outcome, account)?;
        }
        self.check_order(account)?;
        if tasks.iter().any(|task| task.action == Action::PriceUpdate) {
            self.check_final(label, tasks, account)?;
        }
        Ok(())
    }

    /// P2: no older version after a newer one, or, where a gateway may do that, not as the last word.
    fn check_order(&self, account: &Account) -> Result<()> {
        let versions: Vec<_> = account.emulated.history.iter().filter_map(|write| write.version).collect();
        if !self.may_go_back {
            let back = versions.windows(2).find(|pair| pair[1] < pair[0]);
            ensure!(back.is_none(), "P2: an older version after a newer one: {back:?} in {versions:?}");
        }
        let last = versions.last();
        ensure!(last >= versions.iter().max(), "P2: left at {last:?} after {versions:?}");
        Ok(())
    }

    /// The newest version is desired; what the ledger says that the label shows, it shows.
    fn check_final(&self, label: LabelMac, tasks: &[&Task], account: &Account) -> Result<()> {
        let newest = tasks.iter().filter_map(|task| task.version).max();
        let desired = account.record.desired.as_ref().map(|desired| desired.version);
        ensure!(newest.is_none() || desired == newest, "desired is {desired:?}, the newest enqueued is {newest:?}");
        if self.troubled.contains(&label) {
            return Ok(());
        }
        let recorded = account.record.shown.as_ref().map(|shown| (shown.version, &*shown.fields));
        let really = account.emulated.shown.as_ref().map(|shown| (shown.version, &shown.fields));
        let outcomes = &account.outcomes;
        ensure!(recorded == really, "the ledger says {recorded:?}, but it shows {really:?}; outcomes: {outcomes:?}");
        ensure!(recorded.map(|(version, _)| version) == desired, "it shows {recorded:?}, desired is {desired:?}");
        Ok(())
    }
}

/// P1: one outcome for each task and label, however often it is published.
fn check_results(results: &Seen) -> Result<()> {
    for ((task, label), results) in results {
        let differs = results.windows(2).find(|pair| pair[0] != pair[1]);
        ensure!(differs.is_none(), "P1: two outcomes of task {task} for label {label}: {differs:?}");
    }
    Ok(())
}

/// P3: what was acknowledged was written, by the gateway that the outcome names.
fn check_evidence(outcome: &ResultMessage, account: &Account) -> Result<()> {
    if outcome.outcome != Outcome::Shown || outcome.attempts == 0 || outcome.version.is_none() {
        return Ok(());
    }
    let written = |write: &&crate::Write| write.version == outcome.version && Some(write.gateway) == outcome.gateway;
    ensure!(
        account.emulated.history.iter().any(|write| written(&write)),
        "P3: recorded but never written: {outcome:?}"
    );
    Ok(())
}

async fn account(ledger: &Ledger, emulator: &Emulator, label: LabelMac) -> Result<Account> {
    let (record, history, emulated) = tokio::try_join!(
        async { ledger.label(label).await.context("reading the ledger") },
        async { ledger.history(label, 100_000).await.context("reading the ledger") },
        emulator.label(label),
    )?;
    let count = history.len();
    let outcomes: HashMap<_, _> = history.into_iter().map(|result| (result.task_id.clone(), result)).collect();
    ensure!(outcomes.len() == count, "P1: the ledger has two outcomes of one task for label {label}");
    Ok(Account { record: record.unwrap_or_default(), emulated, outcomes })
}

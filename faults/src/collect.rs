//! What happened is gathered: from the emulator, the results exchange, the ledger and the queues.

use crate::{
    Config,
    history::{Carried, FaultSpan, History, LabelEnd},
    plan::Target,
    run::Struck,
    stage::Stage,
    traffic::Traffic,
};
use anyhow::{Context, Result};
use backbone::{
    ledger::Ledger,
    queue::{AmqpUrl, Broker},
};
use futures::{StreamExt, TryStreamExt, stream};
use integration::{EmulatedLabel, Emulator, gateway_mac, labels};
use protocol::{GatewayMac, LabelMac, ResultMessage, names::amqp};
use std::{collections::BTreeSet, sync::Arc};

const AT_A_TIME: usize = 16;
/// More outcomes than any label has.
const ALL: u32 = 1_000_000;

/// All that is known of one label.
struct Known {
    emulated: EmulatedLabel,
    recorded: Vec<ResultMessage>,
    end: LabelEnd,
}

/// Gathers everything, once nothing is under way any more.
pub(crate) async fn collect(config: &Config, stage: &Stage, traffic: &Traffic, struck: &[Struck]) -> Result<History> {
    let ledger = Ledger::connect(&stage.servers.mongodb_url.parse()?).await?;
    let emulator = Emulator::new(stage.emulator()?.admin_url());
    let known: Vec<Known> = stream::iter(labels(config.labels))
        .map(|label| know(&ledger, &emulator, label))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let (asked, credits) = traffic.told();
    let published = traffic.results.seen().into_values().flatten().collect();
    let mut history = History { asked, credits, published, left_over: left_over(stage).await?, ..History::default() };
    for blow in struck {
        history.faults.extend(spans(blow, &known));
        history.samples.extend(blow.samples.iter().cloned());
    }
    for Known { emulated, recorded, end } in known {
        let label = emulated.mac;
        history.commands.extend(emulated.history.into_iter().map(|write| Carried {
            label,
            gateway: write.gateway,
            rpc: write.id,
            version: write.version,
            came: write.came,
            at: write.at,
            retained: write.retained,
        }));
        history.recorded.extend(recorded);
        history.labels.push(end);
    }
    Ok(history)
}

async fn know(ledger: &Ledger, emulator: &Emulator, label: LabelMac) -> Result<Known> {
    let (record, recorded, emulated) = tokio::try_join!(
        async { ledger.label(label).await.context("reading the ledger") },
        async { ledger.history(label, ALL).await.context("reading the ledger") },
        emulator.label(label),
    )?;
    let record = record.unwrap_or_default();
    let end = LabelEnd {
        label,
        desired: record.desired.map(|desired| desired.version),
        recorded: record.shown.map(|shown| shown.version),
        shown: emulated.shown.as_ref().map(|shown| shown.version),
    };
    Ok(Known { emulated, recorded, end })
}

fn spans(blow: &Struck, known: &[Known]) -> impl Iterator<Item = FaultSpan> {
    blow.blow.faults.iter().map(move |fault| FaultSpan {
        name: fault.to_string(),
        begin: blow.begin,
        end: blow.end,
        forgets: fault.forgets(),
        holds_commands: fault.holds_commands(),
        spares: match fault.target {
            Target::Gateway(number) => Some(Arc::new(out_of_reach(gateway_mac(number), known))),
            _ => None,
        },
    })
}

fn out_of_reach(gateway: GatewayMac, known: &[Known]) -> BTreeSet<LabelMac> {
    let hears = |known: &&Known| known.emulated.heard_by.iter().any(|hearer| hearer.gateway == gateway);
    known.iter().filter(|known| !hears(known)).map(|known| known.emulated.mac).collect()
}

async fn left_over(stage: &Stage) -> Result<Vec<(String, u32)>> {
    let url: AmqpUrl = stage.servers.amqp_url.parse()?;
    let broker = Broker::connect(&url, "fault run").await?;
    let mut left = vec![("queues in which tasks wait".to_owned(), broker.waiting().await?)];
    for queue in [amqp::TASKS, amqp::URGENT_TASKS, amqp::DEAD_TASKS, amqp::RPC, amqp::RPC_LINES] {
        left.push((queue.to_owned(), broker.backlog(queue).await?));
    }
    broker.close().await;
    Ok(left)
}

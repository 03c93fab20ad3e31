//! `esl gateway-check`: plays the backbone against a real gateway, and says what it does right and wrong.
//!
//! [`play`] sends commands and waits, and [`record`] keeps all that was sent and all that came; what it means is decided
//! afterwards, by the pure functions in [`judge`]: so a check that was interrupted is judged as far as it came.
//!
//! There is no other way to a verdict than what docs/PROTOCOL.md says, and nothing in here that a gateway of any make
//! could not do.

mod judge;
mod play;
mod record;
mod report;

use crate::{
    cli::GatewayCheckArgs,
    failure::{Ending, Failure},
    interrupt::Interrupts,
    output::{Output, agreed},
};
use anyhow::{Context, anyhow};
use backbone::mqtt::{Observer, Tap};
use indicatif::ProgressBar;
use play::Player;
use record::Record;
use report::Report;
use std::{io::IsTerminal, time::Duration};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Messages that wait to be looked at, while a command is published.
const INBOX: usize = 65_536;
const TICK: Duration = Duration::from_millis(100);

/// Checks one gateway.
pub(crate) async fn run(args: &GatewayCheckArgs, output: Output) -> Result<Ending, Failure> {
    if !args.yes && std::io::stdin().is_terminal() && !agreed(&question(args))? {
        return Ok(Ending::NotAll);
    }
    let mut interrupts = Interrupts::listen()?;
    let tracker = TaskTracker::new();
    let (sender, inbox) = mpsc::channel(INBOX);
    let client_id = format!("esl-check-{}", args.mac);
    let at_broker = || format!("MQTT broker at {}", args.mqtt);
    let filters = play::filters();
    let connecting = Observer::connect(&args.mqtt, &client_id, &filters, sender, &tracker);
    let observer = tokio::select! {
        connected = connecting => connected.with_context(at_broker)?,
        () = interrupts.next() => return Ok(Ending::Interrupted),
    };
    // Only now: what the gateway says as soon as it is connected must be heard.
    let tap = match args.tap {
        Some(listen) => Some(open_tap(listen, args, &tracker).await?),
        None => None,
    };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(TICK);
    let record = Record::new(args.mac, args.timeout, &args.label, tap.is_some());
    let mut player = Player { args, observer, inbox, tap, record, bar };
    let played = tokio::select! {
        played = player.play() => Some(played),
        () = interrupts.next() => None,
    };
    let Player { record, bar, observer, tap, .. } = player;
    bar.finish_and_clear();
    drop((observer, tap));
    tracker.close();
    tracker.wait().await;
    let interrupted = played.is_none();
    played.transpose()?;
    let report = Report::new(&record, judge::judge(&record), interrupted);
    output.answer(&report)?;
    Ok(if interrupted { Ending::Interrupted } else { Ending::of(report.is_well(args.strict)) })
}

fn question(args: &GatewayCheckArgs) -> String {
    let which = match args.label.as_slice() {
        [] => format!("up to {} labels that gateway {} hears best", args.burst, args.mac),
        labels => labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("Write test prices to {which}? [y/N] ")
}

async fn open_tap(
    listen: std::net::SocketAddr,
    args: &GatewayCheckArgs,
    tracker: &TaskTracker,
) -> Result<Tap, Failure> {
    if args.mqtt.to_string().starts_with("mqtts:") {
        return Err(Failure::Input("--tap: only without TLS; give an mqtt:// URL, or leave --tap out".to_owned()));
    }
    let opened = Tap::open(listen, &args.mqtt, tracker).await;
    opened.map_err(|error| anyhow!(error).context(format!("listening on --tap {listen}")).into())
}

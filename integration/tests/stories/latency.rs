//! How long one RPC takes when nothing else is under way.

use anyhow::Result;
use integration::{Asker, Story, label_mac, labels, price_update, quick};
use protocol::ReplyOutcome;
use std::time::{Duration, Instant};
use testbed::StackConfig;

/// Where one of the connections lacks TCP_NODELAY, an RPC takes 40 ms more: Nagle's algorithm against delayed
/// acknowledgements. That is all that is judged here, so that a slow machine, where an RPC takes some milliseconds,
/// passes; how fast an RPC is on a quiet one is for `bench rpc` to say.
const MEDIAN_LIMIT: Duration = Duration::from_millis(35);
const RPCS: usize = 200;
/// Other tests use the machine at the same time; the quietest of so many rounds counts.
const ROUNDS: usize = 5;

async fn median_of_a_round(asker: &Asker) -> Result<Duration> {
    let mut latencies = Vec::with_capacity(RPCS);
    for number in 0..RPCS as u32 {
        let began = Instant::now();
        let reply = asker.ping(label_mac(1 + number % 10), Duration::from_secs(10)).await?;
        latencies.push(began.elapsed());
        assert_eq!(reply.outcome, ReplyOutcome::Ack, "{reply:?}");
    }
    latencies.sort();
    Ok(latencies[RPCS / 2])
}

#[tokio::test]
async fn no_connection_waits_for_fuller_packets() -> Result<()> {
    let emulator_args = ["--write-time", "0", "--report-interval", "2s"].map(str::to_owned).to_vec();
    let story = Story::start(StackConfig { emulator_args, ..quick(2, 10) }).await?;
    story.backend.enqueue(&price_update(&labels(10), 1)).await?;
    story.all_settled(Duration::from_secs(60)).await?;
    let asker = Asker::connect(&story).await?;
    let mut medians = Vec::new();
    while medians.len() < ROUNDS && medians.iter().all(|median| *median >= MEDIAN_LIMIT) {
        medians.push(median_of_a_round(&asker).await?);
    }
    println!("medians of {RPCS} RPCs: {medians:?}");
    assert!(medians.iter().any(|median| *median < MEDIAN_LIMIT), "medians of {RPCS} RPCs: {medians:?}");
    story.check_books().await?;
    story.end().await
}

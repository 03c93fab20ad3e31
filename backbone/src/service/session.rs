//! First connect is reconnect: a session owns its connections, and is built anew when one of them is lost.

use super::Backoff;
use std::future::Future;
use tokio_util::sync::CancellationToken;

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop, and has drained.
    Stopped,
    /// A connection was lost after it had worked; the next session begins with the first backoff.
    Lost(anyhow::Error),
}

/// Runs sessions one after the other until one has stopped. A session that fails or is lost is logged once, with the
/// chain of its causes, and followed by the next after a jittered backoff, which `stop` interrupts.
pub async fn run_sessions<F, S>(stop: &CancellationToken, mut session: S)
where
    S: FnMut() -> F,
    F: Future<Output = anyhow::Result<Ended>>,
{
    let mut backoff = Backoff::for_connections();
    while !stop.is_cancelled() {
        let error = match session().await {
            Ok(Ended::Stopped) => return,
            Ok(Ended::Lost(error)) => {
                backoff.reset();
                error
            }
            Err(error) => error,
        };
        let delay = backoff.next_delay();
        tracing::warn!(error = format!("{error:#}"), retry.ms = delay.as_millis() as u64, "session lost");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lost_session_is_followed_by_the_next_until_one_stops() {
        let mut runs = 0;
        run_sessions(&CancellationToken::new(), || {
            runs += 1;
            let run = runs;
            async move {
                match run {
                    1 => Err(anyhow::anyhow!("no server")),
                    2 => Ok(Ended::Lost(anyhow::anyhow!("connection reset"))),
                    _ => Ok(Ended::Stopped),
                }
            }
        })
        .await;
        assert_eq!(runs, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_interrupts_the_backoff() {
        let stop = CancellationToken::new();
        let trigger = stop.clone();
        run_sessions(&stop, || {
            trigger.cancel();
            async { Err(anyhow::anyhow!("no server")) }
        })
        .await;
    }
}

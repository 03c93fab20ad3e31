//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Exponential backoff with full jitter: each delay is random between half of its step and the whole, and the steps
/// double up to a cap. The randomness keeps those that failed together from coming back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    step: Duration,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// Delays of `first`, twice that, and so on, none above `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { step: first, first, cap }
    }

    /// For connections to servers: 100 ms to 5 s.
    pub const fn for_connections() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.step.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.step = (self.step * 2).min(self.cap);
        delay
    }

    /// It worked: begin again with the first delay.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_begin_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for step in [100, 200, 300, 300] {
            let delay = backoff.next_delay();
            assert!((ms(step / 2)..=ms(step)).contains(&delay), "{delay:?} for {step}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= ms(100));
    }
}

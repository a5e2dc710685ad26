//! A leaky bucket for failed deliveries (uber-go/ratelimit with its slack of 10): whoever takes from it waits until its
//! turn, and turns that nobody took are kept up to the slack.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::RETRIABLE_ERRORS_SLACK;

/// Lets `per_second` through, or everything.
#[derive(Debug)]
pub(super) struct Limiter {
    interval: Option<Duration>,
    next_turn: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let interval = per_second.filter(|&rate| rate > 0).map(|rate| Duration::from_secs(1) / rate);
        Self { interval, next_turn: Mutex::new(None) }
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) {
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        let turn = {
            let mut next_turn = self.next_turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let earliest = now.checked_sub(interval * RETRIABLE_ERRORS_SLACK).unwrap_or(now);
            let turn = next_turn.map_or(now, |next| next.max(earliest));
            *next_turn = Some(turn + interval);
            turn
        };
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds_for(limiter: &Limiter, count: u32) -> f64 {
        let start = Instant::now();
        for _ in 0..count {
            limiter.take().await;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_the_rate() {
        let limiter = Limiter::new(Some(10));
        assert!((seconds_for(&limiter, 31).await - 3.0).abs() < 0.05);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_buys_the_slack_and_no_more() {
        let limiter = Limiter::new(Some(10));
        limiter.take().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(seconds_for(&limiter, 11).await < 0.01, "ten kept turns and the present one");
        assert!((seconds_for(&limiter, 10).await - 1.0).abs() < 0.05);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        assert!(seconds_for(&Limiter::new(None), 10_000).await < 0.01);
    }
}

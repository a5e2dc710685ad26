//! A policy around a call: a time limit for each try, tries again, and a circuit breaker (dapr,
//! `pkg/resiliency/policy.go`). It must not know what the call is.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use crate::metrics::{Metrics, PolicyEvent};

/// What `spec.policies.retries.<name>` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The pauses grow; else each is `pause`.
    pub is_exponential: bool,
    /// Pause between two tries.
    pub pause: Duration,
    /// Longest pause of those that grow.
    pub pause_max: Duration,
    /// Tries after the first; none means without end.
    pub retries_max: Option<u64>,
    /// Statuses after which it is tried again; none means all.
    pub statuses: Option<Vec<RangeInclusive<u16>>>,
}

/// cenkalti/backoff's defaults: the first pause, its growth, how far it is drawn at random, and when it is over.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_FACTOR: f64 = 1.5;
const PAUSE_SPREAD: f64 = 0.5;
const ELAPSED_MAX: Duration = Duration::from_secs(15 * 60);

impl Default for Retry {
    /// dapr/kit, `retry.DefaultConfig`.
    fn default() -> Self {
        Self {
            is_exponential: false,
            pause: Duration::from_secs(5),
            pause_max: Duration::from_secs(60),
            retries_max: None,
            statuses: None,
        }
    }
}

impl Retry {
    /// A number of tries with the same pause before each.
    #[must_use]
    pub fn constant(pause: Duration, retries_max: u64) -> Self {
        Self { pause, retries_max: Some(retries_max), ..Self::default() }
    }

    /// The pause before the next try; none when it is over. `retries` is how many there have been.
    fn pause(&self, retries: u64, elapsed: Duration) -> Option<Duration> {
        if self.retries_max.is_some_and(|max| retries >= max) {
            return None;
        }
        if !self.is_exponential {
            return Some(self.pause);
        }
        let exponent = i32::try_from(retries).unwrap_or(i32::MAX);
        let grown = PAUSE_FIRST.as_secs_f64() * PAUSE_FACTOR.powi(exponent);
        let middle = grown.min(self.pause_max.as_secs_f64());
        let pause = middle * (1.0 - PAUSE_SPREAD + 2.0 * PAUSE_SPREAD * rand::random::<f64>());
        let pause = Duration::from_secs_f64(pause);
        (elapsed + pause <= ELAPSED_MAX).then_some(pause)
    }

    fn takes(&self, status: u16) -> bool {
        self.statuses.as_ref().is_none_or(|statuses| statuses.iter().any(|range| range.contains(&status)))
    }
}

/// A try that failed.
#[derive(Debug)]
pub struct Failed<T> {
    /// What was answered nevertheless.
    pub value: Option<T>,
    /// Why it counts as failed.
    pub error: String,
    /// The status that decides whether it is tried again.
    pub status: Option<u16>,
    /// It is not tried again.
    pub is_permanent: bool,
}

impl<T> Failed<T> {
    /// A failure without an answer.
    pub fn plain(error: impl Into<String>) -> Self {
        Self { value: None, error: error.into(), status: None, is_permanent: false }
    }
}

/// Whose policy it is, in logs and metrics.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// `component[q] output`, `endpoint[app, app:method]`.
    pub name: String,
    /// `Binding_q`, `app_orders`.
    pub target: String,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The Resiliency that was read last.
    pub resiliency: (String, String),
}

/// What is put around calls to one target.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Time of each try.
    pub timeout: Option<Duration>,
    /// Tries after the first.
    pub retry: Option<Arc<Retry>>,
    /// Whether calls are made at all.
    pub breaker: Option<Arc<Breaker>>,
    /// Whose it is.
    pub place: Place,
    /// Where it is counted.
    pub metrics: Option<Arc<Metrics>>,
}

impl Policy {
    /// Whether a call may be made more than once.
    #[must_use]
    pub fn has_retries(&self) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.retries_max != Some(0))
    }

    /// Makes a call, as often as it takes.
    ///
    /// # Errors
    /// The last failure.
    pub async fn run<T, F, C>(&self, mut call: F) -> Result<T, Failed<T>>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failed<T>>>,
    {
        self.count_executions();
        let begun = Instant::now();
        let mut retries = 0;
        loop {
            let failed = match self.try_once(&mut call).await {
                Ok(value) => {
                    if retries > 0 {
                        tracing::info!(
                            "Recovered processing operation {} after {} attempts",
                            self.place.name,
                            retries + 1
                        );
                    }
                    return Ok(value);
                }
                Err(failed) => failed,
            };
            let Some(retry) = &self.retry else { return Err(failed) };
            if failed.is_permanent || failed.status.is_some_and(|status| !retry.takes(status)) {
                return Err(failed);
            }
            let Some(pause) = retry.pause(retries, begun.elapsed()) else { return Err(failed) };
            if retries == 0 {
                self.count_activation("retry", "");
                tracing::warn!("Error processing operation {}. Retrying in {pause:?}…", self.place.name);
                tracing::debug!("Error for operation {} was: {}", self.place.name, failed.error);
            }
            drop(failed);
            retries += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once<T, F, C>(&self, call: &mut F) -> Result<T, Failed<T>>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failed<T>>>,
    {
        let Some(breaker) = &self.breaker else { return self.within_time(call()).await };
        let before = breaker.phase();
        let outcome = match breaker.pass() {
            Ok(passed) => {
                let outcome = self.within_time(call()).await;
                passed.over(outcome.is_ok());
                outcome
            }
            Err(error) => Err(Failed { is_permanent: true, ..Failed::plain(error) }),
        };
        let after = breaker.phase();
        if before != after {
            self.count_activation("circuitbreaker", after.as_str());
        }
        outcome
    }

    async fn within_time<T>(&self, call: impl Future<Output = Result<T, Failed<T>>>) -> Result<T, Failed<T>> {
        let Some(timeout) = self.timeout else { return call.await };
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            self.count_activation("timeout", "");
            Err(Failed::plain("context deadline exceeded"))
        })
    }

    fn count_executions(&self) {
        let Some(metrics) = &self.metrics else { return };
        let phase = self.breaker.as_ref().map(|breaker| breaker.phase().as_str());
        let policies = [
            self.timeout.map(|_| ("timeout", "")),
            self.retry.as_ref().map(|_| ("retry", "")),
            phase.map(|phase| ("circuitbreaker", phase)),
        ];
        for (policy, status) in policies.into_iter().flatten() {
            metrics.policy_executed(&self.event(policy, status));
        }
    }

    fn count_activation(&self, policy: &'static str, status: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.policy_activated(&self.event(policy, status));
        }
    }

    fn event(&self, policy: &'static str, status: &'static str) -> PolicyEvent<'_> {
        PolicyEvent {
            resiliency: &self.place.resiliency.0,
            namespace: &self.place.resiliency.1,
            policy,
            direction: self.place.direction,
            target: &self.place.target,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::{OPEN, Settings};
    use super::*;

    fn retrying(retry: Retry) -> Policy {
        Policy { retry: Some(Arc::new(retry)), ..Policy::default() }
    }

    /// Runs a call that fails `failures` times, with this status; returns the tries, the time, and the error.
    async fn tried(policy: &Policy, failures: u32, status: Option<u16>) -> (u32, Duration, Option<String>) {
        let (mut tries, begun) = (0, Instant::now());
        let outcome = policy
            .run(|| {
                tries += 1;
                let is_over = tries > failures;
                async move { if is_over { Ok(()) } else { Err(Failed { status, ..Failed::plain("no") }) } }
            })
            .await;
        (tries, begun.elapsed(), outcome.err().map(|failed| failed.error))
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_again_as_often_as_it_may() {
        let policy = retrying(Retry::constant(Duration::from_secs(1), 3));
        assert_eq!(tried(&policy, 2, None).await, (3, Duration::from_secs(2), None));
        assert_eq!(tried(&policy, 9, None).await, (4, Duration::from_secs(3), Some("no".to_owned())));
        let once = retrying(Retry::constant(Duration::from_secs(1), 0));
        assert_eq!(tried(&once, 1, None).await.0, 1);
        assert!(policy.has_retries() && !once.has_retries());
    }

    #[tokio::test(start_paused = true)]
    async fn statuses_that_are_not_named_are_not_tried_again() {
        let retry =
            Retry { statuses: Some(vec![429..=429, 500..=503]), ..Retry::constant(Duration::ZERO, 3) };
        let policy = retrying(retry);
        assert_eq!(tried(&policy, 9, Some(502)).await.0, 4);
        assert_eq!(tried(&policy, 9, Some(404)).await.0, 1);
        assert_eq!(tried(&policy, 9, None).await.0, 4, "what has no status is");
    }

    #[tokio::test(start_paused = true)]
    async fn growing_pauses_grow_to_their_bound_and_end_after_a_quarter_of_an_hour() {
        let retry = Retry { is_exponential: true, pause_max: Duration::from_secs(10), ..Retry::default() };
        let policy = retrying(retry);
        let (tries, took, _) = tried(&policy, u32::MAX, None).await;
        assert!(took <= ELAPSED_MAX && took > ELAPSED_MAX - Duration::from_secs(16), "{took:?}");
        assert!((80..130).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_try_has_its_time() {
        let timeout = Some(Duration::from_secs(2));
        let policy = Policy { timeout, ..retrying(Retry::constant(Duration::from_secs(1), 1)) };
        let begun = Instant::now();
        let outcome: Result<(), _> = policy.run(std::future::pending).await;
        assert_eq!(outcome.expect_err("too late").error, "context deadline exceeded");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_ends_the_tries() {
        let settings =
            Settings { requests_max: 0, interval: Duration::ZERO, open: Duration::ZERO, trip: None };
        let breaker = Some(Arc::new(Breaker::new("b", &settings)));
        let policy = Policy { breaker, ..retrying(Retry::constant(Duration::from_secs(1), 100)) };
        let (tries, _, error) = tried(&policy, u32::MAX, None).await;
        assert_eq!((tries, error.as_deref()), (6, Some(OPEN)));
    }
}

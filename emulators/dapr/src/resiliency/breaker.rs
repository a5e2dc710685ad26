//! The circuit breaker that daprd uses (sony/gobreaker, with dapr's `pkg/resiliency/breaker`): closed, open after
//! failures, half-open after a time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cel::{Context, Env, Program, Value};
use tokio::time::Instant;

/// How long a breaker stays open when nothing else is said (gobreaker: 60 s).
const OPEN_DEFAULT: Duration = Duration::from_secs(60);
/// Failures in a row after which a breaker opens when nothing else is said (gobreaker: more than 5).
const CONSECUTIVE_FAILURES_DEFAULT: u32 = 5;

/// A breaker is open.
pub const OPEN: &str = "circuit breaker is open";
/// A breaker is half-open, and as many calls as it lets through are under way.
pub const TOO_MANY: &str = "too many requests";

/// What `spec.policies.circuitBreakers.<name>` says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Calls that a half-open breaker lets through; 0 means 1.
    pub requests_max: u32,
    /// After so long a closed breaker forgets what it has counted; zero means never.
    pub interval: Duration,
    /// How long it stays open; zero means 60 s.
    pub open: Duration,
    /// When it opens; after more than five failures in a row where nothing is said.
    pub trip: Option<Trip>,
}

/// A condition on the counts, in CEL.
#[derive(Clone)]
pub struct Trip {
    text: String,
    program: Arc<Program>,
}

/// The text says it all.
impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trip").field(&self.text).finish()
    }
}

impl Trip {
    /// Reads an expression such as `consecutiveFailures > 5`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let program = Program::compile(text).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    /// Whether the breaker opens. An expression that cannot be evaluated does not open it.
    fn is_met(&self, counts: &Counts) -> bool {
        let mut context = Context::with_env(Arc::new(Env::stdlib()));
        context.add_variable_from_value("requests", i64::from(counts.requests));
        context.add_variable_from_value("totalSuccesses", i64::from(counts.successes));
        context.add_variable_from_value("totalFailures", i64::from(counts.failures));
        context.add_variable_from_value("consecutiveSuccesses", i64::from(counts.successes_in_a_row));
        context.add_variable_from_value("consecutiveFailures", i64::from(counts.failures_in_a_row));
        matches!(self.program.execute(&context), Ok(Value::Bool(true)))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u32,
    successes: u32,
    failures: u32,
    successes_in_a_row: u32,
    failures_in_a_row: u32,
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All go through.
    Closed,
    /// None goes through.
    Open,
    /// A few go through.
    HalfOpen,
}

impl Phase {
    /// daprd's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Calls that began before the last change of phase do not count.
    generation: u64,
    counts: Counts,
    expiry: Option<Instant>,
}

/// One breaker, shared by all calls to its target.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    settings: Settings,
    state: Mutex<State>,
}

/// A call that a breaker let through. Dropped without an outcome it counts as a failure.
#[derive(Debug)]
pub struct Passed<'a> {
    breaker: &'a Breaker,
    generation: u64,
    is_over: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(name: &str, settings: &Settings) -> Self {
        let state = State { phase: Phase::Closed, generation: 0, counts: Counts::default(), expiry: None };
        let breaker = Self { name: name.to_owned(), settings: settings.clone(), state: Mutex::new(state) };
        breaker.begin(&mut breaker.state(), Instant::now());
        breaker
    }

    /// Its phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let mut state = self.state();
        self.advance(&mut state, Instant::now());
        state.phase
    }

    /// Asks whether a call may be made.
    ///
    /// # Errors
    /// [`OPEN`] or [`TOO_MANY`].
    pub fn pass(&self) -> Result<Passed<'_>, &'static str> {
        let mut state = self.state();
        self.advance(&mut state, Instant::now());
        match state.phase {
            Phase::Open => return Err(OPEN),
            Phase::HalfOpen if state.counts.requests >= self.requests_max() => return Err(TOO_MANY),
            _ => {}
        }
        state.counts.requests += 1;
        Ok(Passed { breaker: self, generation: state.generation, is_over: false })
    }

    fn requests_max(&self) -> u32 {
        self.settings.requests_max.max(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time alone changes.
    fn advance(&self, state: &mut State, now: Instant) {
        let is_expired = state.expiry.is_some_and(|expiry| expiry < now);
        match state.phase {
            Phase::Closed if is_expired => self.begin(state, now),
            Phase::Open if is_expired => self.enter(state, Phase::HalfOpen, now),
            _ => {}
        }
    }

    fn enter(&self, state: &mut State, phase: Phase, now: Instant) {
        let (from, to) = (state.phase.as_str(), phase.as_str());
        tracing::info!("Circuit breaker {:?} changed state from {from} to {to}", self.name);
        state.phase = phase;
        self.begin(state, now);
    }

    /// A new generation: nothing counted yet.
    fn begin(&self, state: &mut State, now: Instant) {
        state.generation += 1;
        state.counts = Counts::default();
        let open = if self.settings.open.is_zero() { OPEN_DEFAULT } else { self.settings.open };
        state.expiry = match state.phase {
            Phase::Closed if self.settings.interval.is_zero() => None,
            Phase::Closed => now.checked_add(self.settings.interval),
            Phase::Open => now.checked_add(open),
            Phase::HalfOpen => None,
        };
    }

    fn count(&self, generation: u64, success: bool) {
        let now = Instant::now();
        let mut state = self.state();
        self.advance(&mut state, now);
        if state.generation != generation {
            return;
        }
        let counts = &mut state.counts;
        if success {
            counts.successes += 1;
            counts.successes_in_a_row += 1;
            counts.failures_in_a_row = 0;
        } else {
            counts.failures += 1;
            counts.failures_in_a_row += 1;
            counts.successes_in_a_row = 0;
        }
        let next = match (state.phase, success) {
            (Phase::HalfOpen, true) if state.counts.successes_in_a_row >= self.requests_max() => {
                Phase::Closed
            }
            (Phase::HalfOpen, false) => Phase::Open,
            (Phase::Closed, false) if self.trips(&state.counts) => Phase::Open,
            _ => return,
        };
        self.enter(&mut state, next, now);
    }

    fn trips(&self, counts: &Counts) -> bool {
        match &self.settings.trip {
            Some(trip) => trip.is_met(counts),
            None => counts.failures_in_a_row > CONSECUTIVE_FAILURES_DEFAULT,
        }
    }
}

impl Passed<'_> {
    /// Tells how the call went.
    pub fn over(mut self, success: bool) {
        self.is_over = true;
        self.breaker.count(self.generation, success);
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.breaker.count(self.generation, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(trip: Option<&str>, requests_max: u32, interval_s: u64) -> Breaker {
        let trip = trip.map(|trip| Trip::parse(trip).expect("an expression"));
        let (interval, open) = (Duration::from_secs(interval_s), Duration::from_secs(10));
        Breaker::new("b", &Settings { requests_max, interval, open, trip })
    }

    fn call(breaker: &Breaker, success: bool) -> Result<(), &'static str> {
        breaker.pass().map(|passed| passed.over(success))
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_six_failures_in_a_row_and_closes_after_a_success() {
        let breaker = breaker(None, 0, 0);
        for _ in 0..5 {
            call(&breaker, false).expect("closed");
        }
        call(&breaker, true).expect("closed");
        for _ in 0..6 {
            call(&breaker, false).expect("closed");
        }
        assert_eq!(call(&breaker, true), Err(OPEN));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.phase(), Phase::Open, "not before its time is over");
        tokio::time::advance(Duration::from_millis(1)).await;
        let passed = breaker.pass().expect("half-open");
        assert_eq!(breaker.pass().map(|_| ()), Err(TOO_MANY));
        passed.over(true);
        assert_eq!(breaker.phase(), Phase::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_it_opens_again_at_the_first_failure_also_of_a_call_that_was_dropped() {
        let breaker = breaker(Some("totalFailures >= 1"), 2, 0);
        call(&breaker, false).expect("closed");
        tokio::time::advance(Duration::from_secs(11)).await;
        call(&breaker, true).expect("half-open");
        assert_eq!(breaker.phase(), Phase::HalfOpen, "it takes two");
        drop(breaker.pass().expect("the second"));
        assert_eq!(breaker.phase(), Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_one_forgets_after_its_interval() {
        let breaker = breaker(Some("totalFailures > 1"), 0, 5);
        call(&breaker, false).expect("closed");
        tokio::time::advance(Duration::from_secs(6)).await;
        call(&breaker, false).expect("the first one is forgotten");
        assert_eq!(breaker.phase(), Phase::Closed);
        call(&breaker, false).expect("closed");
        assert_eq!(breaker.phase(), Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_began_before_a_change_does_not_count_after_it() {
        let breaker = breaker(Some("consecutiveFailures > 0"), 0, 0);
        let early = breaker.pass().expect("closed");
        call(&breaker, false).expect("closed");
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(breaker.phase(), Phase::HalfOpen);
        early.over(true);
        assert_eq!(breaker.phase(), Phase::HalfOpen);
    }

    #[tokio::test]
    async fn expressions_are_cel_and_one_that_cannot_be_evaluated_does_not_open() {
        let counts =
            Counts { requests: 10, successes: 4, failures: 6, successes_in_a_row: 0, failures_in_a_row: 3 };
        for (expression, is_met) in [
            ("consecutiveFailures >= 3 && totalFailures > 5", true),
            ("requests > 5 && totalFailures * 100 / requests >= 60", true),
            ("totalSuccesses == 4 || false", true),
            ("consecutiveSuccesses > 0", false),
            ("failures > 0", false),
            ("requests", false),
        ] {
            assert_eq!(Trip::parse(expression).expect("CEL").is_met(&counts), is_met, "{expression}");
        }
        assert!(Trip::parse("consecutiveFailures >").is_err());
    }
}

//! How far a run is, for people, on stderr: a bar on a terminal, a line now and then elsewhere. Never on stdout, which is for
//! results.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::flow::Progress;
use crate::flow::dataset::Stored;

/// Without a terminal a phase is told so many times.
const LINES_A_PHASE: u64 = 5;

/// Where progress goes.
#[derive(Debug)]
pub struct Display {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    /// The phase that is shown, and how many of its lines were printed.
    phase: Option<(&'static str, u64)>,
    quiet: bool,
}

impl Display {
    /// A bar if stderr is a terminal; nothing at all if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // A template that indicatif does not take would be ours: its default is good enough then.
            if let Ok(style) = ProgressStyle::with_template("{msg:<12} {bar:40} {human_pos}/{human_len}") {
                bar.set_style(style);
            }
            bar
        });
        Self { state: Mutex::new(State { bar, phase: None, quiet }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while printing leaves nothing half-done that matters here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line that stays.
    pub fn line(&self, text: &str) {
        self.state().line(text);
    }

    /// The end of a run: the bar goes.
    pub fn finish(&self) {
        if let Some(bar) = &self.state().bar {
            bar.finish_and_clear();
        }
    }

    /// Shows how far a run is. Called from many tasks, thousands of times.
    pub fn show(&self, progress: &Progress) {
        let mut state = self.state();
        match progress {
            Progress::DataSet { stored, orders } => {
                let what = match stored {
                    Stored::Found => "found in the store",
                    Stored::Written => "generated and stored",
                };
                state.line(&format!("{orders} orders {what}"));
            }
            Progress::WarmUp { orders } => state.line(&format!("warm-up with {orders} orders")),
            Progress::Cleared { blobs: 0 } => {}
            Progress::Cleared { blobs } => state.line(&format!("{blobs} blobs of earlier runs deleted")),
            Progress::Scheduling { accepted, orders } => state.count("scheduling", *accepted, *orders),
            Progress::Again { lead } => {
                state.line(&format!("T0 came too early; again, {} later", seconds(*lead)));
            }
            Progress::Waiting { remaining } => {
                state.line(&format!("all scheduled; T0 in {}", seconds(*remaining)))
            }
            Progress::Flowing { stored, dead_lettered, orders } => {
                state.count("flowing", stored + dead_lettered, *orders);
            }
            Progress::Scaled(scaled) => state.line(&format!(
                "scaled {} from {} to {} in {:.0} ms",
                scaled.resource, scaled.from, scaled.to, scaled.took_ms
            )),
            Progress::Verifying { compared, orders } => state.count("verifying", *compared, *orders),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl State {
    #[expect(clippy::print_stderr, reason = "the command line is what prints")]
    fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.quiet => {}
            None => eprintln!("{text}"),
        }
    }

    fn count(&mut self, phase: &'static str, done: u64, all: u64) {
        let printed = match self.phase {
            Some((shown, printed)) if shown == phase => printed,
            _ => {
                self.phase = Some((phase, 0));
                if let Some(bar) = &self.bar {
                    bar.set_message(phase);
                    bar.set_length(all);
                }
                0
            }
        };
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let due = done.saturating_mul(LINES_A_PHASE).checked_div(all).unwrap_or(0);
        if due > printed {
            self.phase = Some((phase, due));
            self.line(&format!("{phase}: {done} of {all}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_told_a_few_times_whatever_its_size() {
        let display = Display { state: Mutex::new(State { bar: None, phase: None, quiet: true }) };
        for accepted in 0..=10_000 {
            display.show(&Progress::Scheduling { accepted, orders: 10_000 });
        }
        assert_eq!(display.state().phase, Some(("scheduling", LINES_A_PHASE)));
        display.show(&Progress::Flowing { stored: 0, dead_lettered: 0, orders: 0 });
        assert_eq!(display.state().phase, Some(("flowing", 0)));
    }
}

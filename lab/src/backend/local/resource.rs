//! The life of one resource: it waits for what it needs, starts its process, asks until it serves, watches over it,
//! and does with it what it is told. One task each; they share nothing but what [`Resource`] shows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::House;
use super::command::{Addresses, Command};
use super::plan::{Kind, RestartPolicy};
use crate::backend::error::named;
use crate::backend::{AfterKill, Failure, Stage};
use crate::exit::Exit;
use crate::process::{Child, NotReady, ReservedPort, Sample, WhyNotReady};
use crate::{limits, logs};

/// Where a resource is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// For what it needs, or for its first start.
    Waiting,
    /// Its process runs and does not serve yet.
    Starting,
    /// It serves.
    Ready,
    /// It was told to end, and finishes what is in flight.
    Stopping,
    /// It ended by itself and will be started again.
    Restarting,
    /// It ended by itself and stays down; so does the lab.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What can be seen of a resource.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub state: State,
    /// Whether others may call it.
    pub serving: bool,
    /// Its process, while there is one.
    pub child: Option<Arc<Child>>,
    /// How often a process was started for it.
    pub starts: u32,
    /// When the last one was.
    pub started: Option<Instant>,
    /// From the last start until it was ready.
    pub ready_after: Option<Duration>,
    /// Whether the process has processes of its own.
    pub has_children: bool,
}

/// What a resource is told to do; the sender is told when it is done.
#[derive(Debug)]
pub(super) struct Order {
    pub verb: Verb,
    pub done: oneshot::Sender<()>,
}

/// What can be done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// End in order and stay down.
    Stop,
    /// End in order and for good: the resource is no part of the lab any more.
    Retire,
    /// End at once.
    Kill(AfterKill),
    /// End in order, if it runs, and start.
    Restart,
}

/// One resource, as others see it.
#[derive(Debug)]
pub(super) struct Resource {
    pub kind: Kind,
    pub name: String,
    pub at: Addresses,
    ports: Mutex<Vec<ReservedPort>>,
    snapshot: watch::Sender<Snapshot>,
    orders: mpsc::Sender<Order>,
    /// What past processes used, and the last sample of the present one.
    used: Mutex<(f64, Sample)>,
}

impl Resource {
    /// Takes the ports that it is to listen on; the first is its main address.
    pub fn new(kind: Kind, ports: Vec<ReservedPort>, at: Addresses) -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(8);
        let snapshot = watch::Sender::new(Snapshot {
            state: State::Waiting,
            serving: false,
            child: None,
            starts: 0,
            started: None,
            ready_after: None,
            has_children: false,
        });
        let (ports, used) = (Mutex::new(ports), Mutex::default());
        (Self { kind, name: kind.to_string(), at, ports, snapshot, orders, used }, queue)
    }

    pub fn state(&self) -> State {
        self.snapshot.borrow().state
    }

    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Changes what can be seen of it.
    pub fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshot.send_modify(change);
    }

    /// Gives an order and waits until it is done.
    pub async fn order(&self, verb: Verb) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order { verb, done }).await.is_ok() {
            // A task that ends without an answer has stopped its process.
            let _ = wait.await;
        }
    }

    /// Waits until a start after the `starts`-th has come to its end, good or bad.
    pub async fn settled_after(&self, starts: u32) -> State {
        let mut snapshot = self.snapshot.subscribe();
        let settled = |now: &Snapshot| {
            now.starts > starts && matches!(now.state, State::Ready | State::Failed | State::Stopped)
        };
        snapshot.wait_for(settled).await.map_or(State::Stopped, |now| now.state)
    }

    /// CPU seconds of all its processes, and the memory of the present one.
    pub fn usage(&self) -> Sample {
        let (past, now) = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Sample { cpu_seconds: past + now.cpu_seconds, ..now }
    }

    /// Keeps what its present process has used by now.
    pub fn sampled(&self, sample: Sample) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).1 = sample;
    }

    fn process_ended(&self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = (used.0 + used.1.cpu_seconds, Sample::default());
    }

    fn hand_ports_over(&self) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .for_each(ReservedPort::hand_over);
    }
}

/// How one process came to its end, or never came to be.
enum Ending {
    /// By itself.
    Crashed { failure: Failure, was_ready_for: Option<Duration> },
    /// By order.
    Ordered(Verb),
    /// Nobody can order anything any more: the house is gone.
    Abandoned,
}

/// The task of one resource.
pub(super) struct Life {
    pub resource: Arc<Resource>,
    pub house: Arc<House>,
    pub orders: mpsc::Receiver<Order>,
}

impl Life {
    /// Lives until the house is gone.
    pub async fn live(mut self) {
        let mut pause = limits::BACKOFF_LEAST;
        let mut failed_starts = 0;
        loop {
            let ending = self.one_process().await;
            let (state, failure) = match ending {
                Ending::Abandoned => return,
                Ending::Ordered(Verb::Restart) => continue,
                Ending::Ordered(Verb::Retire) => return,
                Ending::Ordered(Verb::Stop | Verb::Kill(AfterKill::StayDown)) => (State::Stopped, None),
                Ending::Ordered(Verb::Kill(AfterKill::Policy)) => {
                    (State::Restarting, Some(self.failure(Stage::Later, "was killed".to_owned(), None)))
                }
                Ending::Crashed { failure, was_ready_for } => {
                    let forgiven = was_ready_for.is_some_and(|life| life > limits::BACKOFF_FORGIVEN);
                    failed_starts = if was_ready_for.is_some() { 0 } else { failed_starts + 1 };
                    pause = if forgiven { limits::BACKOFF_LEAST } else { pause };
                    (State::Restarting, Some(failure))
                }
            };
            let given_up = failure.filter(|failure| self.is_given_up(failure, failed_starts));
            let given_up = given_up.map(|failure| self.after_it_was_ready(failure));
            let state = if given_up.is_some() { State::Failed } else { state };
            if let Some(failure) = given_up {
                tracing::error!(resource = self.resource.name, "{failure}");
                self.house.fail(failure);
            }
            self.show(|now| now.state = state);
            let again = match state {
                State::Restarting => Some(pause),
                _ => None,
            };
            if self.rest(again).await.is_none() {
                return;
            }
            pause = (pause * 2).min(limits::BACKOFF_MOST);
        }
    }

    /// Whether it stays down, and the lab with it.
    fn is_given_up(&self, failure: &Failure, failed_starts: u32) -> bool {
        let once_more = matches!(self.resource.kind, Kind::Dapr(..) | Kind::LabDapr) && failed_starts <= 1;
        match failure.stage {
            _ if self.resource.kind.restart_policy() == RestartPolicy::Never => true,
            // A start that fails the first time would fail again; only Dapr gives up where waiting would have helped.
            Stage::Start if self.house.is_starting() => !once_more,
            Stage::Settings | Stage::Ready if self.house.is_starting() => true,
            Stage::Settings | Stage::Start | Stage::Ready => failed_starts >= limits::FAILED_STARTS,
            Stage::Later => false,
        }
    }

    /// A part that was ready once and does not come back has failed later, whatever its last start died of.
    fn after_it_was_ready(&self, failure: Failure) -> Failure {
        match self.resource.snapshot().ready_after {
            Some(_) => Failure { stage: Stage::Later, ..failure },
            None => failure,
        }
    }

    /// Between two processes: for a while, or until it is told to start. `None` when the house is gone.
    async fn rest(&mut self, pause: Option<Duration>) -> Option<()> {
        let mut wake = pause.map(|pause| tokio::time::Instant::now() + pause);
        loop {
            let over = async {
                match wake {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            let order = tokio::select! {
                () = over => return Some(()),
                order = self.orders.recv() => order?,
            };
            if matches!(order.verb, Verb::Stop | Verb::Retire | Verb::Kill(AfterKill::StayDown)) {
                wake = None;
                self.show(|now| now.state = State::Stopped);
            }
            // Whoever gave the order may not have waited.
            let _ = order.done.send(());
            match order.verb {
                Verb::Restart => return Some(()),
                Verb::Retire => return None,
                Verb::Stop | Verb::Kill(_) => {}
            }
        }
    }

    /// From the wait for what it needs to the end of its process.
    async fn one_process(&mut self) -> Ending {
        self.show(|now| now.state = State::Waiting);
        let house = Arc::clone(&self.house);
        tokio::select! {
            () = house.ready_for(&self.resource) => {}
            order = self.orders.recv() => {
                self.show(|now| now.state = State::Stopped);
                return ended(order);
            }
        }
        let Command { program, probes, serving, has_children } = house.command_of(&self.resource);
        self.resource.hand_ports_over();
        let child = match house.spawner.spawn(&program).await {
            Ok(child) => Arc::new(child),
            Err(error) => {
                let what = format!("could not be started from {}: {error}", program.path.display());
                let failure = self.failure(Stage::Start, what, None);
                return Ending::Crashed { failure, was_ready_for: None };
            }
        };
        self.show(|now| {
            now.state = State::Starting;
            now.child = Some(Arc::clone(&child));
            now.starts += 1;
            now.started = Some(child.started());
            now.has_children = has_children;
        });
        house.record();
        let resource = Arc::clone(&self.resource);
        let deadline = child.started() + limits::READY;
        let get_ready = async {
            for (number, probe) in probes.iter().enumerate() {
                if number == serving {
                    house.show(&resource, |now| now.serving = true);
                }
                probe.pass(&child, deadline).await?;
            }
            Ok(())
        };
        tokio::select! {
            ready = get_ready => match ready {
                Ok(()) => self.watch_over(&child).await,
                Err(why) => {
                    child.kill().await;
                    self.gone(State::Restarting);
                    Ending::Crashed { failure: self.not_ready(why), was_ready_for: None }
                }
            },
            order = self.orders.recv() => self.obey(&child, order).await,
        }
    }

    async fn watch_over(&mut self, child: &Child) -> Ending {
        let ready_after = child.started().elapsed();
        self.show(|now| {
            now.state = State::Ready;
            now.serving = true;
            now.ready_after = Some(ready_after);
        });
        let ready_at = Instant::now();
        tokio::select! {
            status = child.ended() => {
                let what = format!("ended with {status}");
                let failure = self.failure(Stage::Later, what, None);
                tracing::warn!(resource = self.resource.name, "{failure}");
                // What it may have started itself must not outlive it.
                child.kill().await;
                self.gone(State::Restarting);
                Ending::Crashed { failure, was_ready_for: Some(ready_at.elapsed()) }
            }
            order = self.orders.recv() => self.obey(child, order).await,
        }
    }

    /// Ends the process as ordered, and says so when it is gone for everybody.
    async fn obey(&mut self, child: &Child, order: Option<Order>) -> Ending {
        // Nobody new is sent to it while it ends.
        self.show(|now| {
            now.serving = false;
            now.state = State::Stopping;
        });
        match order.as_ref().map(|order| order.verb) {
            Some(Verb::Kill(_)) | None => child.kill().await,
            Some(Verb::Stop | Verb::Retire | Verb::Restart) => child.stop(limits::STOP_GRACE).await,
        };
        self.gone(match order.as_ref().map(|order| order.verb) {
            Some(Verb::Restart | Verb::Kill(AfterKill::Policy)) => State::Restarting,
            Some(Verb::Stop | Verb::Retire | Verb::Kill(AfterKill::StayDown)) | None => State::Stopped,
        });
        ended(order)
    }

    fn gone(&self, state: State) {
        self.resource.process_ended();
        self.show(|now| {
            now.state = state;
            now.serving = false;
            now.child = None;
        });
    }

    fn show(&self, change: impl FnOnce(&mut Snapshot)) {
        self.house.show(&self.resource, change);
    }

    fn not_ready(&self, why: NotReady) -> Failure {
        let (stage, what) = match &why.why {
            WhyNotReady::Ended(status) if status.code() == Some(Exit::Usage.code().into()) => {
                (Stage::Settings, "refused its settings, or a file that it was given".to_owned())
            }
            WhyNotReady::Ended(status) => (Stage::Start, format!("ended with {status} before it was ready")),
            WhyNotReady::TimedOut => (Stage::Ready, "did not get ready".to_owned()),
            WhyNotReady::Elsewhere(addresses) => {
                (Stage::Start, format!("listens on {addresses:?} instead of {}", self.resource.at.main))
            }
        };
        self.failure(stage, what, Some(why))
    }

    fn failure(&self, stage: Stage, what: String, why: Option<NotReady>) -> Failure {
        let log = self.house.setting.files.log(&self.resource.name);
        let name = &self.house.setting.spec.name;
        let started = self.resource.snapshot().started;
        let elapsed =
            why.as_ref().map(|why| why.elapsed).or_else(|| started.map(|started| started.elapsed()));
        Failure {
            resource: self.resource.name.clone(),
            stage,
            what,
            probe: why.as_ref().map(|why| why.probe.to_string()),
            last_status: why.and_then(|why| why.last_status),
            elapsed_ms: elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            log_tail: logs::tail(&log, limits::LOG_TAIL_LINES),
            log,
            // Once the lab was ready the machine is as it should be; the part's own words tell more.
            hint: Some(match stage == Stage::Later || !self.house.is_starting() {
                true => format!(
                    "{}   # then: {}",
                    named(&format!("logs {}", self.resource.name), name),
                    named("down", name)
                ),
                false => "cargo lab doctor".to_owned(),
            }),
        }
    }
}

fn ended(order: Option<Order>) -> Ending {
    match order {
        None => Ending::Abandoned,
        Some(Order { verb, done }) => {
            // Whoever gave the order may not have waited.
            let _ = done.send(());
            Ending::Ordered(verb)
        }
    }
}

impl Snapshot {
    /// Times that it was started again.
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }
}

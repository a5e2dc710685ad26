//! One whole measurement, from the stored orders to the verified blobs. It prints nothing.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use super::broker::{Broker, QueueCounts};
use super::clock::{self, ClockOffset};
use super::dapr::Dapr;
use super::dataset::{self, DataSet, Manifest, Stored};
use super::error::FlowError;
use super::limits;
use super::observe::{self, DepthPoint, Patience, Tally};
use super::scaling::{self, ReplicaPoint, ReplicaProbe, ScalePlan, ScaleStep, Scaler};
use super::schedule::{self, Attempt, Profile};
use super::stages::{BlobInstants, Ids, Stage, Timings, Trails, WrittenPoint};
use super::usage::{Before, MachineUsage, PartUsage, Sampled, Sampler, UsagePoint, UsageProbe};
use super::verify::{self, Verification};
use crate::backend::{Endpoints, Scaled};
use crate::spec::{BlobStore, OUTBOXES, QUEUES};

/// What a run is to do.
#[derive(Clone)]
pub struct RunOptions {
    /// Orders, 1 to [`limits::ORDERS`].
    pub orders: u64,
    /// The seed of the data set.
    pub seed: u64,
    /// When they are due.
    pub profile: Profile,
    /// Orders that pass the flow before anything is measured, and from whose sending T0 is estimated. With 0 the flow is cold and
    /// the lead assumes [`limits::SEND_ASSUMED`] a send.
    pub warm_up: u64,
    /// How long the orders may take after T0; `None` for what their number allows.
    pub patience: Option<Patience>,
    /// Asks the back end for CPU and memory; without it the report has none.
    pub usage: Option<UsageProbe>,
    /// Whether that may be asked again and again; else it is asked before the orders are scheduled and after the last one, which
    /// a cluster's counters allow.
    pub usage_curve: bool,
    /// Asks the back end how many replicas were ready when; without it the report has none.
    pub replicas: Option<ReplicaProbe>,
    /// What is scaled while the orders are under way.
    pub scaling: Option<ScalePlan>,
    /// Told how far the run is.
    pub progress: Option<ProgressSink>,
    /// Asked whether to stop, from T0 on: what was measured until then is the result, which says that it is of a part.
    pub stop: Option<StopFlag>,
}

/// Says whether a run is to end early; it must return at once.
pub type StopFlag = Arc<dyn Fn() -> bool + Send + Sync>;

/// Is told how far a run is, from whatever task; it must return at once.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

impl RunOptions {
    /// A run of so many orders of a seed, with the warm-up, without usage or progress.
    pub fn new(orders: u64, seed: u64) -> Self {
        let warm_up = limits::WARM_UP.min(orders);
        Self {
            orders,
            seed,
            profile: Profile::Burst,
            warm_up,
            patience: None,
            usage: None,
            usage_curve: true,
            replicas: None,
            scaling: None,
            progress: None,
            stop: None,
        }
    }

    fn patience(&self) -> Patience {
        self.patience.unwrap_or_else(|| Patience::for_orders(self.orders, self.profile.span(self.orders)))
    }

    fn tell(&self, progress: Progress) {
        if let Some(sink) = &self.progress {
            sink(progress);
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The data set is there: written now, or found.
    DataSet {
        /// What was found or done.
        stored: Stored,
        /// Orders in it.
        orders: u64,
    },
    /// The warm-up begins.
    WarmUp {
        /// Its orders.
        orders: u64,
    },
    /// Blobs of earlier runs were deleted.
    Cleared {
        /// How many.
        blobs: u64,
    },
    /// Orders are being scheduled.
    Scheduling {
        /// Accepted so far.
        accepted: u64,
        /// Of so many.
        orders: u64,
    },
    /// T0 was missed, and everything begins again with a longer lead.
    Again {
        /// From the first send to T0, next time.
        lead: Duration,
    },
    /// All are scheduled; T0 is to come.
    Waiting {
        /// For how long.
        remaining: Duration,
    },
    /// Orders are under way.
    Flowing {
        /// Receivers' messages completed.
        stored: u64,
        /// Messages dead-lettered.
        dead_lettered: u64,
        /// Of so many.
        orders: u64,
    },
    /// Replicas were started or stopped, as planned.
    Scaled(Scaled),
    /// Blobs are being compared.
    Verifying {
        /// Compared so far.
        compared: u64,
        /// Of so many.
        orders: u64,
    },
}

/// How the orders were scheduled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scheduling {
    /// Attempts that were needed.
    pub attempts: u32,
    /// T0 by the broker's clock, microseconds since the Unix epoch.
    pub t0_us: u64,
    /// From the first send to T0, milliseconds.
    pub lead_ms: u64,
    /// From the first send to the last answer, milliseconds.
    pub sending_ms: u64,
    /// Orders scheduled in a second while sending.
    pub sends_per_second: f64,
}

/// What was set up for the run, and said again in its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setup {
    /// Orders of the run.
    pub orders: u64,
    /// When they were due.
    pub profile: Profile,
    /// The seed of its data set.
    pub seed: u64,
    /// Digest of the data set.
    pub data_sha256: String,
    /// Encoded size of the data set, bytes.
    pub data_bytes: u64,
    /// Orders that passed the flow before.
    pub warm_up_orders: u64,
}

/// A message that ended in a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The queue whose dead-letter queue it is in.
    pub queue: String,
    /// `DeadLetterReason`.
    pub reason: String,
    /// `DeadLetterErrorDescription`.
    pub description: String,
    /// How often it was delivered.
    pub delivery_count: u32,
}

/// Everything that a run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// What was to be measured.
    pub setup: Setup,
    /// How the orders were scheduled.
    pub scheduling: Scheduling,
    /// The clocks against the lab's.
    pub clocks: Vec<ClockOffset>,
    /// Where blob instants come from.
    pub blob_instants: BlobInstants,
    /// Whether it was stopped before every order had come to its end: figures are of those that had, and there is no throughput.
    pub interrupted: bool,
    /// From T0 to the last order's first blob, seconds.
    pub duration_seconds: Option<f64>,
    /// Orders in a second, N / (last blob − T0); nothing unless every order was verified.
    pub throughput_per_second: Option<f64>,
    /// Latencies by stage.
    pub stages: Vec<Stage>,
    /// Depth of the queues over time.
    pub depth: Vec<DepthPoint>,
    /// Blobs written over time.
    pub written: Vec<WrittenPoint>,
    /// Width of one interval of `written`, milliseconds.
    pub written_interval_ms: u64,
    /// Replicas that were ready, from before T0 on; every change is a point.
    pub replicas: Vec<ReplicaPoint>,
    /// What was scaled while the orders were under way.
    pub scaling: Vec<ScaleStep>,
    /// CPU and memory of each part between T0 and the end.
    pub parts: Vec<PartUsage>,
    /// CPU and memory over time.
    pub usage: Vec<UsagePoint>,
    /// The whole machine between T0 and the end; only where the system tells.
    pub machine: Option<MachineUsage>,
    /// From the first to the last sample of CPU, seconds.
    pub usage_seconds: f64,
    /// What the blobs say.
    pub verification: Verification,
    /// Orders of which something happened more than once; allowed, and counted.
    pub duplicated: Ids,
    /// Orders that were delivered before they were due; none in a valid run.
    pub delivered_early: Ids,
    /// Orders that reached the broker after they were due; none in a valid run.
    pub arrived_late: Ids,
    /// Messages that were dead-lettered during the run.
    pub dead_lettered: u64,
    /// The first of them.
    pub dead_letters: Vec<DeadLetter>,
    /// Recorded rows of no order of this run.
    pub foreign_rows: u64,
    /// Rows that a recorder had no room for; with any, latencies are of a part of the orders.
    pub recorder_dropped: u64,
}

impl Measured {
    /// Whether every order came out, once or more often, unchanged, in its place, and none before T0.
    pub const fn is_clean(&self) -> bool {
        self.verification.is_clean()
            && self.dead_lettered == 0
            && self.delivered_early.count == 0
            && self.arrived_late.count == 0
    }
}

/// The parts of a lab that a run speaks to.
struct Clients {
    dapr: Dapr,
    broker: Broker,
    blobs: Blobs,
    /// Whether the blob store has a recorder and a clock.
    blobs_record: bool,
}

/// Measures one run of the lab at `endpoints`.
///
/// The outboxes are emptied before: a blob is named by its order's id, and ids of every data set begin with 1, so a blob of an
/// earlier run could be taken for one of this run; and a store may become slower with each blob that it holds.
pub async fn run(endpoints: &Endpoints, options: &RunOptions) -> Result<Measured, FlowError> {
    let clients = Clients::of(endpoints)?;
    let (manifest, stored) = dataset::ensure(&clients.dapr, options.orders, options.seed, false).await?;
    options.tell(Progress::DataSet { stored, orders: manifest.count });
    if let Some(plan) = &options.scaling {
        (plan.order)(plan.first).await.map_err(FlowError::Scale)?;
    }
    let set = Arc::new(dataset::load(&clients.dapr, options.orders, options.seed).await?);
    idle(&clients.broker).await?;
    let lead = warm_up(&clients, &set, options).await?;
    clear(&clients, options).await?;
    let clocks = clocks(&clients).await?;
    clients.start_recorders().await?;
    let outcome = measure(&clients, &set, options, lead, clocks, &manifest).await;
    // A recorder that stays on costs the next run time and memory; the first error is the one to tell.
    let stopped = clients.stop_recorders().await;
    let measured = outcome?;
    stopped?;
    Ok(measured)
}

/// Stops the recorders of the lab at `endpoints`: a [`run`] that is dropped before its end leaves them on.
///
/// # Errors
/// Fails where a part of the lab does not answer.
pub async fn stop_recorders(endpoints: &Endpoints) -> Result<(), FlowError> {
    Clients::of(endpoints)?.stop_recorders().await
}

impl Clients {
    fn of(endpoints: &Endpoints) -> Result<Self, FlowError> {
        Ok(Self {
            dapr: Dapr::new(&endpoints.lab_dapr)?,
            broker: Broker::new(&endpoints.servicebus_http)?,
            blobs: Blobs::new(&endpoints.blob)?,
            blobs_record: endpoints.blob.store == BlobStore::Native,
        })
    }

    async fn start_recorders(&self) -> Result<(), FlowError> {
        self.broker.start_recorder().await?;
        if self.blobs_record { self.blobs.start_recorder().await } else { Ok(()) }
    }

    async fn stop_recorders(&self) -> Result<(), FlowError> {
        self.broker.stop_recorder().await?;
        if self.blobs_record { self.blobs.stop_recorder().await } else { Ok(()) }
    }

    /// What the recorders' rows say of `orders` orders, and how many rows had no room. `shift_us` turns the blob store's instants into
    /// the broker's.
    async fn trails(&self, orders: usize, shift_us: i64) -> Result<(Trails, u64), FlowError> {
        let mut trails = Trails::of(orders);
        let mut dropped = self.broker.each_row(|row| trails.message(&row)).await?;
        if self.blobs_record {
            dropped += self.blobs.each_row(|row| trails.blob(&row, shift_us)).await?;
        }
        Ok((trails, dropped))
    }

    const fn blob_instants(&self) -> BlobInstants {
        if self.blobs_record { BlobInstants::BlobRecorder } else { BlobInstants::Settlement }
    }
}

/// A run must not count somebody else's messages.
async fn idle(broker: &Broker) -> Result<(), FlowError> {
    let tally = Tally::between(&[], &broker.queues().await?);
    if tally.in_queues() == 0 {
        return Ok(());
    }
    let busy = QUEUES.iter().enumerate().map(|(index, name)| {
        let count = |counts: &[u64; 3]| counts.get(index).copied().unwrap_or(0);
        format!("{name}: {}", count(&tally.active) + count(&tally.locked) + count(&tally.waiting))
    });
    Err(FlowError::NotIdle { status: busy.collect::<Vec<_>>().join(", ") })
}

/// Sends the warm-up through the whole flow, and gives the lead for the run.
async fn warm_up(clients: &Clients, set: &Arc<DataSet>, options: &RunOptions) -> Result<Duration, FlowError> {
    let orders = options.warm_up.min(options.orders);
    if orders == 0 {
        return Ok(schedule::lead(options.orders, 0, Duration::ZERO, limits::LEAD_FACTOR));
    }
    options.tell(Progress::WarmUp { orders });
    let before = clients.broker.queues().await?;
    let (burst, lead) = (Profile::Burst, limits::WARM_UP_LEAD);
    let attempt =
        schedule::schedule(&clients.dapr, &clients.broker, set, orders, burst, lead, |_| {}).await?;
    let patience = Patience { deadline: limits::WARM_UP_DEADLINE, stall: limits::WARM_UP_DEADLINE };
    observe::await_done(&clients.broker, &before, attempt.accepted, patience).await?;
    Ok(schedule::lead(options.orders, attempt.accepted, attempt.took, limits::LEAD_FACTOR))
}

async fn clear(clients: &Clients, options: &RunOptions) -> Result<(), FlowError> {
    let mut blobs = 0;
    for container in OUTBOXES {
        blobs += clients.blobs.clear(container).await?;
    }
    options.tell(Progress::Cleared { blobs });
    Ok(())
}

async fn clocks(clients: &Clients) -> Result<Vec<ClockOffset>, FlowError> {
    let mut clocks = vec![clock::offset("broker", || clients.broker.clock()).await?];
    if clients.blobs_record {
        clocks.push(clock::offset("blob", || clients.blobs.clock()).await?);
    }
    Ok(clocks)
}

/// The measured part: schedule, watch, collect, verify. The recorders are on.
async fn measure(
    clients: &Clients,
    set: &Arc<DataSet>,
    options: &RunOptions,
    lead: Duration,
    clocks: Vec<ClockOffset>,
    manifest: &Manifest,
) -> Result<Measured, FlowError> {
    let used_before = match (&options.usage, options.usage_curve) {
        (Some(probe), false) => Some(Before::ask(probe).await?),
        _ => None,
    };
    let (attempts, attempt, before) = schedule_all(clients, set, options, lead).await?;
    let broker_clock = clocks.first().map_or(0, |broker| broker.offset_us);
    let t0_lab_us = clock::shift(attempt.t0_us, -broker_clock);
    let remaining = Duration::from_micros(t0_lab_us.saturating_sub(clock::now_us()));
    options.tell(Progress::Waiting { remaining });
    tokio::time::sleep(remaining.saturating_sub(limits::BEFORE_T0)).await;

    let Watched { tally, depth, sampled, replicas, scaling } =
        watch(clients, &before, used_before, options, t0_lab_us).await?;
    let shift = match clocks.as_slice() {
        [broker, blob] => clock::correction_us(blob, broker),
        _ => 0,
    };
    let (trails, recorder_dropped) = clients.trails(set.len(), shift).await?;
    let timings = trails.timings((attempt.t0_us, options.profile), clients.blob_instants());
    let (sink, orders) = (options.progress.clone(), options.orders);
    let verification = verify::verify_with(&clients.blobs, set, move |compared| {
        if let Some(sink) = &sink {
            sink(Progress::Verifying { compared, orders });
        }
    });
    let verification = verification.await?;
    let dead_letters = dead_letters(&clients.broker, tally.dead_lettered).await?;
    Ok(assemble(Gathered {
        setup: Setup {
            orders: options.orders,
            profile: options.profile,
            seed: options.seed,
            data_sha256: manifest.sha256.clone(),
            data_bytes: manifest.bytes,
            warm_up_orders: options.warm_up.min(options.orders),
        },
        attempts,
        attempt,
        clocks,
        depth,
        sampled,
        replicas,
        scaling,
        timings,
        verification,
        interrupted: !tally.is_done(options.orders),
        dead_lettered: tally.dead_lettered,
        dead_letters,
        recorder_dropped,
    }))
}

/// What was seen from T0 to the end.
struct Watched {
    tally: Tally,
    depth: Vec<DepthPoint>,
    sampled: Sampled,
    replicas: Vec<ReplicaPoint>,
    scaling: Vec<ScaleStep>,
}

/// Looks at the queues until every order has come to its end, samples CPU and memory, and scales as planned.
async fn watch(
    clients: &Clients,
    before: &[QueueCounts],
    used_before: Option<Before>,
    options: &RunOptions,
    t0_lab_us: u64,
) -> Result<Watched, FlowError> {
    let probe = options.usage.clone();
    let sampler = match used_before {
        Some(before) => Sampler::go_on(probe, before, t0_lab_us),
        None => Sampler::start(probe, t0_lab_us).await?,
    };
    let begun_us = clock::now_us();
    let sink = options.clone();
    let scaler = Scaler::start(options.scaling.clone(), options.orders, move |scaled| {
        sink.tell(Progress::Scaled(scaled.clone()));
    });
    let stopped = || options.stop.as_ref().is_some_and(|stop| stop());
    let (orders, patience) = (options.orders, options.patience());
    let watched = observe::watch(&clients.broker, before, orders, t0_lab_us, patience, stopped, |tally| {
        let Tally { stored, dead_lettered, .. } = *tally;
        scaler.look(stored + dead_lettered);
        options.tell(Progress::Flowing { stored, dead_lettered, orders: options.orders });
    });
    let (tally, depth) = watched.await?;
    let sampled = sampler.finish().await?;
    let scaling = scaler.finish(t0_lab_us).await?;
    let events = match &options.replicas {
        Some(probe) => probe().await.map_err(FlowError::Replicas)?,
        None => Vec::new(),
    };
    let replicas = scaling::series(&events, begun_us, t0_lab_us);
    Ok(Watched { tally, depth, sampled, replicas, scaling })
}

/// Tries until every order is scheduled before T0. A miss lets everything that was accepted pass the flow, since Dapr cannot
/// cancel a scheduled message, and begins again with a longer lead.
async fn schedule_all(
    clients: &Clients,
    set: &Arc<DataSet>,
    options: &RunOptions,
    mut lead: Duration,
) -> Result<(u32, Attempt, Vec<QueueCounts>), FlowError> {
    let (orders, profile) = (options.orders, options.profile);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let before = clients.broker.queues().await?;
        let sink = options.progress.clone();
        let attempt =
            schedule::schedule(&clients.dapr, &clients.broker, set, orders, profile, lead, move |accepted| {
                if let Some(sink) = &sink {
                    sink(Progress::Scheduling { accepted, orders });
                }
            });
        let attempt = attempt.await?;
        if attempt.complete {
            return Ok((attempts, attempt, before));
        }
        observe::await_done(&clients.broker, &before, attempt.accepted, options.patience()).await?;
        if attempts == limits::ATTEMPTS {
            return Err(FlowError::NotScheduled {
                scheduled: attempt.accepted,
                count: orders,
                attempts,
                lead_ms: u64::try_from(lead.as_millis()).unwrap_or(u64::MAX),
            });
        }
        lead = schedule::lead(orders, attempt.accepted, attempt.took, limits::LEAD_FACTOR_AGAIN);
        options.tell(Progress::Again { lead });
        clear(clients, options).await?;
        clients.start_recorders().await?;
    }
}

async fn dead_letters(broker: &Broker, dead_lettered: u64) -> Result<Vec<DeadLetter>, FlowError> {
    let mut found = Vec::new();
    if dead_lettered == 0 {
        return Ok(found);
    }
    for queue in QUEUES {
        for message in broker.messages(queue, true, limits::EXAMPLES as u32).await? {
            let property = |name: &str| {
                let value = message.application_properties.get(name);
                value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
            };
            found.push(DeadLetter {
                queue: queue.to_owned(),
                reason: property("DeadLetterReason"),
                description: property("DeadLetterErrorDescription"),
                delivery_count: message.delivery_count,
            });
        }
    }
    found.truncate(limits::EXAMPLES);
    Ok(found)
}

/// What [`assemble`] puts together.
struct Gathered {
    setup: Setup,
    attempts: u32,
    attempt: Attempt,
    clocks: Vec<ClockOffset>,
    depth: Vec<DepthPoint>,
    sampled: Sampled,
    replicas: Vec<ReplicaPoint>,
    scaling: Vec<ScaleStep>,
    timings: Timings,
    verification: Verification,
    interrupted: bool,
    dead_lettered: u64,
    dead_letters: Vec<DeadLetter>,
    recorder_dropped: u64,
}

fn assemble(gathered: Gathered) -> Measured {
    let Gathered { attempt, sampled, timings, verification, .. } = gathered;
    let sending = attempt.took.as_secs_f64().max(f64::EPSILON);
    let scheduling = Scheduling {
        attempts: gathered.attempts,
        t0_us: attempt.t0_us,
        lead_ms: u64::try_from(attempt.lead.as_millis()).unwrap_or(u64::MAX),
        sending_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        sends_per_second: attempt.accepted as f64 / sending,
    };
    let duration_us =
        timings.last_blob_us.map(|last| last.saturating_sub(attempt.t0_us)).filter(|us| *us > 0);
    let duration_seconds = duration_us.map(|us| us as f64 / 1e6);
    let mut measured = Measured {
        setup: gathered.setup,
        scheduling,
        clocks: gathered.clocks,
        blob_instants: timings.blob_instants,
        interrupted: gathered.interrupted,
        duration_seconds,
        throughput_per_second: None,
        stages: timings.stages,
        depth: gathered.depth,
        written: timings.written,
        written_interval_ms: timings.written_interval_ms,
        replicas: gathered.replicas,
        scaling: gathered.scaling,
        parts: sampled.parts,
        usage: sampled.series,
        machine: sampled.machine,
        usage_seconds: sampled.seconds,
        verification,
        duplicated: timings.duplicated,
        delivered_early: timings.delivered_early,
        arrived_late: timings.arrived_late,
        dead_lettered: gathered.dead_lettered,
        dead_letters: gathered.dead_letters,
        foreign_rows: timings.foreign_rows,
        recorder_dropped: gathered.recorder_dropped,
    };
    // Without a row for every order the last blob may be one that nobody saw.
    let all_seen = measured.stages.last().is_some_and(|way| way.count == measured.setup.orders);
    if measured.is_clean() && all_seen {
        measured.throughput_per_second =
            duration_seconds.map(|seconds| measured.setup.orders as f64 / seconds);
    }
    measured
}

//! CPU and memory while a run is measured: of the lab's parts, as the back end tells them, and of the whole machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::clock;
use super::error::FlowError;
use super::limits;
use super::observe::Series;
use crate::backend::Usage;

/// Asks the back end what each part has used; the text of an error is the back end's own.
pub type UsageProbe = Arc<dyn Fn() -> UsageAnswer + Send + Sync>;

/// What a [`UsageProbe`] gives.
pub type UsageAnswer = Pin<Box<dyn Future<Output = Result<Vec<Usage>, String>> + Send>>;

/// What one part used between T0 and the last order's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartUsage {
    /// The part's name, as `lab status` shows it.
    pub name: String,
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// Resident memory before T0, bytes.
    pub rss_before_bytes: u64,
    /// The greatest resident memory that a sample saw, bytes.
    pub rss_most_bytes: u64,
}

/// One sample of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsagePoint {
    /// Milliseconds since T0.
    pub since_t0_ms: i64,
    /// CPU seconds of each part since T0.
    pub cpu_seconds: BTreeMap<String, f64>,
    /// Resident memory of each part, bytes.
    pub rss_bytes: BTreeMap<String, u64>,
}

/// CPU time of the whole machine between T0 and the last order's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineUsage {
    /// Cores that the time is of.
    pub cores: u32,
    /// CPU seconds in which a core did something, whoever asked for it.
    pub busy_seconds: f64,
    /// `busy_seconds` of all CPU seconds that there were, 0 to 1.
    pub busy_share: f64,
}

/// Everything that was sampled.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sampled {
    pub parts: Vec<PartUsage>,
    pub series: Vec<UsagePoint>,
    pub machine: Option<MachineUsage>,
    /// From the first to the last sample.
    pub seconds: f64,
}

/// Samples from [`Sampler::start`] to [`Sampler::finish`] in a task of its own, so that a slow answer delays nobody.
pub(crate) struct Sampler {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<Sampled, FlowError>>,
}

/// What had been used before the run, where that cannot be asked in the moment before T0.
pub(crate) struct Before {
    usage: Vec<Usage>,
    machine: Option<MachineTimes>,
    begun: Instant,
}

impl Before {
    /// Asks, and takes the time that it takes.
    pub async fn ask(probe: &UsageProbe) -> Result<Self, FlowError> {
        Ok(Self { usage: ask(Some(probe)).await?, machine: MachineTimes::read(), begun: Instant::now() })
    }
}

impl Sampler {
    /// Takes the first sample before it returns. `t0_lab_us` is T0 on the lab's clock.
    pub async fn start(probe: Option<UsageProbe>, t0_lab_us: u64) -> Result<Self, FlowError> {
        let machine = MachineTimes::read();
        let before = ask(probe.as_ref()).await?;
        let before = Before { usage: before, machine, begun: Instant::now() };
        Ok(Self::spawn(probe, before, t0_lab_us, true))
    }

    /// Goes on from a first sample that was taken earlier; no sample between it and the last.
    pub fn go_on(probe: Option<UsageProbe>, before: Before, t0_lab_us: u64) -> Self {
        Self::spawn(probe, before, t0_lab_us, false)
    }

    fn spawn(probe: Option<UsageProbe>, before: Before, t0_lab_us: u64, curve: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(sample(probe, before, t0_lab_us, curve, stopped));
        Self { stop, task }
    }

    /// Takes the last sample and gives all.
    pub async fn finish(self) -> Result<Sampled, FlowError> {
        // Without a receiver the task has ended already, with an error that follows now.
        let _ = self.stop.send(true);
        self.task.await.map_err(FlowError::Task)?
    }
}

/// The name under which the measuring process itself is listed: what it uses, the lab does not get.
pub const OWN: &str = "lab-bench";

async fn ask(probe: Option<&UsageProbe>) -> Result<Vec<Usage>, FlowError> {
    let Some(probe) = probe else { return Ok(Vec::new()) };
    let mut usage = probe().await.map_err(FlowError::Usage)?;
    usage.extend(own());
    Ok(usage)
}

/// What this process uses; only where the system tells.
fn own() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(Usage { name: OWN.to_owned(), cpu_seconds: cpu_seconds(&stat)?, rss_bytes: rss_bytes(&status)? })
}

/// proc_pid_stat(5): fields 14 and 15, counted from behind the name, which may hold anything but ends with the last `)`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The kernel reports to user space in hundredths of a second on every architecture (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

async fn sample(
    probe: Option<UsageProbe>,
    before: Before,
    t0_lab_us: u64,
    curve: bool,
    mut stopped: watch::Receiver<bool>,
) -> Result<Sampled, FlowError> {
    let Before { usage: before, machine, begun } = before;
    let mut ticks = interval(limits::USAGE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut series = Series::default();
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let last = tokio::select! {
            _ = ticks.tick(), if curve => false,
            _ = stopped.changed() => true,
        };
        let machine_now = MachineTimes::read();
        let now = ask(probe.as_ref()).await?;
        for usage in &now {
            let rss = most.entry(usage.name.clone()).or_default();
            *rss = usage.rss_bytes.max(*rss);
        }
        if curve {
            series.offer(point(&before, &now, t0_lab_us));
        }
        if last {
            return Ok(Sampled {
                parts: parts(&before, &now, &most),
                series: series.into_points(),
                machine: machine.zip(machine_now).and_then(|(before, now)| before.until(&now)),
                seconds: begun.elapsed().as_secs_f64(),
            });
        }
    }
}

fn used(before: &[Usage], now: &Usage) -> f64 {
    let earlier = before.iter().find(|usage| usage.name == now.name).map_or(0.0, |usage| usage.cpu_seconds);
    (now.cpu_seconds - earlier).max(0.0)
}

fn point(before: &[Usage], now: &[Usage], t0_lab_us: u64) -> UsagePoint {
    UsagePoint {
        since_t0_ms: (clock::now_us() as i64 - t0_lab_us as i64).div_euclid(1_000),
        cpu_seconds: now.iter().map(|usage| (usage.name.clone(), used(before, usage))).collect(),
        rss_bytes: now.iter().map(|usage| (usage.name.clone(), usage.rss_bytes)).collect(),
    }
}

fn parts(before: &[Usage], now: &[Usage], most: &BTreeMap<String, u64>) -> Vec<PartUsage> {
    // What was gone before the run is listed, for what it had used until then.
    let took_part = |part: &PartUsage| part.cpu_seconds > 0.0 || part.rss_most_bytes > 0;
    now.iter()
        .map(|usage| PartUsage {
            name: usage.name.clone(),
            cpu_seconds: used(before, usage),
            rss_before_bytes: before.iter().find(|old| old.name == usage.name).map_or(0, |old| old.rss_bytes),
            rss_most_bytes: most.get(&usage.name).copied().unwrap_or(usage.rss_bytes),
        })
        .filter(took_part)
        .collect()
}

/// `/proc/stat`, first line: times since boot in ticks (proc_stat(5)). Other systems have none, and the report says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MachineTimes {
    busy: u64,
    all: u64,
    cores: u32,
}

impl MachineTimes {
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let fields = lines.next()?.strip_prefix("cpu ")?.split_whitespace();
        // user nice system idle iowait irq softirq steal; what follows is counted in user and nice already.
        let times: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let all: u64 = times.iter().sum();
        let idle = times.get(3)? + times.get(4).copied().unwrap_or(0);
        let is_core = |line: &&str| line.starts_with("cpu");
        let cores = u32::try_from(lines.take_while(is_core).count()).ok()?;
        Some(Self { busy: all.checked_sub(idle)?, all, cores })
    }

    /// Shares need no tick length: the time that passed is the same for all cores.
    fn until(&self, later: &Self) -> Option<MachineUsage> {
        let all = later.all.checked_sub(self.all).filter(|all| *all > 0)?;
        let busy = later.busy.saturating_sub(self.busy);
        let busy_seconds = busy as f64 / TICKS_PER_SECOND;
        Some(MachineUsage { cores: later.cores, busy_seconds, busy_share: busy as f64 / all as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_share_is_of_what_passed() {
        let before = MachineTimes::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        let after = MachineTimes::parse("cpu  250 0 50 850 50 0 0 0 0 0\ncpu0 1\ncpu1 1\n").unwrap();
        let usage = before.until(&after).unwrap();
        assert_eq!(usage.cores, 2);
        assert!((usage.busy_share - 0.75).abs() < 1e-9 && (usage.busy_seconds - 1.5).abs() < 1e-9);
        assert_eq!(MachineTimes::parse("intr 5"), None);
        assert_eq!(before.until(&before), None);
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!((cpu_seconds("7 (a"), rss_bytes("VmRSS: x kB")), (None, None));
    }

    #[tokio::test]
    async fn what_was_used_before_does_not_count() {
        let calls = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let probe: UsageProbe = Arc::new(move || {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move {
                Ok(vec![Usage { name: "blob".into(), cpu_seconds: 7.0 + call as f64, rss_bytes: 10 + call }])
            })
        });
        let sampler = Sampler::start(Some(probe), clock::now_us()).await.unwrap();
        let sampled = sampler.finish().await.unwrap();
        let part = &sampled.parts[0];
        assert!(sampled.parts.iter().any(|part| part.name == OWN) == own().is_some());
        assert!(part.cpu_seconds >= 1.0 && part.cpu_seconds < 7.0, "{part:?}");
        assert!(part.rss_before_bytes == 10 && part.rss_most_bytes > 10);
    }

    #[test]
    fn what_was_gone_before_the_run_took_no_part_in_it() {
        let usage = |name: &str, cpu_seconds, rss_bytes| Usage { name: name.into(), cpu_seconds, rss_bytes };
        let before = [usage("a-1", 1.0, 10), usage("a-2", 3.0, 0), usage("a-3", 1.0, 10)];
        let now = [usage("a-1", 2.0, 10), usage("a-2", 3.0, 0), usage("a-3", 1.5, 0)];
        let most = BTreeMap::from([("a-3".to_owned(), 10)]);
        let parts = parts(&before, &now, &most);
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a-1", "a-3"], "one that went during the run counts with what it used");
    }

    #[tokio::test]
    async fn a_back_end_that_cannot_tell_is_an_error() {
        let probe: UsageProbe = Arc::new(|| Box::pin(async { Err("gone".to_owned()) }));
        assert!(matches!(Sampler::start(Some(probe), 0).await, Err(FlowError::Usage(_))));
    }
}

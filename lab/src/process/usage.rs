//! What processes use of the machine, and which process a number stands for.

use std::collections::BTreeMap;

/// CPU and memory of one process group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// CPU seconds, user and system, of its life so far.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
}

impl Sample {
    fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.rss_bytes += other.rss_bytes;
    }
}

#[cfg(target_os = "linux")]
pub use linux::{group_lives, identity, sample};
#[cfg(not(target_os = "linux"))]
pub use other::{group_lives, identity, sample};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use nix::time::{clock_getcpuclockid, clock_gettime};
    use nix::unistd::{Pid, SysconfVar, sysconf};

    use super::{BTreeMap, Sample};

    /// The fields of `/proc/<pid>/stat` after the program's name, which may hold spaces and parentheses itself.
    fn fields(pid: u32) -> Option<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, after) = stat.rsplit_once(')')?;
        Some(after.split_ascii_whitespace().map(str::to_owned).collect())
    }

    fn setting(which: SysconfVar, usual: u64) -> u64 {
        sysconf(which).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(usual)
    }

    // Places in the list of `fields`, which starts with the third field of proc_pid_stat(5).
    const STATE: usize = 0;
    const GROUP: usize = 2;
    const START_TICKS: usize = 19;
    const RESIDENT_PAGES: usize = 21;

    /// The process's CPU clock, in nanoseconds; the ticks of `stat` would hide what takes less than 10 ms.
    fn cpu_seconds(pid: u32) -> Option<f64> {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        let time = clock_gettime(clock).ok()?;
        Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
    }

    fn of(pid: u32, fields: &[String]) -> Option<Sample> {
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Sample {
            cpu_seconds: cpu_seconds(pid)?,
            rss_bytes: number(RESIDENT_PAGES)? * setting(SysconfVar::PAGE_SIZE, 4096),
        })
    }

    /// What each process uses; with `groups`, together with every process of the group that it leads.
    pub fn sample(pids: &[u32], groups: bool) -> BTreeMap<u32, Sample> {
        let mut samples = BTreeMap::new();
        for pid in pids {
            if let Some(sample) = fields(*pid).and_then(|fields| of(*pid, &fields)) {
                samples.insert(*pid, sample);
            }
        }
        if groups {
            for pid in all().filter(|pid| !pids.contains(pid)) {
                let Some(fields) = fields(pid) else { continue };
                let leader = fields.get(GROUP).and_then(|group| group.parse().ok());
                let Some(total) = leader.and_then(|leader: u32| samples.get_mut(&leader)) else { continue };
                total.add(of(pid, &fields).unwrap_or_default());
            }
        }
        samples
    }

    /// Whether any process of a group runs: its leader may have ended before the others.
    pub fn group_lives(leader: u32) -> bool {
        let group = leader.to_string();
        all().filter_map(fields).any(|fields| {
            fields.get(GROUP) == Some(&group) && fields.get(STATE).is_some_and(|state| state != "Z")
        })
    }

    fn all() -> impl Iterator<Item = u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Tells a process from a later one with the same number; `None` where there is none that runs.
    pub fn identity(pid: u32) -> Option<String> {
        let fields = fields(pid)?;
        // A zombie runs no more: it waits for a parent that may never ask.
        if fields.get(STATE)? == "Z" {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(format!("{} {}", fields.get(START_TICKS)?, boot.trim()))
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::process::Command;

    use super::{BTreeMap, Sample, parse_ps};

    fn ps(columns: &str, pids: &[u32]) -> String {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        let output = Command::new("ps").args(["-o", columns, "-p", &list.join(",")]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// What each process uses; processes that one of them has started are not counted on this system.
    pub fn sample(pids: &[u32], _groups: bool) -> BTreeMap<u32, Sample> {
        parse_ps(&ps("pid=,time=,rss=", pids))
    }

    /// Whether any process of a group runs; on this system only its leader is looked at.
    pub fn group_lives(leader: u32) -> bool {
        identity(leader).is_some()
    }

    /// Tells a process from a later one with the same number; `None` where there is none that runs.
    pub fn identity(pid: u32) -> Option<String> {
        let text = ps("stat=,lstart=", &[pid]);
        let (state, started) = text.trim().split_once(char::is_whitespace)?;
        (!state.starts_with('Z')).then(|| started.trim().to_owned())
    }
}

/// Reads lines of `ps -o pid=,time=,rss=`: `123 1:02.50 2048`, the memory in KiB.
#[cfg(any(test, not(target_os = "linux")))]
fn parse_ps(text: &str) -> BTreeMap<u32, Sample> {
    let row = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let pid = words.next()?.parse().ok()?;
        let time = words.next()?;
        let rss_bytes = words.next()?.parse::<u64>().ok()? * 1024;
        let (days, clock) = time.split_once('-').unwrap_or(("0", time));
        let mut cpu_seconds = 0.0;
        for part in clock.split(':') {
            cpu_seconds = cpu_seconds * 60.0 + part.parse::<f64>().ok()?;
        }
        cpu_seconds += days.parse::<f64>().ok()? * 86_400.0;
        Some((pid, Sample { cpu_seconds, rss_bytes }))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_nobody_is_not_there() {
        let this = std::process::id();
        let samples = sample(&[this, u32::MAX], false);
        assert!(samples.get(&this).is_some_and(|sample| sample.rss_bytes > 1 << 20));
        assert_eq!(samples.len(), 1);
        assert_eq!(identity(this), identity(this));
        assert!(identity(this).is_some());
        assert_eq!(identity(u32::MAX), None);
    }

    #[test]
    fn ps_is_read_in_both_dialects() {
        let found = parse_ps("  12   1:02.50  2048\n 13 1-00:00:01 10\nnonsense\n");
        assert_eq!(found.get(&12), Some(&Sample { cpu_seconds: 62.5, rss_bytes: 2048 * 1024 }));
        assert_eq!(found.get(&13), Some(&Sample { cpu_seconds: 86_401.0, rss_bytes: 10_240 }));
        assert_eq!(found.len(), 2);
    }
}

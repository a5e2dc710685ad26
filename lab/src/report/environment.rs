//! The machine and the source that a run was measured on: what a figure needs so that it can be read later. Facts that the
//! system does not tell are left out, never guessed.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Version of the command `lab`.
    pub lab_version: String,
    /// The commit that is checked out; uncommitted changes do not show.
    pub git_commit: Option<String>,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// Cores that this process may use.
    pub cores: u32,
    /// Memory of the machine, bytes.
    pub memory_bytes: Option<u64>,
    /// Operating system and architecture, as Rust names them.
    pub platform: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Load averages over 1, 5 and 15 minutes before the lab was started.
    pub load_before: Option<[f64; 3]>,
}

impl Environment {
    /// Looks at this machine; `root` is the workspace. Called before the lab is started, so that the load is that of others.
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).ok();
        Self {
            lab_version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: commit(root),
            cpu_model: text("/proc/cpuinfo").and_then(|info| field(&info, "model name")),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory_bytes: text("/proc/meminfo").and_then(|info| memory(&info)),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: text("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            load_before: text("/proc/loadavg").and_then(|averages| load(&averages)),
        }
    }
}

/// Memory of one machine differs by what its kernel keeps for itself.
const SAME_MEMORY: f64 = 0.05;

impl Environment {
    /// What tells another machine, in words; nothing where both are the same. The kernel's release is of the system, not of the machine.
    pub fn machine_differences(&self, other: &Self) -> Vec<String> {
        let unknown = || "an unknown processor".to_owned();
        let processor = |machine: &Self| machine.cpu_model.clone().unwrap_or_else(unknown);
        let cores = |machine: &Self| format!("{} cores", machine.cores);
        let gibibytes =
            |machine: &Self| machine.memory_bytes.map_or(0.0, |bytes| bytes as f64 / f64::from(1 << 30));
        let words = |machine: &Self| format!("{:.1} GiB", gibibytes(machine));
        let (here, there) = (gibibytes(self), gibibytes(other));
        let other_memory = (here - there).abs() > here.max(there) * SAME_MEMORY;
        let rows = [
            (self.platform != other.platform, self.platform.clone(), other.platform.clone()),
            (self.cpu_model != other.cpu_model, processor(self), processor(other)),
            (self.cores != other.cores, cores(self), cores(other)),
            (other_memory, words(self), words(other)),
        ];
        let differing = rows.into_iter().filter(|(differ, ..)| *differ);
        differing.map(|(_, one, other)| format!("{one} and {other}")).collect()
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory(info: &str) -> Option<u64> {
    let kibibytes: u64 = field(info, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn load(averages: &str) -> Option<[f64; 3]> {
    let mut numbers = averages.split_whitespace().map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// The commit of a work tree, from git's files: HEAD is an id, or names a reference that is a file or a line of packed-refs.
fn commit(root: &Path) -> Option<String> {
    let git = git_folder(root)?;
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else { return id(&head) };
    // A linked work tree has its references in the folder that `commondir` names.
    let common = std::fs::read_to_string(git.join("commondir")).ok().map(|path| git.join(path.trim()));
    let common = common.unwrap_or(git);
    let loose = std::fs::read_to_string(common.join(reference)).ok();
    if let Some(found) = loose.as_deref().and_then(id) {
        return Some(found);
    }
    let packed = std::fs::read_to_string(common.join("packed-refs")).ok()?;
    packed.lines().find(|line| line.ends_with(&format!(" {reference}"))).and_then(id)
}

fn git_folder(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let pointer = std::fs::read_to_string(&git).ok()?;
    Some(root.join(pointer.trim().strip_prefix("gitdir: ")?))
}

fn id(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    (word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_commit_of_each_kind_of_head() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(commit(root.path()), None);
        let git = root.path().join(".git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        std::fs::write(git.join("HEAD"), format!("{ID}\n")).unwrap();
        assert_eq!(commit(root.path()).as_deref(), Some(ID));
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(commit(root.path()), None);
        std::fs::write(git.join("packed-refs"), format!("# pack\n{ID} refs/heads/main\n")).unwrap();
        assert_eq!(commit(root.path()).as_deref(), Some(ID));
        let newer = ID.replace('0', "f");
        std::fs::write(git.join("refs/heads/main"), format!("{newer}\n")).unwrap();
        assert_eq!(commit(root.path()), Some(newer));
    }

    #[test]
    fn facts_of_the_kernel() {
        assert_eq!(load("0.10 1.20 3.00 1/100 5\n"), Some([0.1, 1.2, 3.0]));
        assert_eq!(load("nothing"), None);
        assert_eq!(memory("MemTotal:    1024 kB\n"), Some(1_048_576));
        assert_eq!(field("processor : 0\nmodel name : A B\n", "model name").as_deref(), Some("A B"));
    }
}

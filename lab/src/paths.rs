//! Where things are: the workspace, its artefacts, and the folder of each lab. It creates nothing.

use std::path::{Path, PathBuf};

/// The root of the workspace that this lab is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

/// Where no workspace was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found no workspace at or above {}, nor beside the program", searched.display())]
pub struct NoWorkspace {
    /// The folder from which the search went up.
    pub searched: PathBuf,
}

/// Files that only the root of this workspace has together.
const MARKS: [&str; 3] = ["Cargo.toml", "lab/components", "apps/order"];

impl Workspace {
    /// Finds the workspace: `LAB_ROOT` if set, else from the current folder upwards, else from the running program's.
    ///
    /// # Errors
    /// Fails where none of them is within a workspace.
    pub fn find() -> Result<Self, NoWorkspace> {
        if let Some(root) = std::env::var_os("LAB_ROOT") {
            // Whoever names one means no other.
            return Self::above(Path::new(&root));
        }
        let current = std::env::current_dir().unwrap_or_default();
        let program = std::env::current_exe().unwrap_or_default();
        Self::above(&current).or_else(|error| Self::above(&program).map_err(|_| error))
    }

    /// The workspace that a folder is in.
    ///
    /// # Errors
    /// Fails where the folder is in none.
    pub fn above(folder: &Path) -> Result<Self, NoWorkspace> {
        let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        absolute
            .ancestors()
            .find(|candidate| MARKS.iter().all(|mark| candidate.join(mark).exists()))
            .map(|root| Self { root: root.to_owned() })
            .ok_or(NoWorkspace { searched: absolute })
    }

    /// A workspace at `root`, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the built artefacts.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// One built artefact.
    pub fn artefact(&self, name: &str) -> PathBuf {
        self.dist().join(name)
    }

    /// The folder of the images, each an OCI layout in a folder of its own.
    pub fn images(&self) -> PathBuf {
        self.dist().join("images")
    }

    /// The Dapr components that every lab uses as they are.
    pub fn components(&self) -> PathBuf {
        self.root.join("lab/components")
    }

    /// What clusters are made of: their configuration, versions, node image, chart values.
    pub fn cluster_files(&self) -> PathBuf {
        self.root.join("k3d")
    }

    /// The folder of the state of all labs.
    pub fn labs(&self) -> PathBuf {
        self.root.join(".lab")
    }

    /// The files of one lab.
    pub fn lab(&self, name: &str) -> LabFiles {
        LabFiles { folder: self.labs().join(name), socket: self.socket(name) }
    }

    /// The control socket of one lab. Its path is short whatever the workspace's is: the kernel takes 108 bytes (104 on
    /// macOS).
    fn socket(&self, name: &str) -> PathBuf {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(format!("{}\0{name}", self.root.display()));
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        runtime_folder().join(format!("{hash}.sock"))
    }
}

/// A folder of this user's for sockets and locks: `XDG_RUNTIME_DIR`, else one under the temporary folder.
pub fn runtime_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir()) {
        Some(folder) => folder.join("spin-lab"),
        None => std::env::temp_dir().join(format!("spin-lab-{}", nix::unistd::getuid())),
    }
}

/// The files of one lab: `.lab/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabFiles {
    folder: PathBuf,
    socket: PathBuf,
}

impl LabFiles {
    /// The lab's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket on which the supervisor answers.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file that the supervisor holds locked as long as it lives; never removed.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// The processes of the lab, for whoever cleans up after a supervisor that was killed.
    pub fn children(&self) -> PathBuf {
        self.folder.join("children.json")
    }

    /// Where the lab is on a cluster, for whoever cleans up after a supervisor that was killed.
    pub fn cluster_record(&self) -> PathBuf {
        self.folder.join("on-cluster.json")
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The log of one resource.
    pub fn log(&self, resource: &str) -> PathBuf {
        self.logs().join(format!("{resource}.log"))
    }

    /// Dapr components of this lab alone: its secret store.
    pub fn components(&self) -> PathBuf {
        self.folder.join("components")
    }

    /// Where the Dapr emulators of this lab tell each other where they are.
    pub fn names(&self) -> PathBuf {
        self.folder.join("names")
    }

    /// The secrets to which components refer.
    pub fn secrets(&self) -> PathBuf {
        self.folder.join("secrets.json")
    }

    /// The file with which the lab reaches a cluster that it has made.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The file from which the lab's cluster is made.
    pub fn cluster(&self) -> PathBuf {
        self.folder.join("cluster.yaml")
    }

    /// Dapr's Configuration, where the lab has one.
    pub fn dapr_configuration(&self) -> PathBuf {
        self.folder.join("dapr.yaml")
    }

    /// The broker's configuration.
    pub fn broker_config(&self) -> PathBuf {
        self.folder.join("Config.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_from_within_and_nowhere_else() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = Workspace::above(&here.join("src/cli")).expect("a workspace");
        assert_eq!(found.root(), here.parent().expect("a parent").canonicalize().expect("a path"));
        assert!(Workspace::above(Path::new("/")).is_err());
    }

    #[test]
    fn sockets_are_short_and_differ_by_name_and_by_workspace() {
        let deep = Workspace::at(format!("/{}", "deep/".repeat(60)));
        let socket = deep.lab("main").socket().to_owned();
        assert!(socket.as_os_str().len() < 100, "{}", socket.display());
        assert_ne!(socket, deep.lab("other").socket());
        assert_ne!(socket, Workspace::at("/elsewhere").lab("main").socket());
    }
}

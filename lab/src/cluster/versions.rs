//! The versions in `k3d/versions.toml`, and which Wasm component they can run. It reads that file and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::paths::Workspace;

/// Everything in `k3d/versions.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Programs of this machine, by name.
    pub programs: BTreeMap<String, ProgramVersion>,
    /// Nodes that can run Wasm, by the program that makes them.
    pub nodes: BTreeMap<String, NodeImages>,
    /// What the Wasm applications are written with.
    pub sdks: Sdks,
    /// What helm installs, by name.
    pub charts: BTreeMap<String, Chart>,
    /// Charts whose objects the lab writes itself, by name.
    pub follows: BTreeMap<String, String>,
    /// Other images, by what they are.
    pub images: BTreeMap<String, String>,
}

/// One program of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramVersion {
    /// The one that the workflows install.
    pub version: String,
    /// The oldest that works.
    pub least: String,
    /// SHA-256 of the released file, by architecture.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// The node images of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeImages {
    /// The one that the shim's project publishes.
    pub published: NodeVersion,
    /// The one that the lab builds.
    pub own: NodeVersion,
}

/// One node image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeVersion {
    /// Its name.
    pub image: String,
    /// What it is built from, if the lab builds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The Kubernetes that it is.
    pub kubernetes: String,
    /// The containerd-shim-spin in it.
    pub shim: String,
    /// The Spin in that shim, where the shim's project says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spin: Option<String>,
    /// SHA-256 of the shim's released archive, by architecture, if the lab builds the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// What the Wasm applications are written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sdks {
    /// The crate `spin-sdk`.
    pub rust: String,
    /// The package `@spinframework/wasi-http-proxy`.
    pub javascript: String,
    /// The oldest Spin that runs what a major version of the Rust SDK makes.
    pub needs_spin: BTreeMap<String, String>,
}

/// What one `helm upgrade --install` installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// The release's name, where there is one for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Its namespace, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The chart: a name in `repository`, or an OCI address.
    pub chart: String,
    /// Where the chart is, if it is no OCI artefact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The chart's version.
    pub version: String,
    /// Manifests that have to be there before the chart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
}

/// Why the versions cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VersionsError {
    /// The file cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// It is no list of versions.
    #[error("{} is not as it must be", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Versions {
    /// Reads `k3d/versions.toml` of a workspace.
    ///
    /// # Errors
    /// Fails where the file cannot be read, lacks something, or has something that nobody knows.
    pub fn read(workspace: &Workspace) -> Result<Self, VersionsError> {
        let path = workspace.cluster_files().join("versions.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| VersionsError::Read { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|source| VersionsError::Parse { path, source: Box::new(source) })
    }

    /// Every version as a row: what it is of, which, and what else is known of it.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let row = |name: &str, version: &str, more: String| [name.to_owned(), version.to_owned(), more];
        let mut rows = Vec::new();
        for (name, program) in &self.programs {
            rows.push(row(name, &program.version, format!("{} or newer", program.least)));
        }
        for (program, images) in &self.nodes {
            for (which, node) in [("published", &images.published), ("own", &images.own)] {
                let spin = node.spin.as_deref().unwrap_or("not told");
                let more = format!("shim {}, Spin {spin}, {}", node.shim, node.image);
                rows.push(row(&format!("{program} node, {which}"), &node.kubernetes, more));
            }
        }
        rows.push(row("spin-sdk (Rust)", &self.sdks.rust, String::new()));
        rows.push(row("wasi-http-proxy (JavaScript)", &self.sdks.javascript, String::new()));
        for (name, chart) in &self.charts {
            rows.push(row(&format!("chart {name}"), &chart.version, chart.chart.clone()));
        }
        for (name, version) in &self.follows {
            rows.push(row(name, version, "its objects are the lab's own".to_owned()));
        }
        for (name, image) in &self.images {
            rows.push(row(
                &format!("image {name}"),
                image.rsplit(':').next().unwrap_or_default(),
                image.clone(),
            ));
        }
        rows
    }
}

/// `1.2.3`, with or without a `v`, of which later parts may be missing; what follows a `-` or `+` does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 3]);

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let wrong = || NoVersion(text.to_owned());
        let plain = text.trim().trim_start_matches('v');
        let plain = plain.split(['-', '+']).next().unwrap_or_default();
        let mut parts = [0; 3];
        let mut found = plain.split('.');
        for (place, part) in parts.iter_mut().enumerate() {
            match found.next() {
                Some(number) => *part = number.parse().map_err(|_| wrong())?,
                None if place > 0 => {}
                None => return Err(wrong()),
            }
        }
        if found.next().is_some() { Err(wrong()) } else { Ok(Self(parts)) }
    }
}

impl Version {
    /// The first version in a text: programs wrap theirs into words, and Go writes its own into one.
    pub fn find(text: &str) -> Option<Self> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !".-+".contains(letter));
        let bare = words.map(|word| word.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()));
        bare.filter(|word| word.contains('.')).find_map(|word| word.parse().ok())
    }

    /// How many minor versions lie between two; `None` where the major ones differ.
    pub fn minors_apart(self, other: Self) -> Option<u32> {
        (self.0[0] == other.0[0]).then(|| self.0[1].abs_diff(other.0[1]))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no version")]
pub struct NoVersion(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let of = |text: &str| text.parse::<Version>().expect(text);
        assert!(of("v5.8.3") < of("5.9.0") && of("1.35.2+k3s1") == of("1.35.2") && of("3.8") < of("3.10.1"));
        assert_eq!(of("1.35.9").minors_apart(of("v1.33.0")), Some(2));
        assert_eq!(of("2.0").minors_apart(of("1.0")), None);
        for wrong in ["", "x", "1.2.3.4", "1..2", "v"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_version_is_found_among_words() {
        let of = |text| Version::find(text).map(|version| version.to_string());
        assert_eq!(of("k3d version v5.8.3\nk3s version v1.31.5-k3s1 (default)").as_deref(), Some("5.8.3"));
        assert_eq!(of("kind v0.31.0 go1.25.1 linux/amd64").as_deref(), Some("0.31.0"));
        assert_eq!(of("v3.18.4+gd80839c").as_deref(), Some("3.18.4"));
        assert_eq!(of("Docker version 28.0.1, build 068a01e").as_deref(), Some("28.0.1"));
        assert_eq!(of("go version go1.26.3 linux/amd64").as_deref(), Some("1.26.3"));
        assert_eq!(of("no such thing"), None);
    }

    #[test]
    fn a_list_with_something_unknown_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path());
        assert!(matches!(Versions::read(&workspace), Err(VersionsError::Read { .. })));
        std::fs::create_dir_all(workspace.cluster_files()).expect("a folder");
        std::fs::write(workspace.cluster_files().join("versions.toml"), "[program.k3d]\n").expect("a file");
        assert!(matches!(Versions::read(&workspace), Err(VersionsError::Parse { .. })));
    }
}

//! What a machine lacks for building and for each back end, and the command that helps. It looks and changes nothing, but for
//! one empty image and one container that show whether an engine lets containers be privileged, and which it removes.

use serde::Serialize;

use crate::cluster::OwnKind;

mod cluster;
mod local;

/// What the lab is to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// This machine.
    Local,
    /// A cluster that the lab makes here.
    Own(OwnKind),
    /// The cluster of a kubeconfig context.
    Kubernetes,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether the lab cannot run at all otherwise.
    pub blocker: bool,
    /// What was found.
    pub message: String,
    /// A command that helps.
    pub fix: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The back end.
    pub backend: &'static str,
    /// One for each thing.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Looks at this machine; of a lab of this name, where there is a difference.
    pub async fn examine(what: For, lab: &str) -> Self {
        let backend = match what {
            For::Local => "local",
            For::Own(OwnKind::K3d) => "k3d",
            For::Own(OwnKind::Kind) => "kind",
            For::Kubernetes => "kubernetes",
        };
        let mut findings = local::build();
        match what {
            For::Local => findings.extend(local::run()),
            For::Own(kind) => findings.extend(cluster::own(kind, lab).await),
            For::Kubernetes => findings.extend(cluster::foreign().await),
        }
        Self { backend, findings }
    }

    /// Whether something is missing without which the lab cannot run.
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.blocker && !finding.ok)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = if finding.ok { "✓" } else { "✗" };
            text.push_str(&format!("{mark} {:<14} {}\n", finding.name, finding.message));
            if !finding.ok {
                text.push_str(&format!("  needed for {}\n", finding.needed_for));
            }
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("  hint: {fix}\n"));
            }
        }
        text
    }
}

//! Which resources a lab is made of, what each needs, and what becomes of it: plain data from a [`LabSpec`], no I/O.

use std::fmt;

use crate::backend::Part;
use crate::spec::{LabSpec, Role, Topology};

/// Whose Dapr, or whose service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The broker.
    Broker,
    /// The blob store.
    Blob,
    /// A replica of a role's application.
    App(Role, u32),
    /// A replica of a role's Dapr.
    Dapr(Role, u32),
    /// The lab's own Dapr, which has no application.
    LabDapr,
    /// The relay in front of a role's application replicas.
    AppService(Role),
    /// The relay in front of a role's Dapr replicas.
    DaprService(Role),
}

impl fmt::Display for Kind {
    /// The resource's name, as people see it and as its log file is called.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => formatter.write_str("servicebus"),
            Self::Blob => formatter.write_str("blob"),
            Self::App(role, replica) => write!(formatter, "{role}-{replica}"),
            Self::Dapr(role, replica) => write!(formatter, "{role}-dapr-{replica}"),
            Self::LabDapr => formatter.write_str("lab-dapr"),
            Self::AppService(role) => write!(formatter, "service-{role}"),
            Self::DaprService(role) => write!(formatter, "service-{role}-dapr"),
        }
    }
}

/// What happens when a resource ends that nobody stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    /// It is started again, after a pause that grows with each failure.
    Backoff,
    /// The lab has failed: what the resource held in memory is lost.
    Never,
}

/// The order in which things are stopped: what produces work before what takes it.
pub(super) const STOP_TIERS: [fn(Kind) -> bool; 3] = [
    |kind| matches!(kind, Kind::Dapr(..) | Kind::LabDapr),
    |kind| matches!(kind, Kind::App(..) | Kind::AppService(_) | Kind::DaprService(_)),
    |kind| matches!(kind, Kind::Broker | Kind::Blob),
];

impl Kind {
    pub fn restart_policy(self) -> RestartPolicy {
        match self {
            Self::Broker | Self::Blob => RestartPolicy::Never,
            _ => RestartPolicy::Backoff,
        }
    }

    /// The resource that a part and its replica are.
    pub fn of(part: Part, replica: u32) -> Self {
        match part {
            Part::App(role) => Self::App(role, replica),
            Part::Dapr(role) => Self::Dapr(role, replica),
            Part::Broker => Self::Broker,
            Part::Blob => Self::Blob,
        }
    }

    /// What must be ready before this is started. Everything else starts at once: addresses are known beforehand.
    ///
    /// Dapr creates its blob containers and asks its application what it subscribes to while it starts, and does not
    /// ask twice.
    pub fn needs(self, spec: &LabSpec) -> Vec<Self> {
        match (self, spec.topology) {
            (Self::LabDapr, _) => vec![Self::Broker, Self::Blob],
            (Self::Dapr(role, replica), Topology::Sidecar) => {
                vec![Self::Broker, Self::Blob, Self::App(role, replica)]
            }
            (Self::Dapr(role, _), Topology::Shared) => {
                let apps = (1..=spec.replicas).map(|replica| Self::App(role, replica));
                [Self::Broker, Self::Blob, Self::AppService(role)].into_iter().chain(apps).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whose connections a relay passes on to which replicas.
    pub fn is_target_of(self, service: Self) -> bool {
        match (self, service) {
            (Self::App(role, _), Self::AppService(of)) | (Self::Dapr(role, _), Self::DaprService(of)) => {
                role == of
            }
            _ => false,
        }
    }
}

/// Every resource, in the order in which people see them.
pub(super) fn resources(spec: &LabSpec) -> Vec<Kind> {
    let mut kinds = vec![Kind::Broker, Kind::Blob, Kind::LabDapr];
    for role in Role::ALL.iter().copied() {
        if spec.topology == Topology::Shared {
            kinds.extend([Kind::AppService(role), Kind::DaprService(role)]);
        }
        kinds.extend((1..=spec.replicas).map(|replica| Kind::App(role, replica)));
        kinds.extend((1..=spec.dapr_replicas).map(|replica| Kind::Dapr(role, replica)));
    }
    kinds
}

/// The resource through which a role's application is reached.
pub(super) fn app_front(spec: &LabSpec, role: Role, replica: u32) -> Kind {
    match spec.topology {
        Topology::Sidecar => Kind::App(role, replica),
        Topology::Shared => Kind::AppService(role),
    }
}

/// The resource through which a role's Dapr is reached.
pub(super) fn dapr_front(spec: &LabSpec, role: Role, replica: u32) -> Kind {
    match spec.topology {
        Topology::Sidecar => Kind::Dapr(role, replica),
        Topology::Shared => Kind::DaprService(role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spec: &LabSpec) -> Vec<String> {
        resources(spec).iter().map(Kind::to_string).collect()
    }

    #[test]
    fn a_sidecar_lab_has_a_dapr_for_each_application_and_no_service() {
        let spec = LabSpec { replicas: 2, dapr_replicas: 2, ..LabSpec::default() };
        let names = names(&spec);
        assert_eq!(names.len(), 3 + 3 * 4);
        assert_eq!(
            names[..7],
            [
                "servicebus",
                "blob",
                "lab-dapr",
                "distributor-1",
                "distributor-2",
                "distributor-dapr-1",
                "distributor-dapr-2",
            ]
        );
        let needs = Kind::Dapr(Role::Distributor, 2).needs(&spec);
        assert!(needs.contains(&Kind::App(Role::Distributor, 2)));
        assert!(!needs.contains(&Kind::App(Role::Distributor, 1)));
    }

    #[test]
    fn a_shared_lab_has_services_in_front_of_both() {
        let spec =
            LabSpec { topology: Topology::Shared, replicas: 2, dapr_replicas: 3, ..LabSpec::default() };
        let names = names(&spec);
        assert_eq!(names.len(), 3 + 3 * (2 + 2 + 3));
        assert!(names.contains(&"service-receiver-express-dapr".to_owned()));
        let express = Role::ReceiverExpress;
        assert_eq!(dapr_front(&spec, express, 1), Kind::DaprService(express));
        assert!(Kind::Dapr(express, 3).is_target_of(Kind::DaprService(express)));
        assert!(!Kind::Dapr(express, 3).is_target_of(Kind::AppService(express)));
        assert!(!Kind::Dapr(express, 3).is_target_of(Kind::DaprService(Role::Distributor)));
    }

    #[test]
    fn everything_is_stopped_in_exactly_one_tier() {
        let shared = LabSpec { topology: Topology::Shared, ..LabSpec::default() };
        for kind in resources(&shared) {
            assert_eq!(STOP_TIERS.iter().filter(|tier| tier(kind)).count(), 1, "{kind}");
        }
    }

    #[test]
    fn what_is_needed_exists_and_needs_no_circle() {
        for topology in Topology::ALL.iter().copied() {
            let spec = LabSpec { topology, ..LabSpec::default() };
            let kinds = resources(&spec);
            let mut ready: Vec<Kind> = Vec::new();
            while ready.len() < kinds.len() {
                let next = kinds.iter().find(|kind| {
                    !ready.contains(kind) && kind.needs(&spec).iter().all(|need| ready.contains(need))
                });
                ready.push(*next.expect("something can start"));
            }
        }
    }
}

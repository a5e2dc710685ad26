//! The bounds of the lab's own machinery, each with its reason. The measured flow has its own list.

use std::time::Duration;

/// Replicas of one role that a lab may have: the article's largest set-up has 10.
pub const REPLICAS: u32 = 32;

/// Characters of a lab's name: it becomes a folder.
pub const NAME_CHARACTERS: usize = 40;

/// Between two looks of a readiness probe.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// One attempt of a readiness probe, connecting included.
pub const PROBE_ATTEMPT: Duration = Duration::from_secs(2);

/// From the start of a program until it must be ready. Azurite needs 1–2 s on a busy machine, a cold compile of a Wasm
/// application several seconds on a slow one.
pub const READY: Duration = Duration::from_secs(60);

/// The longest that spin-host lets a component run for one request; Spin has no such limit, and its longest wait of its own is
/// as long. An application that computes for ever would stay for as long as the lab does.
pub const COMPONENT_RUN: Duration = Duration::from_secs(600);

/// From the start of the supervisor until every part must be ready, whatever single parts do.
pub const LAB_READY: Duration = Duration::from_secs(120);

/// From SIGTERM to SIGKILL. Dapr takes up to 5 s of its own to settle what is in flight.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// From the start of the supervisor until its control socket must answer.
pub const SUPERVISOR_START: Duration = Duration::from_secs(10);

/// From `down` until the supervisor must be gone: three tiers are stopped one after the other. Then
/// it is killed.
pub const DOWN: Duration = Duration::from_secs(45);

/// From a question to a supervisor until its answer, where it waits for nothing before it answers: milliseconds, and
/// the rest is for a busy machine. One that takes longer hangs.
pub const ANSWER: Duration = Duration::from_secs(5);

/// From the question whether a lab is ready until the answer; the supervisor's own bound comes before.
pub const READY_ANSWER: Duration = CLUSTER_LAB_READY.saturating_add(ANSWER);

/// From the order to kill or restart a replica until it is done; the supervisor's own bounds come before.
pub const VERB_ANSWER: Duration = VERB.saturating_add(VERB).saturating_add(STOP_GRACE).saturating_add(ANSWER);

/// From the order to scale until it is done: all replicas are started, or stopped, at once, a sidecar before its application;
/// and an earlier order may still be under way.
pub const SCALE_ANSWER: Duration = VERB_ANSWER.saturating_mul(2);

/// Orders to scale that one run may give: a ramp to 10 replicas and back, one at a time, would be too many to read.
pub const SCALE_STEPS: usize = 16;

/// Runs of each combination of a matrix: more than anybody waits for.
pub const MATRIX_REPEAT: u32 = 100;

/// Bytes of a report that is read again: series are bounded, and one of 2,000 points each has 2 MB.
pub const REPORT_BYTES: u64 = 64 * 1024 * 1024;

/// Runs of the same name that are looked at for the one before.
pub const PREVIOUS_RUNS: usize = 20;

/// Bytes of a file with thresholds or prices that a person wrote.
pub const SETTINGS_BYTES: u64 = 64 * 1024;

/// Changes of replicas that are remembered: a run that scales by 32 again and again has some hundreds. The oldest go first.
pub const REPLICA_EVENTS: usize = 4_000;

/// From SIGKILL until the system has removed a supervisor.
pub const KILLED: Duration = Duration::from_secs(5);

/// A replica that was asked for by restart or scale must be ready within this.
pub const VERB: Duration = Duration::from_secs(75);

/// First pause before a crashed resource is started again; doubled up to [`BACKOFF_MOST`].
pub const BACKOFF_LEAST: Duration = Duration::from_millis(100);

/// Longest pause before a crashed resource is started again.
pub const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// A resource that stayed ready this long has earned the shortest pause again.
pub const BACKOFF_FORGIVEN: Duration = Duration::from_secs(10);

/// Starts in a row, each ended before it was ready, after which a resource is given up.
pub const FAILED_STARTS: u32 = 6;

/// From the question for a program's version until its answer. A real Spin takes 0.1 s of it, more on a busy machine.
pub const VERSION_ANSWER: Duration = Duration::from_secs(10);

/// Characters of a version that are kept.
pub const VERSION_CHARACTERS: usize = 60;

/// Lines of a resource's log that an error shows.
pub const LOG_TAIL_LINES: usize = 20;

/// Bytes at the end of a log that are read for its tail.
pub const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// Bytes of one line on a program's stdout that are kept; what is longer is cut.
pub const STDOUT_LINE_BYTES: usize = 64 * 1024;

/// Bytes of one line on the control socket: the status of 200 resources is 60 KB, [`REPLICA_EVENTS`] are 500 KB.
pub const CONTROL_LINE_BYTES: usize = 1024 * 1024;

/// Clients that the control socket serves at the same time.
pub const CONTROL_CLIENTS: usize = 64;

/// Between two samples of CPU and memory: what a killed process used after its last sample is lost.
pub const USAGE_SAMPLE: Duration = Duration::from_millis(250);

/// Ports that the lab chooses itself: below the kernel's ephemeral range, so that no outgoing connection of anybody
/// takes one, and above the defaults of Dapr and Azurite.
pub const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports tried before the lab gives up finding a free one.
pub const PORT_ATTEMPTS: usize = 500;

/// How long a test waits for its turn to have a lab.
pub const SLOT_WAIT: Duration = Duration::from_secs(900);

/// Between two looks at files that another process changes: locks, logs that are followed.
pub const FILE_POLL: Duration = Duration::from_millis(100);

/// Bytes that a relay holds for each direction of a connection: the largest order and its headers fit twice.
pub const RELAY_BUFFER_BYTES: usize = 16 * 1024;

/// Connections that may wait to be accepted by a relay.
pub const RELAY_BACKLOG: u32 = 1024;

/// Bytes of one line on a relay's stdin: 32 targets fit many times.
pub const RELAY_LINE_BYTES: u64 = 64 * 1024;

/// Attempts to reach a target before a relay gives a connection up: one for each of a few replicas that just died.
pub const RELAY_CONNECT_ATTEMPTS: usize = 3;

/// Bytes of one blob of an image that another program wrote: a component of TypeScript has 12 MB.
pub const IMAGE_BLOB_BYTES: u64 = 512 * 1024 * 1024;

/// Blobs of an image that are sent to a registry at the same time.
pub const PUSHES: usize = 4;

/// A registry that says nothing for this long hangs.
pub const REGISTRY_SILENCE: Duration = Duration::from_secs(30);

/// From the start of a push until the whole image must be there: 200 MB at 4 MB/s.
pub const PUSH: Duration = Duration::from_secs(120);

/// From a question to a container engine until its answer: a busy one takes seconds to create a container.
pub const ENGINE_ANSWER: Duration = Duration::from_secs(20);

/// From the start of loading an image into an engine until it is there: 300 MB on a slow disk.
pub const ENGINE_LOAD: Duration = Duration::from_secs(120);

/// From the order to remove something until it is gone; a container is killed first.
pub const ENGINE_REMOVE: Duration = Duration::from_secs(30);

/// From the first packet to an API server until it must have taken the connection.
pub const CLUSTER_CONNECT: Duration = Duration::from_secs(10);

/// From a question to an API server until its answer: milliseconds, and the rest is for a cluster that is busy with its start.
pub const CLUSTER_ANSWER: Duration = Duration::from_secs(30);

/// Between two looks at something on a cluster that nothing announces.
pub const CLUSTER_POLL: Duration = Duration::from_millis(250);

/// How long a webhook that has just been installed may leave requests unanswered.
pub const WEBHOOK: Duration = Duration::from_secs(60);

/// From the order to remove a namespace until it must be gone: its pods have 30 s of their own to end.
pub const NAMESPACE_GONE: Duration = Duration::from_secs(120);

/// From the start until every part of a lab on a cluster must be ready: the cluster itself, Dapr's control plane and images
/// that come over a slow line are in it.
pub const CLUSTER_LAB_READY: Duration = Duration::from_secs(900);

/// From the order to make a lab's pods until all must be ready.
pub const PODS_READY: Duration = Duration::from_secs(300);

/// How long a pod may be without a node before that is a failure: a node that has just come needs a moment.
pub const UNSCHEDULABLE: Duration = Duration::from_secs(20);

/// How long a container may fail to be made before that is a failure: what it needs may come a moment later.
pub const NOT_CREATED: Duration = Duration::from_secs(15);

/// Times that a container of a starting lab may end before that is a failure. Dapr ends once where its neighbour is slower.
pub const POD_RESTARTS: u32 = 3;

/// Events of a pod that an error shows.
pub const EVENTS_SHOWN: usize = 5;

/// How long a question for CPU and memory waits for counters that were read after it: the kubelet reads them every 10 to 15 s,
/// less often where nothing moves.
pub const USAGE_FRESH: Duration = Duration::from_secs(40);

/// From the question what the parts of a lab use until the answer.
pub const USAGE_ANSWER: Duration = USAGE_FRESH.saturating_add(ANSWER);

/// From the order to end a lab on a cluster until its supervisor must be gone: two tiers of pods, the namespace, what the lab
/// installed, the last of the logs.
pub const CLUSTER_DOWN: Duration = STOP_GRACE
    .saturating_mul(9)
    .saturating_add(NAMESPACE_GONE)
    .saturating_add(crate::cluster::limits::CHARTS_REMOVED);

/// From a connection to a forwarded address until the cluster must have opened it to the pod.
pub const FORWARD_CONNECT: Duration = Duration::from_secs(10);

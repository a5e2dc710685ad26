//! A lab for a test: started when asked for, its logs checked, gone when the test is over.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lab::backend::{AfterKill, Lab, Lifetime, Part, Remains};
use lab::build::{self, Artefact, Step};
use lab::flow::blobs::Blobs;
use lab::flow::broker::{Broker, QueueCounts};
use lab::flow::dapr::Dapr;
use lab::flow::dataset::DataSet;
use lab::flow::observe::{self, Patience, Tally};
use lab::flow::verify;
use lab::logs::Level;
use lab::paths::Workspace;
use lab::spec::{BackendKind, ClusterSpec, LabSpec, Role, Stack, Stacks, Topology};

/// How long the broker holds a message for a receiver in these labs: short, so that what a killed one held comes back soon.
pub const LOCK_SECONDS: u32 = 5;

/// Deliveries after which a message is dead-lettered in these labs.
pub const MAX_DELIVERY_COUNT: u32 = 3;

/// The longest that any single condition may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running lab, its clients, and the log lines that the test expects.
pub struct TestLab {
    lab: Lab,
    /// The broker, by its HTTP port.
    pub broker: Broker,
    /// The blob store.
    pub blobs: Blobs,
    /// The lab's own Dapr.
    pub dapr: Dapr,
    expected_log_lines: Vec<&'static str>,
}

/// A lab whose roles all run on `stack`, on the back end that the environment names.
pub fn spec(stack: Stack, topology: Topology) -> LabSpec {
    LabSpec {
        stacks: Stacks::all(stack),
        topology,
        lock_seconds: LOCK_SECONDS,
        max_delivery_count: MAX_DELIVERY_COUNT,
        ..of_the_environment()
    }
}

/// Back end and shapes as the command line takes them from `LAB_BACKEND`, `LAB_CONTEXT`, `LAB_SPIN_SHAPE` and `LAB_POOLS`.
fn of_the_environment() -> LabSpec {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let backend: BackendKind =
        set("LAB_BACKEND").map_or(BackendKind::Local, |word| word.parse().expect("LAB_BACKEND"));
    let usual = ClusterSpec::of(backend);
    let cluster = ClusterSpec {
        context: set("LAB_CONTEXT"),
        spin_shape: set("LAB_SPIN_SHAPE")
            .map_or(usual.spin_shape, |word| word.parse().expect("LAB_SPIN_SHAPE")),
        pools: set("LAB_POOLS").map_or(usual.pools, |word| word.parse().expect("LAB_POOLS")),
        ..usual
    };
    LabSpec { backend, cluster, ..LabSpec::default() }
}

/// Something that a case asks of a lab and that not every one can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The application of a replica is away while the Dapr beside it lives.
    LoneDapr,
}

/// Every case that some lab cannot carry out, with what it lacks. A skip that is not here fails.
const SKIPS: [(&str, Need); 1] =
    [("orders_survive_an_application_that_is_away_while_its_dapr_is_not", Need::LoneDapr)];

/// Whether a case is skipped because the labs of this environment lack what it needs; says why.
pub fn skipped(case: &str, need: Need) -> bool {
    let reason = match need {
        Need::LoneDapr if of_the_environment().backend.is_cluster() => {
            "a sidecar and its application are one pod, which lives and dies as a whole"
        }
        Need::LoneDapr => return false,
    };
    assert!(SKIPS.contains(&(case, need)), "{case} is skipped and not on the list: {reason}");
    // Not `eprintln!`, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {case}: {reason}");
    true
}

/// Two replicas of every application behind three of Dapr.
pub fn with_replicas(spec: LabSpec) -> LabSpec {
    LabSpec { replicas: 2, dapr_replicas: 3, ..spec }
}

impl TestLab {
    /// Builds what is missing and starts a lab that ends with this test. A name of its own keeps its state apart.
    pub async fn start(name: &str, spec: LabSpec) -> Self {
        let spec = LabSpec { name: format!("e2e-{name}"), ..spec };
        build_what_is_missing(&spec).await;
        let lab = Lab::start(&spec, Lifetime::WithThisProcess)
            .await
            .unwrap_or_else(|error| panic!("{}\nhint: {}", chain(&error), error.hint().unwrap_or_default()));
        let endpoints = lab.endpoints();
        Self {
            broker: Broker::new(&endpoints.servicebus_http).expect("the broker's address is a URL"),
            blobs: Blobs::new(&endpoints.blob).expect("the blob store's key is base64"),
            dapr: Dapr::new(&endpoints.lab_dapr).expect("Dapr's address is a URL"),
            lab,
            expected_log_lines: OF_A_REAL_DAPRD.to_vec(),
        }
    }

    /// The lab itself.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Declares that warnings with this text may stand in a log.
    pub fn expect_log_line(&mut self, text: &'static str) {
        self.expected_log_lines.push(text);
    }

    /// Declares the warnings of parts whose peer is gone for a while.
    pub fn expect_broken_connections(&mut self) {
        for text in BROKEN_CONNECTIONS {
            self.expect_log_line(text);
        }
    }

    /// Counts of every queue.
    pub async fn queues(&self) -> Vec<QueueCounts> {
        self.broker.queues().await.expect("the broker tells its queues")
    }

    /// Counts of one queue.
    pub async fn queue(&self, name: &str) -> QueueCounts {
        let queues = self.queues().await;
        queues.into_iter().find(|queue| queue.name == name).expect("the queue exists")
    }

    /// Sends orders, due at once.
    pub async fn send(&self, orders: &DataSet) {
        for index in 0..orders.len() {
            let body = orders.body(index).expect("the index is in the set");
            self.dapr.send(&body, None).await.expect("Dapr takes an order");
        }
    }

    /// Waits until `orders` orders that were sent after `before` are stored or dead-lettered.
    pub async fn await_done(&self, before: &[QueueCounts], orders: u64) -> Tally {
        let patience = Patience { deadline: DEADLINE, stall: DEADLINE };
        observe::await_done(&self.broker, before, orders, patience)
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Waits until between 10 % and 90 % of the orders sent after `before` are stored.
    pub async fn await_middle(&self, before: &[QueueCounts], orders: u64) {
        let patience = Patience { deadline: DEADLINE, stall: DEADLINE };
        let begun = |tally: &Tally| tally.stored >= orders / 10;
        let tally = observe::wait_until(
            &self.broker,
            before,
            orders,
            patience,
            "a tenth of the orders",
            begun,
            |_| {},
        )
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(
            tally.stored <= orders * 9 / 10,
            "the fault comes too late: {} of {orders} are stored",
            tally.stored
        );
    }

    /// Waits until so many of the orders sent after `before` are stored.
    pub async fn await_stored(&self, before: &[QueueCounts], orders: u64, stored: u64) {
        let patience = Patience { deadline: DEADLINE, stall: DEADLINE };
        let reached = |tally: &Tally| tally.stored >= stored;
        let what = format!("{stored} orders to be stored");
        observe::wait_until(&self.broker, before, orders, patience, &what, reached, |_| {})
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// Asserts that every order of the set is a blob, unchanged, in its place, and that no other is there.
    pub async fn assert_stored(&self, orders: DataSet) {
        let verification =
            verify::verify(&self.blobs, &Arc::new(orders)).await.expect("the blobs can be read");
        assert!(verification.is_clean(), "{verification:#?}");
    }

    /// Kills one replica without warning; its restart is the lab's business.
    pub async fn kill(&self, part: Part, replica: u32) {
        self.lab.kill(part, replica, AfterKill::Policy).await.expect("the part can be killed");
    }

    /// Kills one replica, which stays down.
    pub async fn take_down(&self, part: Part, replica: u32) {
        self.lab.kill(part, replica, AfterKill::StayDown).await.expect("the part can be killed");
    }

    /// Kills the lab's owner without warning. The test may start another lab after it: this one's turn is over.
    pub async fn crash(self) -> Remains {
        self.lab.crash().await.expect("the lab can be killed")
    }

    /// Starts a replica that is down.
    pub async fn bring_back(&self, part: Part, replica: u32) {
        self.lab.restart(part, replica).await.expect("the part can be started");
    }

    /// CPU seconds of every resource, by name.
    pub async fn cpu_seconds_of_all(&self) -> BTreeMap<String, f64> {
        let usage = self.lab.usage().await.expect("the lab tells what its parts use");
        usage.into_iter().map(|part| (part.name, part.cpu_seconds)).collect()
    }

    /// CPU seconds of the resource with this name.
    pub async fn cpu_seconds(&self, resource: &str) -> f64 {
        let usage = self.lab.usage().await.expect("the lab tells what its parts use");
        let part = usage.iter().find(|part| part.name == resource);
        part.unwrap_or_else(|| panic!("no resource {resource} in {usage:#?}")).cpu_seconds
    }

    /// The application of a role, for requests of our own.
    pub fn app(&self, role: Role) -> String {
        self.lab.endpoints().apps[&role].clone()
    }

    /// Ends the lab and asserts that no part warned of anything that the test did not expect.
    pub async fn finish(self) {
        self.lab.down().await.expect("the lab stops");
        let lines = self.lab.logs(&[]).expect("the lab has logs");
        let unexpected: Vec<_> = lines
            .iter()
            .filter(|line| line.level().is_some_and(|level| level >= Level::Warn))
            .filter(|line| !self.expected_log_lines.iter().any(|text| line.text.contains(text)))
            .map(|line| format!("{}│ {}", line.resource, line.text))
            .collect();
        assert!(unexpected.is_empty(), "unexpected warnings:\n{}", unexpected.join("\n"));
        self.lab.down_and_forget().await.expect("the lab's folder can be removed");
    }
}

/// So that `cargo test --test e2e` needs nothing before it. Only one test builds; the others find everything fresh.
async fn build_what_is_missing(spec: &LabSpec) {
    let wanted = Artefact::of(spec);
    let built = tokio::task::spawn_blocking(move || {
        let workspace = Workspace::find().expect("the suite runs in the workspace");
        build::build(&workspace, &wanted, |step| {
            if let Step::Started { command, .. } = step {
                eprintln!("building: {command}");
            }
        })
    });
    built.await.expect("the build does not panic").unwrap_or_else(|error| panic!("{}", chain(&error)));
}

/// What parts say while a peer of theirs is gone. Each is a message of its own, as far as it is the same every time.
const BROKEN_CONNECTIONS: [&str; 10] = [
    // Dapr on its way to an application; what an application refuses reads otherwise.
    r#"error invoking app: Post \"http://127.0.0.1:"#,
    r#"error invoking app: Post \"http://distributor:"#,
    r#"error invoking app: Post \"http://receiver-"#,
    // The application has said that it lives on without Dapr, and Dapr hands that on.
    "fails to send binding event to http app channel, status code: 502 body: Dapr cannot be reached",
    r#"WARN warp_rust::app: a call of Dapr failed error=Dapr cannot be reached cause="client error ("#,
    r#"WARN spin_host::outbound: outbound request failed error="client error ("#,
    // A Dapr that is told to go gives back what it has not begun with; on a cluster a killed one is told so a second before.
    "input binding is closed",
    "link was closed by user",
    "couldn't find output binding",
    // What a real daprd had fetched before a burst of failures may have lost its short lock when its turn comes: it is delivered again.
    ": (locklost): ",
];

/// What a real daprd 1.18 warns of in every lab, and no stand-in does: that it runs outside of a cluster, and how its
/// links to the broker end when it stops.
const OF_A_REAL_DAPRD: [&str; 12] = [
    r#"msg="mTLS is disabled. Skipping certificate request and tls validation""#,
    r#"msg="The default value for 'spec.metric.http.increasedCardinality' will change to 'false' in Dapr 1.15 or later""#,
    r#"msg="No scheduler host addresses provided. Scheduler disabled""#,
    r#"msg="Actor runtime disabled: api error: code = Unavailable desc = placement service is not configured."#,
    r#"msg="App channel is not initialized. Did you configure an app-port?""#,
    "lost connection, attempting to reconnect in ",
    r#"msg="Error while closing receiver for queue "#,
    r#"msg="Error renewing message locks for queue "#,
    r#"msg="Graceful shutdown timeout exceeded, forcing shutdown""#,
    // Spin's pool opens connections ahead, daprd closes one that has carried no request for 10 s, and a busy machine lets them meet:
    // the order is delivered again.
    "status code: 502 body: Dapr cannot be reached: ErrorCode::HttpProtocolError",
    // In a cluster: its streams from the control plane end when it does, some of them in the middle of a question; and where that
    // control plane was installed a moment ago, its address may not lead to it yet, and the node starts this Dapr again.
    r#"context canceled" app_id="#,
    "failed to retrieve the initial identity: error from sentry SignCertificate: rpc error: code = Unavailable",
];

/// An error with all its causes, as a person would see it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  caused by: {cause}"));
        source = cause.source();
    }
    text
}

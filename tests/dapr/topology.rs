//! Several Daprs of one application on one queue, as a deployment or a daemon set of Dapr Shared, and beside one application
//! each; and where a Dapr listens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::broker::{Broker, MAX_DELIVERY_COUNT, plain};
use super::differences;
use super::gate::holding;
use super::support::{App, Dapr, Setup, is_real_daprd, queue};

const PARALLEL: [(&str, &str); 2] = [("maxActiveMessages", "4"), ("maxConcurrentHandlers", "0")];

/// A replica of Dapr Shared: the application is elsewhere, under a name.
async fn shared(broker: &Broker, app: &App, more: &[(&str, &str)]) -> Dapr {
    let setup =
        Setup::new().file("q.yaml", broker.binding("input", &[&PARALLEL[..], more].concat())).app(app.port);
    setup.args(&["--app-channel-address", "localhost"]).start().await
}

/// The harness gives 127.0.0.1; all addresses are the default of daprd, and a flag of the emulator.
#[tokio::test]
async fn c61_the_api_is_where_it_is_told_to_be() {
    let answers = async |dapr: &Dapr, host: &str| {
        let url = format!("http://{host}:{}/v1.0/healthz/outbound", dapr.port);
        reqwest::get(url).await.is_ok_and(|answer| answer.status() == 204)
    };
    let local = Setup::new().start().await;
    assert_eq!((answers(&local, "127.0.0.1").await, answers(&local, "127.0.0.2").await), (true, false));
    let everywhere = Setup::new().args(&["--dapr-listen-addresses", "0.0.0.0"]).start().await;
    assert_eq!(
        (answers(&everywhere, "127.0.0.1").await, answers(&everywhere, "127.0.0.2").await),
        (true, true)
    );
}

#[tokio::test]
async fn c62_replicas_compete_for_a_queue_and_each_has_limits_of_its_own() {
    let broker = Broker::start();
    let (mut apps, mut daprs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (app, gate) = holding().await;
        daprs.push(shared(&broker, &app, &[]).await);
        apps.push((app, gate));
    }
    broker.send_all((0..100).map(plain)).await;
    for (_, gate) in &apps {
        gate.holds(4).await;
    }
    assert_eq!(broker.counts("q").await.locked, 8);
    for (_, gate) in &apps {
        gate.let_through(100);
    }
    broker.counts_are("all to be completed", |counts| counts.completed_total == 100).await;
    let calls: Vec<_> = apps.iter().flat_map(|(app, _)| app.calls_of(&Method::POST, "/q")).collect();
    let bodies: BTreeSet<_> = calls.iter().map(|call| call.body.clone()).collect();
    assert_eq!((calls.len(), bodies.len()), (100, 100), "each was delivered once");
}

#[tokio::test]
async fn c62_replicas_of_dapr_share_one_application_and_their_places_add_up() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let _daprs = [shared(&broker, &app, &[]).await, shared(&broker, &app, &[]).await];
    broker.send_all((0..50).map(plain)).await;
    gate.holds(8).await;
    assert_eq!(broker.counts("q").await.locked, 8);
    gate.let_through(50);
    broker.counts_are("all to be completed", |counts| counts.completed_total == 50).await;
    let calls = app.calls_of(&Method::POST, "/q");
    let bodies: BTreeSet<_> = calls.iter().map(|call| call.body.clone()).collect();
    assert_eq!((calls.len(), bodies.len(), gate.waiting_max()), (50, 50, 8), "each was delivered once");
}

#[tokio::test]
async fn c63_c64_the_messages_of_a_replica_that_was_killed_come_again_after_their_lock_and_no_other_waits() {
    let broker = Broker::with(&["--listen", "127.0.0.1:0"], "PT5S", MAX_DELIVERY_COUNT);
    let (lost, held) = holding().await;
    let app = App::start(|_| 200).await;
    let killed = shared(&broker, &lost, &[]).await;
    broker.send_all((0..4).map(plain)).await;
    held.holds(4).await;
    let _stays = shared(&broker, &app, &[]).await;
    // The same as SIGKILL: the process is gone without a word.
    drop(killed);
    broker.send_all((4..20).map(plain)).await;
    let counts = broker.counts_are("the others to be completed", |counts| counts.completed_total == 16).await;
    assert_eq!(counts.locked, 4, "before the locks end: {counts:?}");
    broker.counts_are("all to be completed", |counts| counts.completed_total == 20).await;
    let bodies: BTreeSet<_> = app.calls_of(&Method::POST, "/q").into_iter().map(|call| call.body).collect();
    assert_eq!(bodies.len(), 20);
}

/// Nothing but probes of the application's health would stop it.
#[tokio::test]
async fn c65_a_dapr_whose_application_died_stays_well_and_gives_back_what_it_gets() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let port = app.port;
    let dapr = shared(&broker, &app, &[("maxRetriableErrorsPerSec", "0")]).await;
    dapr.ready().await;
    drop(app);
    broker.send(plain("lost")).await;
    broker.counts_are("the message to be dead-lettered", |counts| counts.dead_lettered == 1).await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("still free");
    let app = App::answering(listener, |_| std::future::ready(200));
    broker.send(plain("found")).await;
    broker.counts_are("the next to be completed", |counts| counts.completed_total == 1).await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len(), 1);
}

/// A way to a broker on which connections are counted. Gone when dropped.
struct Relay {
    /// `host:port`.
    address: String,
    connections: Arc<AtomicUsize>,
    _relaying: AbortOnDropHandle<()>,
}

impl Relay {
    async fn to(broker: &Broker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (connections, target) = (Arc::new(AtomicUsize::new(0)), broker.address.clone());
        let count = Arc::clone(&connections);
        let relaying = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut far = TcpStream::connect(&target).await.expect("the broker listens");
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        Self { address, connections, _relaying: AbortOnDropHandle::new(relaying) }
    }
}

/// The official emulator allows ten connections. The components are those of the sample: a distributor that reads one
/// queue and writes two, and a receiver at each of these.
#[tokio::test]
async fn c66_the_daprs_of_all_applications_have_ten_connections_at_most() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let relay = Relay::to(&broker).await;
    let binding = |name: &str, direction: &[(&str, &str)]| {
        let text = queue("q", &relay.address, direction);
        text.replace("metadata: {name: q}", &format!("metadata: {{name: {name}}}"))
    };
    let (input, output) = ([("direction", "input")], [("direction", "output")]);
    let distributor = Setup::new()
        .file("in.yaml", binding("in", &[]))
        .file("express.yaml", binding("express", &output))
        .file("standard.yaml", binding("standard", &output));
    let mut daprs = vec![distributor.app(app.port).start().await];
    for name in ["express-in", "standard-in"] {
        daprs.push(Setup::new().file("in.yaml", binding(name, &input)).app(app.port).start().await);
    }
    for name in ["in", "express", "standard"] {
        assert_eq!(daprs[0].create(name, 1.into(), serde_json::json!({})).await.status, 204);
    }
    broker.counts_are("all to be completed", |counts| counts.completed_total == 3).await;
    for dapr in &daprs {
        dapr.ready().await;
    }
    let connections = relay.connections.load(Ordering::SeqCst);
    assert!(connections <= 10, "{connections}");
    if !is_real_daprd(differences::OWN_CONNECTIONS) {
        assert_eq!(connections, daprs.len());
    }
}

//! A broker that takes connections and says nothing: whether a binding is read shows in whether it connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::support::{DEADLINE, Dapr};

/// Gone when dropped.
pub struct SilentBroker {
    /// `host:port`.
    pub address: String,
    connections: Arc<AtomicUsize>,
    _taking: AbortOnDropHandle<()>,
}

impl SilentBroker {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let taking = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections, _taking: AbortOnDropHandle::new(taking) }
    }

    /// Whether anybody has connected.
    pub fn is_connected(&self) -> bool {
        self.connections.load(Ordering::SeqCst) > 0
    }

    /// Waits until somebody has.
    pub async fn connected(&self, what: &str, dapr: &Dapr) {
        tests::until(
            what,
            DEADLINE,
            async || if self.is_connected() { Ok(()) } else { Err(dapr.log.tail()) },
        )
        .await;
    }
}

//! An application that holds every POST back until it is told to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::support::{App, DEADLINE};

/// What POSTs wait at.
#[derive(Clone)]
pub struct Gate(Arc<Counts>);

struct Counts {
    permits: Semaphore,
    /// POSTs that wait, and the most that ever did.
    waiting: AtomicUsize,
    waiting_max: AtomicUsize,
}

/// An application that answers each POST with 200 when the gate lets it through.
pub async fn holding() -> (App, Gate) {
    let counts = Counts { permits: Semaphore::new(0), waiting: 0.into(), waiting_max: 0.into() };
    let gate = Gate(Arc::new(counts));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = gate.clone();
    let app = App::answering(listener, move |call| {
        let gate = at.clone();
        async move {
            if call.method == Method::POST {
                gate.pass().await;
            }
            200
        }
    });
    (app, gate)
}

impl Gate {
    async fn pass(&self) {
        let _waiting = Waiting::begin(&self.0);
        self.0.permits.acquire().await.expect("never closed").forget();
    }

    /// Answers this many of the POSTs that wait or will.
    pub fn let_through(&self, count: usize) {
        self.0.permits.add_permits(count);
    }

    /// The most POSTs that ever waited at the same time.
    pub fn waiting_max(&self) -> usize {
        self.0.waiting_max.load(Ordering::SeqCst)
    }

    /// Waits until this many POSTs wait for an answer.
    pub async fn holds(&self, count: usize) {
        tests::until(&format!("{count} waiting POSTs"), DEADLINE, async || {
            let waiting = self.0.waiting.load(Ordering::SeqCst);
            if waiting == count { Ok(()) } else { Err(waiting) }
        })
        .await;
    }
}

/// Counts a waiting POST, also when its caller hangs up.
struct Waiting<'a>(&'a Counts);

impl<'a> Waiting<'a> {
    fn begin(counts: &'a Counts) -> Self {
        let waiting = counts.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        counts.waiting_max.fetch_max(waiting, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

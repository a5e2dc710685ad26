//! Dapr, played by the suite: it notes every call and answers as it is told to. It must not know what is right.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lab::process::ReservedPort;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::wire::{self, Message};

/// What Dapr does with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conduct {
    /// It answers, and keeps the connection.
    Answers { status: u16, body: &'static str },
    /// It answers with this status and sends the caller elsewhere on itself, where all is well.
    Redirects(u16),
    /// It writes these bytes and closes the connection. An answer that is good says so: else the caller would use the
    /// connection again, and find out or not find out in time.
    Writes(&'static str),
    /// It answers well when it is let.
    Holds,
    /// It is not there.
    Gone,
}

impl Conduct {
    /// As Dapr answers the call of a queue's binding.
    pub const WELL: Self = Self::Answers { status: 204, body: "" };
}

/// The longest that its port may take to be free again.
const BACK: Duration = Duration::from_secs(10);

/// Where a redirection leads; a caller that follows it is seen.
const ELSEWHERE: &str = "/elsewhere";

/// The calls of the application, in the order in which they came.
type Calls = watch::Sender<Vec<Message>>;

struct Shared {
    conduct: watch::Sender<Conduct>,
    calls: Calls,
    /// What held calls wait at.
    permits: Semaphore,
}

/// Dapr at an address that stays its own while it is gone.
pub struct Dapr {
    port: ReservedPort,
    shared: Arc<Shared>,
    serving: Option<Serving>,
}

struct Serving {
    task: AbortOnDropHandle<()>,
    leave: CancellationToken,
}

impl Dapr {
    /// One that is there and answers well.
    pub async fn start() -> Self {
        let shared = Shared {
            conduct: watch::Sender::new(Conduct::WELL),
            calls: watch::Sender::default(),
            permits: Semaphore::new(0),
        };
        let port = ReservedPort::any().expect("a port is free");
        let mut dapr = Self { port, shared: Arc::new(shared), serving: None };
        dapr.behave(Conduct::WELL).await;
        dapr
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// From now on it does this, and has forgotten what it was called for. Calls that it holds stay held.
    pub async fn behave(&mut self, conduct: Conduct) {
        if conduct == Conduct::Gone {
            if let Some(Serving { task, leave }) = self.serving.take() {
                leave.cancel();
                task.await.expect("no connection panics");
            }
        } else if self.serving.is_none() {
            // A program that another case is starting has a copy of the old listener until it is executed.
            let address = self.address();
            let listener = tests::until("its own port", BACK, || TcpListener::bind(address)).await;
            let leave = CancellationToken::new();
            let task = tokio::spawn(listen(listener, Arc::clone(&self.shared), leave.clone()));
            self.serving = Some(Serving { task: AbortOnDropHandle::new(task), leave });
        }
        self.shared.permits.forget_permits(Semaphore::MAX_PERMITS);
        self.shared.conduct.send_replace(conduct);
        self.shared.calls.send_replace(Vec::new());
    }

    /// What it was called for.
    pub fn calls(&self) -> Vec<Message> {
        self.shared.calls.borrow().clone()
    }

    /// Waits until it was called this many times.
    pub async fn called(&self, count: usize) {
        let mut calls = self.shared.calls.subscribe();
        calls.wait_for(|calls| calls.len() >= count).await.expect("Dapr outlives the wait");
    }

    /// Answers this many of the calls that it holds or will.
    pub fn let_through(&self, count: usize) {
        self.shared.permits.add_permits(count);
    }
}

/// Until it has to leave: then its listener and every connection are closed before this ends.
async fn listen(listener: TcpListener, shared: Arc<Shared>, leave: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = leave.cancelled() => break,
        };
        if let Ok((stream, _)) = accepted {
            connections.spawn(serve(stream, Arc::clone(&shared)));
        }
        while connections.try_join_next().is_some() {}
    }
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(call)) = wire::read_request(&mut stream).await {
        let is_elsewhere = call.start.contains(ELSEWHERE);
        shared.calls.send_modify(|calls| calls.push(call));
        let conduct = if is_elsewhere { Conduct::WELL } else { shared.conduct.borrow().clone() };
        let (bytes, keeps) = match conduct {
            Conduct::Answers { status, body } => (answer(status, body), true),
            Conduct::Redirects(status) => (redirection(status), true),
            Conduct::Writes(bytes) => (bytes.to_owned(), false),
            Conduct::Holds => {
                shared.permits.acquire().await.expect("never closed").forget();
                (answer(204, ""), true)
            }
            Conduct::Gone => return,
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() || !keeps {
            return;
        }
    }
}

fn answer(status: u16, body: &str) -> String {
    let head = format!("HTTP/1.1 {status} as told\r\ntraceparent: 00-0-0-00\r\n");
    match status {
        204 => format!("{head}\r\n"),
        _ => format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    }
}

fn redirection(status: u16) -> String {
    format!("HTTP/1.1 {status} as told\r\nlocation: {ELSEWHERE}\r\ncontent-length: 0\r\n\r\n")
}

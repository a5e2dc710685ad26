//! A service in front of replicas: a TCP relay that picks a random replica for each connection, as kube-proxy does. It
//! reads no byte of what it passes on.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::limits;

/// The replicas to which connections go.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    addresses: Arc<RwLock<Vec<SocketAddr>>>,
}

/// One line of the relay's stdin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    targets: Vec<SocketAddr>,
}

impl Targets {
    /// Replaces them; connections that are open stay.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Every target, in random order from a place that differs from call to call.
    fn shuffled(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !addresses.is_empty() {
            let start = rand::random_range(0..addresses.len());
            addresses.rotate_left(start);
        }
        addresses
    }

    /// Follows lines `{"targets":["127.0.0.1:1",…]}` until the input ends.
    ///
    /// # Errors
    /// Fails where a line is something else; the targets stay what they were.
    pub async fn follow(&self, input: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut input = BufReader::new(input);
        loop {
            let mut line = String::new();
            if (&mut input).take(limits::RELAY_LINE_BYTES).read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let Line { targets } = serde_json::from_str(&line)?;
            tracing::debug!(?targets, "targets");
            self.set(targets);
        }
    }
}

/// Listens; connections inherit that nothing is held back for an acknowledgement.
///
/// # Errors
/// Fails when the address is taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(limits::RELAY_BACKLOG)
}

/// Relays until `stop` is set to true. Connections that are open then are cut.
pub async fn serve(listener: TcpListener, targets: Targets, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((client, _)) => {
                let targets = targets.clone();
                tokio::spawn(async move { relay(client, &targets).await });
            }
            Err(error) => {
                // Out of descriptors, most likely: the next connection may find one.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(limits::PROBE_INTERVAL).await;
            }
        }
    }
}

async fn relay(mut client: TcpStream, targets: &Targets) {
    let Some(mut target) = connect(targets).await else {
        // Closing it without a byte is what a service without endpoints looks like.
        return;
    };
    let size = limits::RELAY_BUFFER_BYTES;
    // Either side may break a connection; the other one then sees it end, and that is all there is to do.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut target, size, size).await;
}

/// A connection to a random target; another one is tried where that fails, for it may have died a moment ago.
async fn connect(targets: &Targets) -> Option<TcpStream> {
    for address in targets.shuffled().into_iter().take(limits::RELAY_CONNECT_ATTEMPTS) {
        match TcpStream::connect(address).await {
            // Without the option the relay still works, only slower.
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            Err(error) => tracing::debug!(%address, %error, "a target could not be reached"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Answers each connection with its own name and what it reads, until the client has finished.
    async fn echo(name: u8) -> SocketAddr {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    write.write_all(&[name]).await?;
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    struct Relay {
        address: SocketAddr,
        targets: Targets,
        stop: watch::Sender<bool>,
        served: tokio::task::JoinHandle<()>,
    }

    fn start(targets: Vec<SocketAddr>) -> Relay {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let relayed = Targets::default();
        relayed.set(targets);
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve(listener, relayed.clone(), stopped));
        Relay { address, targets: relayed, stop, served }
    }

    async fn exchange(relay: SocketAddr, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(relay).await?;
        stream.write_all(text).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn every_target_gets_connections_and_bytes_pass_whole() {
        let relay = start(vec![echo(b'a').await, echo(b'b').await, echo(b'c').await]);
        let text = vec![b'x'; 200_000];
        let mut names = BTreeSet::new();
        for _ in 0..200 {
            if names.len() == 3 {
                break;
            }
            let answer = exchange(relay.address, &text).await.expect("an answer");
            assert_eq!(answer.get(1..), Some(&text[..]));
            names.extend(answer.first().copied());
        }
        assert_eq!(names, BTreeSet::from([b'a', b'b', b'c']));
    }

    #[tokio::test]
    async fn a_dead_target_is_passed_over_and_none_is_a_closed_connection() {
        let dead =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address");
        let relay = start(vec![dead, echo(b'a').await]);
        for _ in 0..10 {
            assert_eq!(exchange(relay.address, b"x").await.expect("an answer"), b"ax");
        }
        relay.targets.set(Vec::new());
        assert!(!matches!(exchange(relay.address, b"x").await, Ok(answer) if !answer.is_empty()));
    }

    #[tokio::test]
    async fn targets_come_line_by_line_and_nonsense_changes_nothing() {
        let targets = Targets::default();
        let lines = "{\"targets\":[\"127.0.0.1:1\",\"127.0.0.1:2\"]}\n{\"targets\":[\"127.0.0.1:3\"]}\n";
        targets.follow(lines.as_bytes()).await.expect("lines");
        assert_eq!(targets.shuffled(), [SocketAddr::from(([127, 0, 0, 1], 3))]);
        for nonsense in ["{\"targets\":[\"here\"]}\n", "targets\n", "{\"targets\":[],\"more\":1}\n"] {
            targets.follow(nonsense.as_bytes()).await.expect_err(nonsense);
            assert_eq!(targets.shuffled().len(), 1);
        }
    }

    #[tokio::test]
    async fn it_ends_when_told() {
        let relay = start(vec![echo(b'a').await]);
        relay.stop.send_replace(true);
        relay.served.await.expect("an orderly end");
        assert!(TcpStream::connect(relay.address).await.is_err());
    }
}

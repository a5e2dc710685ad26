//! Addresses of this machine that lead to ports of a lab's pods: the supervisor listens, and each connection becomes a forwarded
//! one to a replica that is ready at that moment. So an address stays while pods come and go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::names::{self, Replicated};
use super::pods::{Pods, Replica};
use crate::limits;
use crate::process::ReservedPort;

/// One forwarded port; it ends when this is dropped.
#[derive(Debug)]
pub struct Forward {
    /// Where this machine reaches it.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where connections go.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// To a replica of this.
    pub of: Replicated,
    /// To this port of its pod.
    pub port: u16,
}

/// Listens on a port of the loopback interface and forwards what comes.
///
/// # Errors
/// Fails where the port cannot be listened on.
pub fn forward(
    client: &Client,
    lab: &str,
    pods: &Arc<Pods>,
    target: Target,
    mut at: ReservedPort,
) -> std::io::Result<Forward> {
    let address = at.address();
    at.hand_over();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(limits::RELAY_BACKLOG).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &names::namespace(lab));
    let pods = Arc::clone(pods);
    let task = tokio::spawn(async move {
        // The port stays the lab's as long as this lives.
        let _at = at;
        let turn = AtomicUsize::new(0);
        while let Ok((stream, _)) = listener.accept().await {
            let (api, target) = (api.clone(), target);
            let replica = choose(&pods, target, turn.fetch_add(1, Ordering::Relaxed));
            // Without a replica the connection ends: nobody is there.
            let Some(replica) = replica else { continue };
            tokio::spawn(async move {
                if let Err(error) = pass_on(stream, &api, &replica, target.port).await {
                    tracing::debug!(replica = replica.name, error, "a forwarded connection ended");
                }
            });
        }
    });
    Ok(Forward { address, task })
}

/// One that is ready; each gets its turn.
fn choose(pods: &Pods, target: Target, turn: usize) -> Option<Replica> {
    let mut replicas = pods.replicas();
    replicas.retain(|replica| replica.of == target.of && replica.ready);
    let count = replicas.len().max(1);
    replicas.into_iter().nth(turn % count)
}

async fn pass_on(mut stream: TcpStream, api: &Api<Pod>, replica: &Replica, port: u16) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let opened = tokio::time::timeout(limits::FORWARD_CONNECT, api.portforward(&replica.pod, &[port])).await;
    let mut forwarder = match opened {
        Ok(opened) => opened.map_err(|error| error.to_string())?,
        Err(_) => return Err("the cluster did not open it in time".to_owned()),
    };
    let mut pod = forwarder.take_stream(port).ok_or_else(|| "the port was not opened".to_owned())?;
    copy_bidirectional(&mut stream, &mut pod).await.map_err(|error| error.to_string())?;
    Ok(())
}

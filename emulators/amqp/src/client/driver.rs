//! The task that owns the socket: it takes commands from handles and frames from the peer, and writes what the session
//! makes of them.
//!
//! It must not wait for anything but the socket and its commands: a peer that does not read must not keep us from
//! reading.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::ClientError;
use super::handshake::Established;
use super::limits::{CLOSE_TIMEOUT, COMMANDS_BATCH_MAX, MAX_FRAME_BYTES, OUT_BYTES_MAX, READ_BYTES};
use super::session::{Command, End, Session};
use crate::frame::Frame;
use crate::performative::Close;

pub(super) async fn run(
    established: Established,
    mut commands: mpsc::Receiver<Command>,
    lost: watch::Sender<Option<ClientError>>,
    address: Arc<str>,
) {
    let session = Session::new(Arc::clone(&address), &established);
    let (reader, writer) = established.stream.into_split();
    let mut driver = Driver {
        reader,
        writer,
        inbox: established.inbox,
        idle_timeout: established.idle_timeout,
        heartbeat: established.peer_idle_timeout.map(|idle| idle / 3),
        heard: Instant::now(),
        spoke: Instant::now(),
        session,
    };
    let end = driver.serve(&mut commands).await;
    let (error, closed) = match end {
        End::Lost(error) => (error, None),
        End::Closed(reply) => {
            driver.say_goodbye().await;
            let reason = "it was closed on this side".into();
            (ClientError::ConnectionLost { address, reason }, reply)
        }
    };
    let _ = lost.send(Some(error.clone()));
    commands.close();
    driver.session.fail_all(&error);
    while let Ok(command) = commands.try_recv() {
        refuse(command, &error);
    }
    match closed {
        Some(closed) => drop(closed.send(())),
        // A peer that closed waits for the answer, which is behind what was not written yet.
        None => drop(timeout(CLOSE_TIMEOUT, driver.writer.write_all(&driver.session.out)).await),
    }
}

fn refuse(command: Command, error: &ClientError) {
    match command {
        Command::Attach { reply, .. } => drop(reply.send(Err(error.clone()))),
        Command::Send { reply, .. } | Command::Settle { reply, .. } => {
            drop(reply.send(Err(error.clone())));
        }
        Command::Drain { reply, .. } => drop(reply.send(Err(error.clone()))),
        Command::Detach { reply: Some(reply), .. } => drop(reply.send(Ok(()))),
        Command::Close { reply } => drop(reply.send(())),
        Command::Credit { .. } | Command::Detach { reply: None, .. } => {}
    }
}

struct Driver {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    inbox: BytesMut,
    idle_timeout: Duration,
    /// How long we may be silent.
    heartbeat: Option<Duration>,
    heard: Instant,
    spoke: Instant,
    session: Session,
}

impl Driver {
    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> End {
        let mut batch = Vec::with_capacity(COMMANDS_BATCH_MAX);
        loop {
            self.session.flush_accepted();
            if let Err(end) = self.take_frames() {
                return end;
            }
            let silence_ends = self.heard + self.idle_timeout;
            let speak_by = self.heartbeat.map_or(silence_ends, |heartbeat| self.spoke + heartbeat);
            self.inbox.reserve(READ_BYTES);
            tokio::select! {
                written = self.writer.write_buf(&mut self.session.out), if !self.session.out.is_empty() => {
                    self.spoke = Instant::now();
                    if let Err(error) = written {
                        return End::Lost(self.session.lost(&error.to_string()));
                    }
                }
                count = commands.recv_many(&mut batch, COMMANDS_BATCH_MAX),
                    if self.session.out.len() < OUT_BYTES_MAX =>
                {
                    if count == 0 {
                        return End::Closed(None);
                    }
                    for command in batch.drain(..) {
                        if let Command::Close { reply } = command {
                            return End::Closed(Some(reply));
                        }
                        self.session.command(command);
                    }
                }
                read = self.reader.read_buf(&mut self.inbox) => {
                    self.heard = Instant::now();
                    match read {
                        Ok(0) => return End::Lost(self.session.lost("the peer ended the connection")),
                        Ok(_) => {}
                        Err(error) => return End::Lost(self.session.lost(&error.to_string())),
                    }
                }
                () = tokio::time::sleep_until(silence_ends.min(speak_by)) => {
                    if silence_ends <= Instant::now() {
                        return End::Lost(self.session.lost("the peer was silent for too long"));
                    }
                    self.spoke = Instant::now();
                    Frame::put_heartbeat(&mut self.session.out);
                }
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), End> {
        loop {
            let taken = Frame::take(&mut self.inbox, MAX_FRAME_BYTES).map_err(|source| {
                End::Lost(ClientError::Frame { address: Arc::clone(&self.session.address), source })
            })?;
            match taken {
                None => return Ok(()),
                Some(Frame::Heartbeat) => {}
                Some(Frame::Amqp { performative, payload, .. }) => {
                    self.session.performative(performative, &payload)?;
                }
                Some(Frame::Sasl(_)) => {
                    return Err(End::Lost(self.session.lost("the peer sent a SASL frame after SASL")));
                }
            }
        }
    }

    /// Writes what waits, closes and waits for the peer's close, all within a bound.
    async fn say_goodbye(&mut self) {
        self.session.flush_accepted();
        Frame::put(&mut self.session.out, 0, &Close { error: None }.into());
        let out = std::mem::take(&mut self.session.out);
        let goodbye = async {
            self.writer.write_all(&out).await?;
            self.writer.shutdown().await?;
            while self.reader.read_buf(&mut self.inbox).await? > 0 {
                self.inbox.clear();
            }
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

//! From nothing to a session: TCP, SASL, open, begin (part 2, §2.2–2.5; part 5, §5.3).

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limits::{LINKS_MAX, MAX_FRAME_BYTES, READ_BYTES, SESSION_WINDOW};
use super::{ClientError, ConnectOptions, SaslMechanism};
use crate::frame::{Frame, ProtocolHeader};
use crate::limits::MIN_MAX_FRAME_BYTES;
use crate::performative::{Begin, Open, Performative};
use crate::sasl::{Init, Sasl};

/// A connection with a begun session, and what the peer said about itself.
pub(super) struct Established {
    pub(super) stream: TcpStream,
    /// Bytes that were read and not used yet.
    pub(super) inbox: BytesMut,
    /// The largest frame that the peer takes.
    pub(super) peer_max_frame_bytes: u32,
    /// The silence that the peer bears.
    pub(super) peer_idle_timeout: Option<Duration>,
    /// The silence that we bear.
    pub(super) idle_timeout: Duration,
    /// Transfers that the peer's session takes.
    pub(super) peer_incoming_window: u32,
    /// Id of the peer's first transfer.
    pub(super) peer_next_outgoing_id: u32,
}

pub(super) async fn establish(options: &ConnectOptions) -> Result<Established, ClientError> {
    let connect_error = |source: std::io::Error| ClientError::Connect {
        address: options.address.clone(),
        source: Arc::new(source),
    };
    let stream = TcpStream::connect(&options.address).await.map_err(connect_error)?;
    stream.set_nodelay(true).map_err(connect_error)?;
    let mut wire = Wire { stream, inbox: BytesMut::new(), address: options.address.as_str().into() };
    authenticate(&mut wire, options).await?;

    let mut out = BytesMut::new();
    out.put_slice(ProtocolHeader::Amqp.bytes());
    let half_idle_ms = u32::try_from(options.idle_timeout.as_millis() / 2).unwrap_or(u32::MAX);
    let open = Open {
        container_id: options.container_id.clone(),
        hostname: Some(options.hostname.clone()),
        max_frame_size: MAX_FRAME_BYTES,
        channel_max: 0,
        idle_time_out: Some(half_idle_ms),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    Frame::put(&mut out, 0, &open.into());
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: SESSION_WINDOW,
        outgoing_window: SESSION_WINDOW,
        handle_max: u32::try_from(LINKS_MAX - 1).unwrap_or(u32::MAX),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    Frame::put(&mut out, 0, &begin.into());
    wire.write(&out).await?;

    wire.header(ProtocolHeader::Amqp).await?;
    let mut peer_open = None;
    loop {
        match wire.performative().await? {
            Performative::Open(open) => peer_open = Some(open),
            Performative::Begin(begin) => {
                let open = peer_open.ok_or_else(|| wire.lost("it began a session before it opened"))?;
                let peer_idle = open.idle_time_out.filter(|&ms| ms > 0).map(u64::from);
                return Ok(Established {
                    stream: wire.stream,
                    inbox: wire.inbox,
                    peer_max_frame_bytes: open.max_frame_size.max(MIN_MAX_FRAME_BYTES),
                    peer_idle_timeout: peer_idle.map(Duration::from_millis),
                    idle_timeout: options.idle_timeout,
                    peer_incoming_window: begin.incoming_window,
                    peer_next_outgoing_id: begin.next_outgoing_id,
                });
            }
            Performative::Close(close) => {
                let error = close.error.map(|error| {
                    let description = error.description.unwrap_or_default();
                    format!("it closed: {}: {description}", error.condition.as_str())
                });
                return Err(wire.lost(error.as_deref().unwrap_or("it closed")));
            }
            other => return Err(wire.lost(&format!("it sent {} before its begin", other.name()))),
        }
    }
}

async fn authenticate(wire: &mut Wire, options: &ConnectOptions) -> Result<(), ClientError> {
    let (name, response) = match &options.sasl {
        SaslMechanism::Anonymous => ("ANONYMOUS", Bytes::new()),
        SaslMechanism::Plain { username, password } => {
            ("PLAIN", Bytes::from(format!("\0{username}\0{password}")))
        }
    };
    let refused = |reason: String| ClientError::Authentication { address: options.address.clone(), reason };
    wire.write(ProtocolHeader::Sasl.bytes()).await?;
    wire.header(ProtocolHeader::Sasl).await?;
    match wire.frame().await? {
        Frame::Sasl(Sasl::Mechanisms(offered)) => {
            if !offered.sasl_server_mechanisms.iter().any(|mechanism| mechanism.as_str() == name) {
                return Err(refused(format!("it does not offer {name}")));
            }
        }
        _ => return Err(refused("it did not offer mechanisms".to_owned())),
    }
    let init = Init {
        mechanism: name.into(),
        initial_response: Some(response),
        hostname: Some(options.hostname.clone()),
    };
    let mut out = BytesMut::new();
    Frame::put_sasl(&mut out, &Sasl::Init(init));
    wire.write(&out).await?;
    match wire.frame().await? {
        Frame::Sasl(Sasl::Outcome(outcome)) if outcome.code == 0 => Ok(()),
        Frame::Sasl(Sasl::Outcome(outcome)) => Err(refused(format!("SASL code {}", outcome.code))),
        _ => Err(refused("it did not end the negotiation".to_owned())),
    }
}

struct Wire {
    stream: TcpStream,
    inbox: BytesMut,
    address: Arc<str>,
}

impl Wire {
    fn lost(&self, reason: &str) -> ClientError {
        ClientError::ConnectionLost { address: Arc::clone(&self.address), reason: reason.into() }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|error| self.lost(&error.to_string()))
    }

    async fn read_more(&mut self) -> Result<(), ClientError> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) => Err(self.lost("it ended the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    async fn header(&mut self, expected: ProtocolHeader) -> Result<(), ClientError> {
        loop {
            let taken = ProtocolHeader::take(&mut self.inbox);
            match taken.map_err(|source| ClientError::Frame { address: Arc::clone(&self.address), source })? {
                Some(header) if header == expected => return Ok(()),
                Some(_) => return Err(self.lost("it answered with another protocol header")),
                None => self.read_more().await?,
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            let taken = Frame::take(&mut self.inbox, MAX_FRAME_BYTES);
            match taken.map_err(|source| ClientError::Frame { address: Arc::clone(&self.address), source })? {
                Some(frame) => return Ok(frame),
                None => self.read_more().await?,
            }
        }
    }

    async fn performative(&mut self) -> Result<Performative, ClientError> {
        loop {
            match self.frame().await? {
                Frame::Heartbeat => {}
                Frame::Amqp { performative, .. } => return Ok(performative),
                Frame::Sasl(_) => return Err(self.lost("it sent a SASL frame after SASL")),
            }
        }
    }
}

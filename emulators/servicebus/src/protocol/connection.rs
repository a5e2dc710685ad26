//! One connection as a state machine: bytes in, bytes out, no socket.
//!
//! It knows the layers (SASL, then AMQP), the sessions, and which of them a frame is for. It must not read a clock or wait.

use std::sync::Arc;
use std::time::Duration;

use amqp::performative::{Begin, Close, End, Open, Performative};
use amqp::sasl::{Mechanisms, Outcome, Sasl};
use amqp::{Frame, ProtocolHeader};
use bytes::{Bytes, BytesMut};

use super::context::Context;
use super::error::{Fatal, condition};
use super::inbound::Request;
use super::link::{Link, Node};
use super::request;
use super::session::Session;
use crate::broker::Broker;
use crate::broker::wake::{LinkId, Wake};
use crate::engine::Micros;
use crate::limits::{
    CHANNEL_MAX, IDLE_TIMEOUT, MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES, OUT_BYTES_HIGH,
    PEER_IDLE_TIMEOUT_MIN,
};

/// The mechanisms that are offered. All of them let everyone in; MSSBCBS is Service Bus's own name for "a token will
/// follow".
const MECHANISMS: [&str; 4] = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];
/// The name of this container.
const CONTAINER_ID: &str = "servicebus-emulator";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A protocol header is expected: that of SASL or, where `sasl_done` or the client leaves it out, that of AMQP.
    Header { sasl_done: bool },
    /// The client chooses a mechanism.
    Sasl,
    /// The client opens the connection.
    Opening,
    /// Sessions may begin.
    Open,
    /// All is said; nothing more is read.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    /// Whether our header and open were sent, so that an error can be told.
    header_sent: bool,
    open_sent: bool,
    /// By channel; the peer chose them, and the same numbers are used in both directions.
    sessions: Vec<Option<Box<Session>>>,
    peer_idle_timeout: Option<Duration>,
    woken: Vec<LinkId>,
    context: Context,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(broker: Arc<Broker>, max_message_bytes: usize) -> Self {
        Self {
            phase: Phase::Header { sasl_done: false },
            header_sent: false,
            open_sent: false,
            sessions: Vec::new(),
            peer_idle_timeout: None,
            woken: Vec::new(),
            context: Context {
                broker,
                out: BytesMut::new(),
                now_us: 0,
                peer_max_frame_bytes: amqp::limits::MIN_MAX_FRAME_BYTES as usize,
                max_message_bytes,
                wake: Arc::new(Wake::default()),
                accepting: std::collections::BTreeSet::new(),
                ready: std::collections::VecDeque::new(),
                unsaid: Vec::new(),
                scratch: BytesMut::new(),
            },
        }
    }

    /// The bytes to be written.
    pub const fn out(&mut self) -> &mut BytesMut {
        &mut self.context.out
    }

    /// The bell that entities ring.
    pub fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.context.wake)
    }

    /// Whether all is said and the socket can be closed once everything is written.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the client has opened the connection.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The silence after which the peer gives us up.
    pub const fn peer_idle_timeout(&self) -> Option<Duration> {
        self.peer_idle_timeout
    }

    /// Whether links want another turn that they can have.
    pub fn has_ready(&self) -> bool {
        !self.context.ready.is_empty() && self.context.out.len() <= OUT_BYTES_HIGH
    }

    /// When a link that waits for a session gives up; none when none does.
    pub fn deadline_us(&self) -> Option<Micros> {
        self.context.accepting.first().map(|&(deadline_us, _, _)| deadline_us)
    }

    /// Tells the clock.
    pub const fn set_now(&mut self, now_us: Micros) {
        self.context.now_us = now_us;
    }

    /// Works off all that is complete in `input`, as far as there is room for answers.
    ///
    /// # Errors
    /// When the connection cannot go on; [`Connection::fail`] then tells the peer.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<(), Fatal> {
        while self.context.out.len() <= OUT_BYTES_HIGH {
            let progress = match self.phase {
                Phase::Header { sasl_done } => self.receive_header(input, sasl_done)?,
                Phase::Sasl => self.receive_sasl(input)?,
                Phase::Opening | Phase::Open => self.receive_frame(input)?,
                Phase::Closed => return Ok(()),
            };
            if !progress {
                break;
            }
        }
        Ok(())
    }

    fn receive_header(&mut self, input: &mut BytesMut, sasl_done: bool) -> Result<bool, Fatal> {
        let header = match ProtocolHeader::take(input) {
            Ok(None) => return Ok(false),
            Ok(Some(header)) => header,
            Err(error) => {
                // What is spoken here is said in a header, then the socket closes (part 2, §2.2).
                self.put_header(ProtocolHeader::Amqp);
                self.phase = Phase::Closed;
                return Err(error.into());
            }
        };
        self.put_header(header);
        match header {
            ProtocolHeader::Sasl if sasl_done => {
                Err(Fatal::new(condition::NOT_ALLOWED, "a second SASL negotiation"))
            }
            ProtocolHeader::Sasl => {
                let mechanisms = MECHANISMS.into_iter().map(Into::into).collect();
                let offer = Sasl::Mechanisms(Mechanisms { sasl_server_mechanisms: mechanisms });
                Frame::put_sasl(&mut self.context.out, &offer);
                self.phase = Phase::Sasl;
                Ok(true)
            }
            ProtocolHeader::Amqp => {
                self.phase = Phase::Opening;
                Ok(true)
            }
        }
    }

    fn put_header(&mut self, header: ProtocolHeader) {
        self.header_sent |= header == ProtocolHeader::Amqp;
        self.context.out.extend_from_slice(header.bytes());
    }

    fn receive_sasl(&mut self, input: &mut BytesMut) -> Result<bool, Fatal> {
        match Frame::take(input, MAX_HANDSHAKE_FRAME_BYTES)? {
            None => Ok(false),
            Some(Frame::Sasl(Sasl::Init(init))) => {
                const OK: u8 = 0;
                const FAILED: u8 = 1;
                let known = MECHANISMS.iter().any(|name| init.mechanism.as_str().eq_ignore_ascii_case(name));
                let code = if known { OK } else { FAILED };
                Frame::put_sasl(
                    &mut self.context.out,
                    &Sasl::Outcome(Outcome { code, additional_data: None }),
                );
                self.phase = if known { Phase::Header { sasl_done: true } } else { Phase::Closed };
                Ok(true)
            }
            Some(_) => Err(Fatal::new(condition::NOT_ALLOWED, "another frame where sasl-init is expected")),
        }
    }

    fn receive_frame(&mut self, input: &mut BytesMut) -> Result<bool, Fatal> {
        let max = if self.phase == Phase::Open { MAX_FRAME_BYTES } else { MAX_HANDSHAKE_FRAME_BYTES };
        match Frame::take(input, max)? {
            None => return Ok(false),
            Some(Frame::Heartbeat) => {}
            Some(Frame::Sasl(_)) => {
                return Err(Fatal::new(condition::NOT_ALLOWED, "a SASL frame after the negotiation"));
            }
            Some(Frame::Amqp { channel, performative, payload }) => {
                self.dispatch(channel, performative, payload)?
            }
        }
        Ok(true)
    }

    fn dispatch(&mut self, channel: u16, performative: Performative, payload: Bytes) -> Result<(), Fatal> {
        match performative {
            Performative::Open(open) if self.phase == Phase::Opening => {
                self.on_open(&open);
                Ok(())
            }
            Performative::Open(_) => Err(Fatal::new(condition::NOT_ALLOWED, "a second open")),
            other if self.phase == Phase::Opening => {
                Err(Fatal::new(condition::NOT_ALLOWED, format!("{} before open", other.name())))
            }
            Performative::Begin(begin) => self.on_begin(channel, &begin),
            Performative::End(_) => self.on_end(channel),
            Performative::Close(_) => {
                self.close(None);
                Ok(())
            }
            in_session => self.on_session_frame(channel, in_session, payload),
        }
    }

    fn on_open(&mut self, open: &Open) {
        let least = amqp::limits::MIN_MAX_FRAME_BYTES;
        // A peer may take frames larger than any that is useful: what is written at once is bounded.
        self.context.peer_max_frame_bytes = open.max_frame_size.clamp(least, MAX_FRAME_BYTES) as usize;
        self.peer_idle_timeout = open
            .idle_time_out
            .filter(|ms| *ms > 0)
            .map(|ms| Duration::from_millis(ms.into()).max(PEER_IDLE_TIMEOUT_MIN));
        self.put_open();
        self.phase = Phase::Open;
    }

    fn put_open(&mut self) {
        let idle_ms = u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        let open = Open {
            container_id: CONTAINER_ID.to_owned(),
            hostname: None,
            max_frame_size: MAX_FRAME_BYTES,
            channel_max: CHANNEL_MAX,
            idle_time_out: Some(idle_ms),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: Some(
                amqp::Map::new()
                    .with_symbol("product", CONTAINER_ID.into())
                    .with_symbol("version", env!("CARGO_PKG_VERSION").into()),
            ),
        };
        Frame::put(&mut self.context.out, 0, &open.into());
        self.open_sent = true;
    }

    fn on_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Fatal> {
        if channel > CHANNEL_MAX {
            let words = format!("channel {channel} is above the agreed {CHANNEL_MAX}");
            return Err(Fatal::new(condition::FRAMING_ERROR, words));
        }
        let index = usize::from(channel);
        if self.sessions.len() <= index {
            self.sessions.resize_with(index + 1, || None);
        }
        match self.sessions.get_mut(index) {
            Some(place @ None) => {
                *place = Some(Box::new(Session::begin(&mut self.context, channel, begin)));
                Ok(())
            }
            _ => Err(Fatal::new(
                condition::NOT_ALLOWED,
                format!("a session has begun on channel {channel} before"),
            )),
        }
    }

    fn on_end(&mut self, channel: u16) -> Result<(), Fatal> {
        let session = self.sessions.get_mut(usize::from(channel)).and_then(Option::take);
        let Some(mut session) = session else { return Err(no_session(channel)) };
        if !session.is_ended() {
            session.flush(&mut self.context);
            session.end(&mut self.context);
            Frame::put(&mut self.context.out, channel, &End { error: None }.into());
        }
        Ok(())
    }

    fn on_session_frame(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), Fatal> {
        let session = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut);
        let session = session.ok_or_else(|| no_session(channel))?;
        if session.is_ended() {
            return Ok(());
        }
        let context = &mut self.context;
        let mut request = None;
        let done = match performative {
            Performative::Transfer(transfer) => {
                session.on_transfer(context, &transfer, payload).map(|found| request = found)
            }
            Performative::Disposition(disposition) => session.on_disposition(context, disposition),
            Performative::Flow(flow) => session.on_flow(context, &flow),
            Performative::Attach(attach) => session.on_attach(context, attach),
            Performative::Detach(detach) => session.on_detach(context, &detach),
            Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End(_)
            | Performative::Close(_) => Ok(()),
        };
        match done {
            Err(fatal) if fatal.ends_session_only() => session.fail(context, &fatal),
            other => other?,
        }
        request.map_or(Ok(()), |request| self.answer(channel, &request))
    }

    /// Answers a request on the link that its sender meant: the one with the reply address as its target, or with that
    /// name, or the only one from that node in the session, or in the connection.
    fn answer(&mut self, channel: u16, request: &Request) -> Result<(), Fatal> {
        let (reply_to, message) = match request::answer(request, self.context.now_us) {
            Ok(answer) => answer,
            Err(error) => {
                // Whom to answer is not known, so the link on which it came tells it.
                let words = format!("The request cannot be read: {error}.");
                if let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut) {
                    let error = amqp::performative::Error::new(condition::DECODE_ERROR, words);
                    session.end_link(&mut self.context, request.handle, error);
                }
                return Ok(());
            }
        };
        let reply_to = reply_to.as_deref();
        let by_address =
            |link: &super::link::Outgoing| reply_to.is_some() && link.target.as_deref() == reply_to;
        let by_name = |link: &super::link::Outgoing| Some(link.name.as_str()) == reply_to;
        let any = |_: &super::link::Outgoing| true;
        let own = usize::from(channel);
        let all = 0..self.sessions.len();
        let found = self
            .find_reply_link(own..own + 1, request, by_address)
            .or_else(|| self.find_reply_link(own..own + 1, request, by_name))
            .or_else(|| self.find_reply_link(own..own + 1, request, any))
            .or_else(|| self.find_reply_link(all.clone(), request, by_address))
            .or_else(|| self.find_reply_link(all, request, any));
        let Some(LinkId { channel, handle }) = found else {
            tracing::debug!(reply_to, "nobody listens for this answer");
            return Ok(());
        };
        if let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut) {
            if let Ok(Link::Outgoing(link)) = session.link(handle)
                && !link.push_answer(message)
            {
                let words = "too many answers wait for credit";
                return Err(Fatal::new(condition::RESOURCE_LIMIT_EXCEEDED, words));
            }
            session.on_ready(&mut self.context, handle);
        }
        Ok(())
    }

    fn find_reply_link(
        &self,
        channels: std::ops::Range<usize>,
        request: &Request,
        matches: impl Fn(&super::link::Outgoing) -> bool,
    ) -> Option<LinkId> {
        let sessions = self.sessions.get(channels).unwrap_or_default().iter().flatten();
        sessions
            .flat_map(|session| {
                session.links.iter().map(|(handle, link)| (session.channel, *handle, &**link))
            })
            .find_map(|(channel, handle, link)| match link {
                Link::Outgoing(link) => {
                    let same_node =
                        matches!(&link.node, Node::Responder(responder) if responder.is(&request.responder));
                    (same_node && matches(link)).then_some(LinkId { channel, handle })
                }
                _ => None,
            })
    }

    /// Sends to links whose entities rang, and one more turn to those that were not done; then says what was gathered.
    pub fn serve(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        self.context.wake.take(&mut woken);
        for link in woken.drain(..) {
            if let Some(session) = self.sessions.get_mut(usize::from(link.channel)).and_then(Option::as_mut) {
                session.on_woken(&mut self.context, link.handle);
            }
        }
        self.woken = woken;
        self.end_waiting();
        for _ in 0..self.context.ready.len() {
            let Some(link) = self.context.ready.pop_front() else { break };
            if self.context.out.len() > OUT_BYTES_HIGH {
                self.context.ready.push_back(link);
                break;
            }
            if let Some(session) = self.sessions.get_mut(usize::from(link.channel)).and_then(Option::as_mut) {
                session.on_ready(&mut self.context, link.handle);
            }
        }
        self.say_gathered();
    }

    /// Refuses the links that have waited long enough for a session.
    fn end_waiting(&mut self) {
        while let Some(&(deadline_us, channel, handle)) = self.context.accepting.first() {
            if deadline_us > self.context.now_us {
                break;
            }
            self.context.accepting.pop_first();
            if let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut) {
                session.on_accept_timeout(&mut self.context, handle);
            }
        }
    }

    fn say_gathered(&mut self) {
        while let Some(channel) = self.context.unsaid.pop() {
            if let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut) {
                session.flush(&mut self.context);
            }
        }
    }

    /// Appends a sign of life.
    pub fn put_heartbeat(&mut self) {
        if self.phase == Phase::Open && self.context.out.is_empty() {
            Frame::put_heartbeat(&mut self.context.out);
        }
    }

    /// Tells the peer why the connection ends, as far as it can be told.
    pub fn fail(&mut self, fatal: &Fatal) {
        match self.phase {
            Phase::Opening | Phase::Open => self.close(Some(fatal)),
            Phase::Header { .. } | Phase::Sasl | Phase::Closed => self.phase = Phase::Closed,
        }
    }

    /// Says close and lets go of everything. Locks stay until they run out.
    pub fn close(&mut self, fatal: Option<&Fatal>) {
        if self.phase == Phase::Closed {
            return;
        }
        self.say_gathered();
        self.release();
        if self.header_sent {
            if !self.open_sent {
                self.put_open();
            }
            Frame::put(&mut self.context.out, 0, &Close { error: fatal.map(Fatal::to_error) }.into());
        }
        self.phase = Phase::Closed;
    }

    /// Lets go of everything: the socket is gone.
    pub fn release(&mut self) {
        for mut session in self.sessions.drain(..).flatten() {
            session.end(&mut self.context);
        }
        self.context.ready.clear();
    }
}

fn no_session(channel: u16) -> Fatal {
    Fatal::new(condition::NOT_ALLOWED, format!("no session has begun on channel {channel}"))
}

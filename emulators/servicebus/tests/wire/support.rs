//! A broker of its own for each test, and a peer that says exactly what is on the wire.
//!
//! The peer keeps one session on channel 0. What comes in while it waits for something else is kept in order.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amqp::encode::Encode as _;
use amqp::message::{Header, Properties, Sections, put_application_properties, put_data, put_value};
use amqp::performative::{
    AnyTarget, Attach, Begin, Close, DeliveryState, Detach, Disposition, Error, Flow, Open,
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target, Transfer,
};
use amqp::{Frame, Map, Performative, ProtocolHeader, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::{
    EntityStatus, NamespaceConfig, QueueConfig, RuleConfig, SubscriptionConfig, TopicConfig,
};
use servicebus_emulator::engine::NEVER;
use servicebus_emulator::{Listeners, Options};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; only a broken broker comes near it.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const SECOND_US: u64 = 1_000_000;
/// Messages larger than this are refused in tests.
pub const MAX_MESSAGE_BYTES: usize = 200_000;
/// The batch format of Service Bus.
pub const BATCH_FORMAT: u32 = 0x8001_3700;

/// A queue whose messages are locked for a minute and live for ever.
pub fn queue(name: &str) -> QueueConfig {
    QueueConfig {
        name: name.to_owned(),
        lock_us: 60 * SECOND_US,
        time_to_live_us: NEVER,
        max_delivery_count: 3,
        ..QueueConfig::default()
    }
}

/// A topic whose messages live for ever.
pub fn topic(name: &str, subscriptions: Vec<SubscriptionConfig>) -> TopicConfig {
    TopicConfig {
        name: name.to_owned(),
        time_to_live_us: NEVER,
        duplicate_window_us: None,
        auto_delete_us: NEVER,
        status: EntityStatus::Active,
        subscriptions,
    }
}

/// A subscription that gets every message.
pub fn subscription(name: &str) -> SubscriptionConfig {
    SubscriptionConfig {
        queue: queue(name),
        dead_letter_on_filter_errors: true,
        rules: vec![RuleConfig::match_all()],
    }
}

/// A running broker, stopped when it goes.
pub struct Server {
    pub amqp: SocketAddr,
    pub http: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A broker with the queue `q`.
    pub fn start() -> Self {
        Self::with(vec![queue("q")])
    }

    pub fn with(queues: Vec<QueueConfig>) -> Self {
        Self::with_topics(queues, Vec::new())
    }

    pub fn with_topics(queues: Vec<QueueConfig>, topics: Vec<TopicConfig>) -> Self {
        Self::with_limit(NamespaceConfig { queues, topics }, MAX_MESSAGE_BYTES)
    }

    pub fn with_limit(namespace: NamespaceConfig, max_message_bytes: usize) -> Self {
        let (shutdown, (sender, receiver)) = (CancellationToken::new(), std::sync::mpsc::channel());
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let bind = || TcpListener::bind("127.0.0.1:0");
                let listeners =
                    Listeners { amqp: bind().await.expect("a port"), http: bind().await.expect("a port") };
                let address = |listener: &TcpListener| listener.local_addr().expect("bound");
                sender.send((address(&listeners.amqp), address(&listeners.http))).expect("the test waits");
                let options = Options { namespace, max_message_bytes, record_key: None };
                servicebus_emulator::serve(listeners, options, stop).await;
            });
        });
        let (amqp, http) = receiver.recv_timeout(PATIENCE).expect("the broker listens");
        Self { amqp, http, shutdown, thread: Some(thread) }
    }

    /// An open connection with a session.
    pub fn peer(&self) -> Peer {
        Peer::open(self.amqp, &open())
    }

    /// Tells the broker to end; it does not wait.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// A request to the HTTP port: status, body, and the head in lower case.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("the connection stands");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned(), head.to_lowercase())
    }

    /// What the HTTP port tells of a queue's counts: one of its fields.
    pub fn count(&self, queue: &str, field: &str) -> u64 {
        let (status, body, _) = self.http("GET", "/_emulator/queues", "");
        assert_eq!(status, 200, "{body}");
        let queues: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let rows = queues.as_array().expect("an array");
        let row = rows.iter().find(|row| row["name"] == queue).expect("the queue");
        row[field].as_u64().unwrap_or_else(|| panic!("no {field} in {row}"))
    }

    /// Waits until a count has a value.
    pub fn until_count(&self, queue: &str, field: &str, wanted: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = self.count(queue, field);
            if last == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{field} of {queue} is {last}, not {wanted}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in the broker must fail the test that caused it.
            assert!(thread.join().is_ok() || std::thread::panicking(), "the broker panicked");
        }
    }
}

/// What a peer opens a connection with unless a test says otherwise.
pub fn open() -> Open {
    Open {
        container_id: "test".to_owned(),
        hostname: Some("localhost".to_owned()),
        max_frame_size: 64 << 10,
        channel_max: u16::MAX,
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

pub fn begin(incoming_window: u32) -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window,
        outgoing_window: 5000,
        handle_max: u32::MAX,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// An attach as the SDKs send it; tests change what they are about.
pub fn attach(handle: u32, role: Role, address: &str) -> Attach {
    let own = format!("{address}-{handle}");
    let (source, target, second) = match role {
        Role::Sender => (own.as_str(), address, ReceiverSettleMode::First),
        Role::Receiver => (address, own.as_str(), ReceiverSettleMode::Second),
    };
    Attach {
        name: own.clone(),
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: second,
        source: Some(Source::at(source)),
        target: Some(AnyTarget::Node(Target::at(target))),
        unsettled: None,
        incomplete_unsettled: None,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

pub fn transfer(handle: u32, delivery_id: u32) -> Transfer {
    Transfer {
        handle,
        delivery_id: Some(delivery_id),
        delivery_tag: Some(Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
        message_format: Some(0),
        settled: Some(false),
        more: false,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

/// A message with a body.
pub fn message(body: &str) -> Bytes {
    annotated(body, &Map::new(), None)
}

/// A message with annotations and, if given, a time to live in milliseconds.
pub fn annotated(body: &str, annotations: &Map, ttl_ms: Option<u32>) -> Bytes {
    let mut out = BytesMut::new();
    if ttl_ms.is_some() {
        Header { ttl: ttl_ms, ..Header::default() }.encode(&mut out);
    }
    if !annotations.is_empty() {
        amqp::message::put_message_annotations(&mut out, annotations);
    }
    put_data(&mut out, &Bytes::copy_from_slice(body.as_bytes()));
    out.freeze()
}

/// The annotation with which a message is scheduled.
pub fn due(unix_ms: i64) -> Map {
    Map::new().with_symbol("x-opt-scheduled-enqueue-time", Value::Timestamp(unix_ms))
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before 2262")
}

/// A message as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    pub handle: u32,
    pub id: u32,
    pub tag: Bytes,
    pub settled: bool,
    pub payload: Bytes,
}

impl Received {
    pub fn sections(&self) -> Sections {
        Sections::scan(&self.payload).expect("a message")
    }

    pub fn body(&self) -> String {
        let data = self.sections().data(&self.payload).expect("a body");
        String::from_utf8(data.concat()).expect("text")
    }

    pub fn header(&self) -> Header {
        assert!(!self.sections().header.is_empty(), "a header is always there");
        self.sections().header(&self.payload).expect("a header")
    }

    pub fn annotation(&self, name: &str) -> Option<Value> {
        self.sections().message_annotations(&self.payload).expect("annotations").get(name).cloned()
    }

    pub fn sequence_number(&self) -> i64 {
        match self.annotation("x-opt-sequence-number") {
            Some(Value::Long(number)) => number,
            other => panic!("a sequence number is a long, not {other:?}"),
        }
    }

    pub fn property(&self, name: &str) -> Option<Value> {
        self.sections().application_properties(&self.payload).expect("properties").get(name).cloned()
    }

    /// The lock token in the byte order of a UUID: a delivery tag has that of .NET.
    pub fn lock_token(&self) -> [u8; 16] {
        let mut token: [u8; 16] = self.tag[..].try_into().expect("sixteen bytes");
        token[..4].reverse();
        token[4..6].reverse();
        token[6..8].reverse();
        token
    }
}

/// What a management node answered.
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub condition: Option<String>,
    pub body: Map,
    pub correlation_id: Option<Value>,
}

/// A client, byte by byte.
pub struct Peer {
    pub stream: TcpStream,
    pub inbox: BytesMut,
    kept: VecDeque<(u16, Performative, Bytes)>,
    next_handle: u32,
    pub next_delivery_id: u32,
    /// Transfers that came on the session.
    transfers: u32,
    /// Deliveries that came, by handle.
    delivery_counts: HashMap<u32, u32>,
    /// Request and answer link by node.
    request_links: HashMap<String, u32>,
}

impl Peer {
    /// A TCP connection on which nothing has been said.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("it listens"))
    }

    /// The peer at this end of a connection.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            inbox: BytesMut::new(),
            kept: VecDeque::new(),
            next_handle: 0,
            next_delivery_id: 0,
            transfers: 0,
            delivery_counts: HashMap::new(),
            request_links: HashMap::new(),
        }
    }

    /// Opens a connection without SASL, and begins a session on channel 0.
    pub fn open(address: SocketAddr, open: &Open) -> Self {
        Self::open_with_window(address, open, 1 << 20)
    }

    pub fn open_with_window(address: SocketAddr, open: &Open, incoming_window: u32) -> Self {
        let mut peer = Self::connect(address);
        peer.write(ProtocolHeader::Amqp.bytes());
        peer.put(open.clone());
        peer.put(begin(incoming_window));
        assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp);
        peer.wait_for(|performative| matches!(performative, Performative::Begin(_)));
        peer
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection stands");
    }

    /// Sends a performative on channel 0.
    pub fn put(&mut self, performative: impl Into<Performative>) {
        let mut out = BytesMut::new();
        Frame::put(&mut out, 0, &performative.into());
        self.write(&out);
    }

    pub fn put_transfer(&mut self, transfer: &Transfer, payload: &[u8]) {
        let mut out = BytesMut::new();
        Frame::put_transfer(&mut out, 0, transfer, &[payload]);
        self.write(&out);
    }

    /// Reads more bytes; false at the end.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // A call with a time limit ends when the process is stopped for a moment.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read(),
            Err(error) => panic!("nothing came in time: {error}"),
        }
    }

    pub fn protocol_header(&mut self) -> ProtocolHeader {
        loop {
            if let Some(header) = ProtocolHeader::take(&mut self.inbox).expect("a protocol header") {
                return header;
            }
            assert!(self.read(), "the connection ended before a protocol header");
        }
    }

    /// The next frame of any kind; none at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.inbox, 1 << 20).expect("a frame") {
                return Some(frame);
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// The first performative that is one of those, with its payload.
    pub fn wait_for(&mut self, wanted: impl Fn(&Performative) -> bool) -> (Performative, Bytes) {
        let (_, performative, payload) =
            self.wait_for_any(|_, performative| wanted(performative)).expect("the connection ended");
        (performative, payload)
    }

    /// The same on any channel; none when the connection ends before.
    pub fn wait_for_any(
        &mut self,
        wanted: impl Fn(u16, &Performative) -> bool,
    ) -> Option<(u16, Performative, Bytes)> {
        if let Some(at) = self.kept.iter().position(|(channel, p, _)| wanted(*channel, p)) {
            return self.kept.remove(at);
        }
        loop {
            match self.frame()? {
                Frame::Amqp { channel, performative, payload } => {
                    if wanted(channel, &performative) {
                        return Some((channel, performative, payload));
                    }
                    self.kept.push_back((channel, performative, payload));
                }
                Frame::Heartbeat => {}
                Frame::Sasl(other) => panic!("{other:?}"),
            }
        }
    }

    /// Reads to the end of the connection; the error of its close.
    pub fn closed(&mut self) -> Option<Error> {
        let close = self.wait_for_any(|_, performative| matches!(performative, Performative::Close(_)));
        let Some((_, Performative::Close(Close { error }), _)) = close else {
            panic!("the connection ended without close")
        };
        assert!(self.frame().is_none(), "nothing follows a close");
        error
    }

    /// The condition with which the connection was closed.
    pub fn closed_with(&mut self) -> String {
        self.closed().expect("an error").condition.0
    }

    /// Attaches a link; the broker's attach, or its refusal.
    pub fn try_attach(&mut self, attach: Attach) -> Result<Attach, Error> {
        let handle = attach.handle;
        self.next_handle = self.next_handle.max(handle + 1);
        self.put(attach);
        let (answer, _) =
            self.wait_for(|p| matches!(p, Performative::Attach(attach) if attach.handle == handle));
        let Performative::Attach(answer) = answer else { unreachable!("it was matched") };
        if answer.source.is_some() && answer.target.is_some() {
            return Ok(answer);
        }
        Err(self.detached(handle).expect("a refusal says why"))
    }

    /// Waits until the broker ends a link, and answers it.
    pub fn detached(&mut self, handle: u32) -> Option<Error> {
        let (detach, _) = self.wait_for(|p| matches!(p, Performative::Detach(d) if d.handle == handle));
        let Performative::Detach(detach) = detach else { unreachable!("it was matched") };
        assert!(detach.closed, "links end for good");
        self.put(Detach { handle, closed: true, error: None });
        detach.error
    }

    pub fn handle(&mut self) -> u32 {
        self.next_handle += 1;
        self.next_handle - 1
    }

    /// A link to send on, with credit.
    pub fn sender(&mut self, address: &str) -> u32 {
        let handle = self.handle();
        self.try_attach(attach(handle, Role::Sender, address)).expect("a link");
        self.wait_for(|p| matches!(p, Performative::Flow(flow) if flow.handle == Some(handle)));
        handle
    }

    /// A link to receive on by peek-lock, without credit.
    pub fn receiver(&mut self, address: &str) -> u32 {
        let handle = self.handle();
        self.try_attach(attach(handle, Role::Receiver, address)).expect("a link");
        handle
    }

    /// A link on which what is received is gone.
    pub fn deleting_receiver(&mut self, address: &str) -> u32 {
        let handle = self.handle();
        let attach = Attach {
            snd_settle_mode: SenderSettleMode::Settled,
            rcv_settle_mode: ReceiverSettleMode::First,
            ..attach(handle, Role::Receiver, address)
        };
        self.try_attach(attach).expect("a link");
        handle
    }

    pub fn detach(&mut self, handle: u32) {
        self.put(Detach { handle, closed: true, error: None });
        self.wait_for(|p| matches!(p, Performative::Detach(detach) if detach.handle == handle));
    }

    /// Sends a message and waits for what the broker says of it.
    pub fn send(&mut self, handle: u32, message: &[u8]) -> DeliveryState {
        self.send_as(
            &Transfer { message_format: Some(0), ..transfer(handle, self.next_delivery_id) },
            message,
        )
    }

    pub fn send_as(&mut self, transfer: &Transfer, message: &[u8]) -> DeliveryState {
        let id = transfer.delivery_id.expect("an id");
        self.next_delivery_id = id + 1;
        self.put_transfer(transfer, message);
        self.said_of(Role::Receiver, id)
    }

    /// Sends a message that has to be accepted.
    pub fn must_send(&mut self, handle: u32, message: &[u8]) {
        assert_eq!(self.send(handle, message), DeliveryState::Accepted);
    }

    /// Waits for the final state of a delivery. A disposition for several must not hide another one.
    pub fn said_of(&mut self, role: Role, id: u32) -> DeliveryState {
        let covers = |d: &Disposition| d.role == role && (d.first..=d.last.unwrap_or(d.first)).contains(&id);
        let (found, _) = self.wait_for(|p| matches!(p, Performative::Disposition(d) if covers(d)));
        let Performative::Disposition(found) = found else { unreachable!("it was matched") };
        assert!(found.settled, "the broker settles what it says");
        let last = found.last.unwrap_or(found.first);
        if last > id {
            // The others that it covers are still to be asked for.
            let rest = Disposition { first: id + 1, ..found.clone() };
            self.kept.push_front((0, rest.into(), Bytes::new()));
        }
        found.state.expect("a state")
    }

    /// The state of a link on which messages come in, as its receiver sees it.
    pub fn flow(&self, handle: u32, credit: u32) -> Flow {
        Flow {
            next_incoming_id: Some(self.transfers + 1),
            incoming_window: 1 << 20,
            next_outgoing_id: self.next_delivery_id,
            outgoing_window: 5000,
            handle: Some(handle),
            delivery_count: Some(self.delivery_counts.get(&handle).copied().unwrap_or(0)),
            link_credit: Some(credit),
            available: None,
            drain: false,
            echo: false,
            properties: None,
        }
    }

    /// Sets a link's credit.
    pub fn credit(&mut self, handle: u32, credit: u32) {
        let flow = self.flow(handle, credit);
        self.put(flow);
    }

    /// The next message on a link, put together from its frames.
    pub fn receive(&mut self, handle: u32) -> Received {
        let mut payload = BytesMut::new();
        let mut first = None;
        loop {
            let (frame, piece) =
                self.wait_for(|p| matches!(p, Performative::Transfer(transfer) if transfer.handle == handle));
            let Performative::Transfer(transfer) = frame else { unreachable!("it was matched") };
            self.transfers += 1;
            payload.extend_from_slice(&piece);
            let more = transfer.more;
            let begun = first.get_or_insert(transfer);
            if !more {
                *self.delivery_counts.entry(handle).or_default() += 1;
                return Received {
                    handle,
                    id: begun.delivery_id.expect("an id"),
                    tag: begun.delivery_tag.clone().expect("a tag"),
                    settled: begun.settled == Some(true),
                    payload: payload.freeze(),
                };
            }
        }
    }

    /// Allows one message and waits for it.
    pub fn receive_one(&mut self, handle: u32) -> Received {
        self.credit(handle, 1);
        self.receive(handle)
    }

    /// Takes credit back; the messages that were there for it.
    pub fn drain(&mut self, handle: u32, credit: u32) -> Vec<Received> {
        let asked = Flow { drain: true, ..self.flow(handle, credit) };
        let end = asked.delivery_count.expect("a count").wrapping_add(credit);
        self.put(asked);
        let (flow, _) =
            self.wait_for(|p| matches!(p, Performative::Flow(f) if f.handle == Some(handle) && f.drain));
        let Performative::Flow(flow) = flow else { unreachable!("it was matched") };
        assert_eq!((flow.link_credit, flow.delivery_count, flow.echo), (Some(0), Some(end), false));
        let is_ours =
            |p: &Performative| matches!(p, Performative::Transfer(t) if t.handle == handle && !t.more);
        let count = self.kept.iter().filter(|(_, p, _)| is_ours(p)).count();
        let received = (0..count).map(|_| self.receive(handle)).collect();
        self.delivery_counts.insert(handle, end);
        received
    }

    /// Says a state of deliveries without settling them.
    pub fn say(&mut self, first: u32, last: u32, settled: bool, state: DeliveryState) {
        self.put(Disposition {
            role: Role::Receiver,
            first,
            last: Some(last),
            settled,
            state: Some(state),
            batchable: false,
        });
    }

    /// Settles a message and waits for the broker's answer.
    pub fn settle(&mut self, received: &Received, state: DeliveryState) -> DeliveryState {
        self.say(received.id, received.id, false, state);
        self.said_of(Role::Sender, received.id)
    }

    pub fn must_complete(&mut self, received: &Received) {
        assert_eq!(self.settle(received, DeliveryState::Accepted), DeliveryState::Accepted);
    }

    /// Asks a node; the request has this operation and body.
    pub fn ask(&mut self, node: &str, operation: &str, body: Map) -> Answer {
        let properties = Map::new().with_string("operation", operation.into());
        self.ask_with(
            node,
            &properties,
            &Value::Map(body),
            Value::String(format!("id-{}", self.next_delivery_id)),
        )
    }

    pub fn ask_with(&mut self, node: &str, properties: &Map, body: &Value, message_id: Value) -> Answer {
        let (sender, answers) = self.request_link(node);
        let reply_to = format!("{node}-{answers}");
        self.must_send(sender, &request(&reply_to, properties, body, message_id));
        let answer = self.receive(answers);
        self.credit(answers, 100);
        read_answer(&answer)
    }

    /// The links to a node that answers: for requests, and for answers.
    pub fn request_link(&mut self, node: &str) -> (u32, u32) {
        let answers = match self.request_links.get(node) {
            Some(handle) => *handle,
            None => {
                let answers = self.deleting_receiver(node);
                self.credit(answers, 100);
                let sender = self.sender(node);
                assert_eq!(sender, answers + 1);
                self.request_links.insert(node.to_owned(), answers);
                answers
            }
        };
        (answers + 1, answers)
    }
}

pub fn request(reply_to: &str, properties: &Map, body: &Value, message_id: Value) -> Bytes {
    let mut out = BytesMut::new();
    let ids =
        Properties { message_id: Some(message_id), reply_to: Some(reply_to.into()), ..Properties::default() };
    ids.encode(&mut out);
    put_application_properties(&mut out, properties);
    put_value(&mut out, body);
    out.freeze()
}

pub fn read_answer(answer: &Received) -> Answer {
    let sections = answer.sections();
    let status = answer.property("statusCode").or_else(|| answer.property("status-code"));
    let Some(Value::Int(status)) = status else { panic!("a status is an int, not {status:?}") };
    let condition = answer.property("errorCondition").or_else(|| answer.property("error-condition"));
    let condition = condition.map(|condition| match condition {
        Value::Symbol(symbol) => symbol.0,
        other => panic!("a condition is a symbol, not {other:?}"),
    });
    let body = match sections.value(&answer.payload).expect("a body") {
        Some(Value::Map(map)) => map,
        other => panic!("an answer's body is a map, not {other:?}"),
    };
    let correlation_id = sections.properties(&answer.payload).expect("properties").correlation_id;
    Answer { status, condition, body, correlation_id }
}

/// The condition of a refusal.
pub fn rejected(state: &DeliveryState) -> &str {
    match state {
        DeliveryState::Rejected(rejected) => {
            rejected.error.as_ref().expect("a refusal says why").condition.as_str()
        }
        other => panic!("{other:?} is no refusal"),
    }
}

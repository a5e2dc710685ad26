//! What one message costs the broker: CPU per message in, and received and completed, memory of messages held, start; what duplicate
//! detection adds, and what a topic costs for each filter.
//!
//! It starts the release binary as a program and reads the CPU time and memory that the kernel charged to it, so the
//! load generator on the same cores disturbs rates but not these figures. One connection, one queue, 1 KiB bodies,
//! pipelined, credit 1,000, the locks (1 minute) and times to live (1 hour) of the default queue.
//! Run: `cargo bench -p servicebus-emulator`. Option after `--`: `--messages N` (default 1,000,000).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

use amqp::encode::Encode as _;
use amqp::message::{Properties, put_application_properties, put_data};
use amqp::performative::{
    AnyTarget, Attach, Begin, DeliveryState, Disposition, Flow, Open, ReceiverSettleMode, Role,
    SenderSettleMode, Source, Target, Transfer,
};
use amqp::{Frame, Map, Performative, ProtocolHeader};
use bench_support::{Durations, Failure, Meter, Program, option, print_machine_load};
use bytes::{Bytes, BytesMut};
use serde_json::json;

const BODY_BYTES: usize = 1024;
const CREDIT: u32 = 1000;
const STARTS: usize = 15;
const QUEUE: &str = "queue.1";
/// A queue that looks for duplicates.
const DUPLICATES: &str = "duplicates";
/// A topic of which each subscription has one SQL filter, and one of them matches.
const TOPIC: &str = "topic";
const FILTERS: u32 = 1000;
/// Messages to the topic, for one message to a queue that is measured.
const TOPIC_SHARE: u32 = 50;
/// More transfers than a run has: windows do not bound what is measured.
const WINDOW: u32 = i32::MAX.cast_unsigned();
const SEND_HANDLE: u32 = 0;
const RECEIVE_HANDLE: u32 = 1;

fn main() -> Result<(), Failure> {
    let messages = option("--messages")?.unwrap_or(1_000_000);
    print_machine_load()?;
    measure_start()?;
    let server = start(&[])?;
    println!("idle RSS {:.1} MiB", server.rss_mib()?);
    let mut client = Client::open(server.address("amqp")?, QUEUE);
    println!(
        "{messages} messages of {BODY_BYTES} bytes body, {} bytes encoded; one connection, credit {CREDIT}",
        client.message.len()
    );
    println!("{:<44} {:>8} {:>10} {:>12}", "", "µs CPU", "msg/s", "RSS MiB");
    let before = server.rss_mib()?;
    report(&server, "in", messages, || client.send(messages))?;
    let held_bytes = (server.rss_mib()? - before) * 1048576.0;
    let encoded_bytes = f64::from(messages) * client.message.len() as f64;
    report(&server, "received + completed, ranges", messages, || {
        client.receive(messages, Completing::Ranges);
    })?;
    report(&server, "in, again", messages, || client.send(messages))?;
    report(&server, "received + completed, each by itself", messages, || {
        client.receive(messages, Completing::Each);
    })?;
    println!("{messages} messages held take {:.2} times their encoded bytes", held_bytes / encoded_bytes);
    server.stop()?;

    let server = start(&["--record-key", "orderId"])?;
    let mut client = Client::open(server.address("amqp")?, QUEUE);
    report(&server, "in, recorder on", messages, || client.send(messages))?;
    report(&server, "received + completed, ranges, recorder on", messages, || {
        client.receive(messages, Completing::Ranges);
    })?;
    server.stop()?;
    measure_features(messages)
}

/// What is switched on for some entities only.
fn measure_features(messages: u32) -> Result<(), Failure> {
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), features().to_string())?;
    let path = config.path().to_str().ok_or("the path is text")?;
    let server = start(&["--config", path])?;
    let mut client = Client::open(server.address("amqp")?, DUPLICATES);
    client.own_ids = true;
    report(&server, "in, duplicate detection", messages, || client.send(messages))?;
    drop(client);
    let mut client = Client::open(server.address("amqp")?, TOPIC);
    let published = (messages / TOPIC_SHARE).max(1);
    let meter = Meter::start(&server)?;
    client.send(published);
    let cost = meter.stop(published as usize)?;
    println!(
        "in, topic with {FILTERS} SQL filters: {:.3} µs CPU for a message and filter, {:.0} msg/s",
        cost.cpu_us() / f64::from(FILTERS),
        cost.per_second()
    );
    server.stop()
}

fn features() -> serde_json::Value {
    let subscription = |number: u32| {
        let text = format!("traceparent = 'trace-{number}' AND sys.Label LIKE 'order%' OR retries > 10");
        let text = if number == 0 { "sys.ContentType = 'application/json'".to_owned() } else { text };
        let filter = json!({ "FilterType": "Sql", "SqlFilter": { "SqlExpression": text } });
        json!({ "Name": format!("s{number}"), "Rules": [{ "Name": "r", "Properties": filter }] })
    };
    let subscriptions: Vec<_> = (0..FILTERS).map(subscription).collect();
    let duplicates = json!({
        "RequiresDuplicateDetection": true,
        "DuplicateDetectionHistoryTimeWindow": "PT10M",
    });
    let namespace = json!({
        "Name": "sbemulatorns",
        "Queues": [{ "Name": DUPLICATES, "Properties": duplicates }],
        "Topics": [{ "Name": TOPIC, "Subscriptions": subscriptions }],
    });
    json!({ "UserConfig": { "Namespaces": [namespace] } })
}

fn start(flags: &[&str]) -> Result<Program, Failure> {
    Program::start(
        Command::new(env!("CARGO_BIN_EXE_servicebus-emulator"))
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--stop-on-stdin-eof"])
            .args(flags)
            .env("RUST_LOG", "warn"),
    )
}

fn measure_start() -> Result<(), Failure> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = start(&[])?;
        let client = Client::open(server.address("amqp")?, QUEUE);
        starts.push(begun.elapsed());
        drop(client);
        server.stop()?;
    }
    let starts = Durations::new(starts)?;
    println!(
        "exec to an attached link: median {:.1} ms, worst {:.1} ms ({STARTS} starts)",
        starts.at_ms(0.5),
        starts.at_ms(1.0)
    );
    Ok(())
}

/// Does something with messages, and prints what each of them cost.
fn report(server: &Program, what: &str, messages: u32, act: impl FnOnce()) -> Result<(), Failure> {
    let meter = Meter::start(server)?;
    act();
    let cost = meter.stop(messages as usize)?;
    println!("{what:<44} {:>8.2} {:>10.0} {:>12.1}", cost.cpu_us(), cost.per_second(), server.rss_mib()?);
    Ok(())
}

/// How deliveries are completed.
#[derive(Clone, Copy, PartialEq)]
enum Completing {
    /// Those of one read by one disposition.
    Ranges,
    /// Each by a disposition of its own, as most SDKs do.
    Each,
}

/// One connection with a link in each direction. It writes, then reads: the broker's answers are small enough for it.
struct Client {
    stream: TcpStream,
    inbox: BytesMut,
    out: BytesMut,
    message: BytesMut,
    /// Whether every message gets an id of its own.
    own_ids: bool,
    send_credit: u32,
    sent: u32,
    received: u32,
}

impl Client {
    /// A connection with links to and, where that can be received from, from an entity.
    fn open(address: SocketAddr, entity: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut client = Self {
            stream,
            inbox: BytesMut::new(),
            out: BytesMut::new(),
            message: message(),
            own_ids: false,
            send_credit: 0,
            sent: 0,
            received: 0,
        };
        client.out.extend_from_slice(ProtocolHeader::Amqp.bytes());
        let roles: &[Role] = if entity == TOPIC { &[Role::Sender] } else { &[Role::Sender, Role::Receiver] };
        for performative in [open().into(), begin().into()] {
            Frame::put(&mut client.out, 0, &performative);
        }
        for role in roles {
            Frame::put(&mut client.out, 0, &attach(*role, entity).into());
        }
        client.flush();
        while ProtocolHeader::take(&mut client.inbox).expect("AMQP").is_none() {
            client.read();
        }
        let mut attached = 0;
        while attached < roles.len() || client.send_credit == 0 {
            match client.next() {
                Performative::Attach(attach) => {
                    assert!(attach.source.is_some() && attach.target.is_some(), "refused");
                    attached += 1;
                }
                Performative::Flow(flow) => client.take_flow(&flow),
                _ => {}
            }
        }
        client
    }

    fn send(&mut self, messages: u32) {
        let (end, mut settled) = (self.sent + messages, self.sent);
        while settled < end {
            while self.send_credit > 0 && self.sent < end {
                let transfer = Transfer {
                    handle: SEND_HANDLE,
                    delivery_id: Some(self.sent),
                    delivery_tag: Some(Bytes::copy_from_slice(&self.sent.to_be_bytes())),
                    message_format: Some(0),
                    settled: Some(false),
                    more: false,
                    rcv_settle_mode: None,
                    state: None,
                    resume: false,
                    aborted: false,
                    batchable: false,
                };
                if self.own_ids {
                    self.write_id();
                }
                Frame::put_transfer(&mut self.out, 0, &transfer, &[&self.message]);
                self.sent += 1;
                self.send_credit -= 1;
            }
            self.flush();
            match self.next() {
                Performative::Flow(flow) => self.take_flow(&flow),
                Performative::Disposition(disposition) => {
                    assert_eq!(disposition.state, Some(DeliveryState::Accepted));
                    settled = disposition.last.unwrap_or(disposition.first) + 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self, messages: u32, completing: Completing) {
        let end = self.received + messages;
        let (mut completed, mut credit) = (self.received, 0);
        while completed < end {
            if credit <= CREDIT / 2 && self.received < end {
                credit = CREDIT.min(end - self.received);
                Frame::put(&mut self.out, 0, &flow(self.received, credit).into());
            }
            self.flush();
            // All that one read brings is settled together.
            let mut next = Some(self.next());
            let (mut first, mut last) = (None, 0);
            while let Some(performative) = next {
                match performative {
                    Performative::Transfer(transfer) => {
                        last = transfer.delivery_id.expect("one frame a message");
                        first = first.or(Some(last));
                        self.received += 1;
                        credit -= 1;
                        if completing == Completing::Each {
                            Frame::put(&mut self.out, 0, &accepted(last, last).into());
                        }
                    }
                    Performative::Disposition(echo) => {
                        assert_eq!((echo.settled, echo.state), (true, Some(DeliveryState::Accepted)));
                        completed += echo.last.unwrap_or(echo.first) - echo.first + 1;
                    }
                    Performative::Flow(_) => {}
                    other => panic!("{other:?}"),
                }
                next = self.buffered();
            }
            if let (Some(first), Completing::Ranges) = (first, completing) {
                Frame::put(&mut self.out, 0, &accepted(first, last).into());
            }
        }
    }

    /// Writes the number of the message over the end of its id.
    fn write_id(&mut self) {
        let (id, digits) = (MESSAGE_ID.as_bytes(), format!("{:012x}", self.sent));
        let at = self.message.windows(id.len() - digits.len()).position(|bytes| id.starts_with(bytes));
        let end = at.expect("the id is there") + id.len();
        self.message[end - digits.len()..end].copy_from_slice(digits.as_bytes());
    }

    fn take_flow(&mut self, flow: &Flow) {
        if flow.handle == Some(SEND_HANDLE) {
            let granted = flow.delivery_count.unwrap_or(0) + flow.link_credit.unwrap_or(0);
            self.send_credit = granted - self.sent;
        }
    }

    fn flush(&mut self) {
        self.stream.write_all(&self.out).expect("the connection stands");
        self.out.clear();
    }

    fn read(&mut self) {
        let mut buffer = [0; 64 << 10];
        let count = self.stream.read(&mut buffer).expect("the connection stands");
        assert!(count > 0, "the connection was closed");
        self.inbox.extend_from_slice(&buffer[..count]);
    }

    /// The next performative that is here already.
    fn buffered(&mut self) -> Option<Performative> {
        match Frame::take(&mut self.inbox, u32::MAX).expect("a frame")? {
            Frame::Amqp { performative, .. } => Some(performative),
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self) -> Performative {
        loop {
            match self.buffered() {
                Some(performative) => return performative,
                None => self.read(),
            }
        }
    }
}

const MESSAGE_ID: &str = "7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11";

fn message() -> BytesMut {
    let mut body = br#"{"orderId":1234567,"description":""#.to_vec();
    body.resize(BODY_BYTES - 2, b'x');
    body.extend_from_slice(b"\"}");
    let mut out = BytesMut::new();
    let properties = Properties {
        message_id: Some(MESSAGE_ID.into()),
        content_type: Some("application/json".into()),
        ..Properties::default()
    };
    properties.encode(&mut out);
    put_application_properties(
        &mut out,
        &Map::new().with_string("traceparent", "00-0af7651916cd43dd".into()),
    );
    put_data(&mut out, &body.into());
    out
}

fn open() -> Open {
    Open {
        container_id: "bench".to_owned(),
        hostname: Some("localhost".to_owned()),
        max_frame_size: 64 << 10,
        channel_max: 0,
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn begin() -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: WINDOW,
        outgoing_window: WINDOW,
        handle_max: RECEIVE_HANDLE,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn attach(role: Role, entity: &str) -> Attach {
    let (handle, settle_mode) = match role {
        Role::Sender => (SEND_HANDLE, ReceiverSettleMode::First),
        Role::Receiver => (RECEIVE_HANDLE, ReceiverSettleMode::Second),
    };
    Attach {
        name: format!("bench-{handle}"),
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: settle_mode,
        source: Some(Source::at(entity)),
        target: Some(AnyTarget::Node(Target::at(entity))),
        unsettled: None,
        incomplete_unsettled: None,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn flow(received: u32, credit: u32) -> Flow {
    Flow {
        // The broker's first transfer has the id 1.
        next_incoming_id: Some(received + 1),
        incoming_window: WINDOW,
        next_outgoing_id: 0,
        outgoing_window: WINDOW,
        handle: Some(RECEIVE_HANDLE),
        delivery_count: Some(received),
        link_credit: Some(credit),
        available: None,
        drain: false,
        echo: false,
        properties: None,
    }
}

fn accepted(first: u32, last: u32) -> Disposition {
    Disposition {
        role: Role::Receiver,
        first,
        last: Some(last),
        settled: false,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    }
}

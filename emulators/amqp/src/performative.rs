//! The nine performatives and what they carry (part 2, §2.7; part 3, §3.4–3.5; part 4, §4.5).

use bytes::{Bytes, BytesMut};

use crate::composite::composite;
use crate::decode::{Decode, DecodeError, Decoder};
use crate::encode::Encode;
use crate::value::{Map, Symbol, Value};

composite! {
    /// Opens a connection.
    Open = 0x10 {
        /// Name of the sending container.
        container_id: String, !"container-id of open";
        /// Host that the peer wants to reach.
        hostname: Option<String>;
        /// Largest frame that the sender accepts, bytes.
        max_frame_size: u32 = u32::MAX;
        /// Highest channel that may be used.
        channel_max: u16 = u16::MAX;
        /// Milliseconds of silence after which the sender gives up.
        idle_time_out: Option<u32>;
        /// Locales for text that goes out.
        outgoing_locales: Option<Vec<Symbol>>;
        /// Locales for text that comes in.
        incoming_locales: Option<Vec<Symbol>>;
        /// Extensions offered.
        offered_capabilities: Option<Vec<Symbol>>;
        /// Extensions desired.
        desired_capabilities: Option<Vec<Symbol>>;
        /// Properties of the connection.
        properties: Option<Map>;
    }

    /// Begins a session on a channel.
    Begin = 0x11 {
        /// The peer's channel, in an answer.
        remote_channel: Option<u16>;
        /// Transfer id of the first transfer that the sender will send.
        next_outgoing_id: u32, !"next-outgoing-id of begin";
        /// Transfers that the sender can take now.
        incoming_window: u32, !"incoming-window of begin";
        /// Transfers that the sender keeps for resending.
        outgoing_window: u32, !"outgoing-window of begin";
        /// Highest link handle.
        handle_max: u32 = u32::MAX;
        /// Extensions offered.
        offered_capabilities: Option<Vec<Symbol>>;
        /// Extensions desired.
        desired_capabilities: Option<Vec<Symbol>>;
        /// Properties of the session.
        properties: Option<Map>;
    }

    /// Attaches a link to a session.
    Attach = 0x12 {
        /// The link's name.
        name: String, !"name of attach";
        /// The sender's handle for the link.
        handle: u32, !"handle of attach";
        /// Whether the sender of this performative receives on the link.
        role: Role, !"role of attach";
        /// When deliveries are settled by their sender.
        snd_settle_mode: SenderSettleMode = SenderSettleMode::Mixed;
        /// When deliveries are settled by their receiver.
        rcv_settle_mode: ReceiverSettleMode = ReceiverSettleMode::First;
        /// Where deliveries come from.
        source: Option<Source>;
        /// Where deliveries go.
        target: Option<AnyTarget>;
        /// Deliveries that a resumed link left unsettled.
        unsettled: Option<Map>;
        /// Whether `unsettled` is only a part.
        incomplete_unsettled: Option<bool>;
        /// Delivery count at which a sender starts.
        initial_delivery_count: Option<u32>;
        /// Largest message that the sender of this performative accepts, bytes.
        max_message_size: Option<u64>;
        /// Extensions offered.
        offered_capabilities: Option<Vec<Symbol>>;
        /// Extensions desired.
        desired_capabilities: Option<Vec<Symbol>>;
        /// Properties of the link.
        properties: Option<Map>;
    }

    /// Updates the windows of a session and the credit of a link.
    Flow = 0x13 {
        /// Transfer id that the sender expects next.
        next_incoming_id: Option<u32>;
        /// Transfers that the sender can take now.
        incoming_window: u32, !"incoming-window of flow";
        /// Transfer id that the sender uses next.
        next_outgoing_id: u32, !"next-outgoing-id of flow";
        /// Transfers that the sender keeps for resending.
        outgoing_window: u32, !"outgoing-window of flow";
        /// The link, or none for the session alone.
        handle: Option<u32>;
        /// The link's delivery count.
        delivery_count: Option<u32>;
        /// Deliveries that the receiver allows beyond `delivery_count`.
        link_credit: Option<u32>;
        /// Deliveries that the sender has ready.
        available: Option<u32>;
        /// Whether credit is to be used up at once.
        drain: bool = false;
        /// Whether the peer shall answer with its state.
        echo: bool = false;
        /// Properties of the link.
        properties: Option<Map>;
    }

    /// Carries a message, or a part of one.
    Transfer = 0x14 {
        /// The link.
        handle: u32, !"handle of transfer";
        /// The delivery, in its first transfer at least.
        delivery_id: Option<u32>;
        /// The delivery's tag, in its first transfer at least.
        delivery_tag: Option<Bytes>;
        /// The message's format, in its first transfer at least.
        message_format: Option<u32>;
        /// Whether the sender has settled it.
        settled: Option<bool>;
        /// Whether more transfers of this delivery follow.
        more: bool = false;
        /// The receiver's settle mode for this delivery.
        rcv_settle_mode: Option<ReceiverSettleMode>;
        /// The delivery's state at the sender.
        state: Option<DeliveryState>;
        /// Whether it resumes an unsettled delivery.
        resume: bool = false;
        /// Whether the delivery is given up and its content void.
        aborted: bool = false;
        /// Whether its settlement may wait for others.
        batchable: bool = false;
    }

    /// Tells the state of deliveries.
    Disposition = 0x15 {
        /// Which side of the link the sender of this performative is.
        role: Role, !"role of disposition";
        /// First delivery.
        first: u32, !"first of disposition";
        /// Last delivery; none means `first` alone.
        last: Option<u32>;
        /// Whether they are settled.
        settled: bool = false;
        /// Their state.
        state: Option<DeliveryState>;
        /// Whether the answer may wait for others.
        batchable: bool = false;
    }

    /// Detaches a link.
    Detach = 0x16 {
        /// The link.
        handle: u32, !"handle of detach";
        /// Whether the link is closed for good.
        closed: bool = false;
        /// Why.
        error: Option<Error>;
    }

    /// Ends a session.
    End = 0x17 {
        /// Why.
        error: Option<Error>;
    }

    /// Closes a connection.
    Close = 0x18 {
        /// Why.
        error: Option<Error>;
    }

    /// What went wrong.
    Error = 0x1d {
        /// A symbol that names the kind of error.
        condition: Symbol, !"condition of error";
        /// Words for people.
        description: Option<String>;
        /// More about it.
        info: Option<Map>;
    }

    /// Where a link's deliveries come from.
    #[derive(Default)]
    Source = 0x28 {
        /// The node's address.
        address: Option<Value>;
        /// What of the terminus is durable.
        durable: u32 = 0;
        /// When the terminus expires.
        expiry_policy: Option<Symbol>;
        /// Seconds until it does.
        timeout: u32 = 0;
        /// Whether a node is to be created.
        dynamic: bool = false;
        /// Properties of such a node.
        dynamic_node_properties: Option<Map>;
        /// Whether deliveries are moved or copied.
        distribution_mode: Option<Symbol>;
        /// Filters on what is delivered.
        filter: Option<Map>;
        /// State of deliveries that are never settled.
        default_outcome: Option<Value>;
        /// Outcomes that may be chosen.
        outcomes: Option<Vec<Symbol>>;
        /// Extensions.
        capabilities: Option<Vec<Symbol>>;
    }

    /// Where a link's deliveries go.
    #[derive(Default)]
    Target = 0x29 {
        /// The node's address.
        address: Option<Value>;
        /// What of the terminus is durable.
        durable: u32 = 0;
        /// When the terminus expires.
        expiry_policy: Option<Symbol>;
        /// Seconds until it does.
        timeout: u32 = 0;
        /// Whether a node is to be created.
        dynamic: bool = false;
        /// Properties of such a node.
        dynamic_node_properties: Option<Map>;
        /// Extensions.
        capabilities: Option<Vec<Symbol>>;
    }

    /// The target of a link that controls transactions.
    Coordinator = 0x30 {
        /// What the coordinator can do.
        capabilities: Option<Vec<Symbol>>;
    }

    /// How much of a delivery was received.
    Received = 0x23 {
        /// Section that was reached.
        section_number: u32, !"section-number of received";
        /// Bytes of it.
        section_offset: u64, !"section-offset of received";
    }

    /// The delivery is refused.
    Rejected = 0x25 {
        /// Why.
        error: Option<Error>;
    }

    /// The delivery is given back, changed.
    Modified = 0x27 {
        /// Whether it counts as a failed delivery.
        delivery_failed: Option<bool>;
        /// Whether it must not be delivered here again; Service Bus reads it as "defer".
        undeliverable_here: Option<bool>;
        /// What to change.
        message_annotations: Option<Map>;
    }

    /// A transaction was declared.
    Declared = 0x33 {
        /// Its id.
        txn_id: Bytes, !"txn-id of declared";
    }

    /// The state of a delivery inside a transaction.
    TransactionalState = 0x34 {
        /// The transaction.
        txn_id: Bytes, !"txn-id of transactional-state";
        /// The outcome that it will have.
        outcome: Option<Box<DeliveryState>>;
    }
}

impl Error {
    /// An error with a condition and words for people.
    pub fn new(condition: &str, description: impl Into<String>) -> Self {
        Self { condition: condition.into(), description: Some(description.into()), info: None }
    }
}

impl Source {
    /// A source at `address`.
    pub fn at(address: &str) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    /// The address, if it is text.
    pub fn address(&self) -> Option<&str> {
        self.address.as_ref().and_then(Value::as_str)
    }
}

impl Target {
    /// A target at `address`.
    pub fn at(address: &str) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    /// The address, if it is text.
    pub fn address(&self) -> Option<&str> {
        self.address.as_ref().and_then(Value::as_str)
    }
}

/// The target of a link: a node, or the coordinator of transactions.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyTarget {
    /// A node.
    Node(Target),
    /// The transaction coordinator.
    Coordinator(Coordinator),
}

impl Decode for AnyTarget {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.descriptor()? {
            0x29 => Target::decode_fields(decoder).map(Self::Node),
            0x30 => Coordinator::decode_fields(decoder).map(Self::Coordinator),
            found => Err(DecodeError::UnexpectedDescriptor { expected: "target", found }),
        }
    }
}

impl Encode for AnyTarget {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Node(target) => target.encode(out),
            Self::Coordinator(coordinator) => coordinator.encode(out),
        }
    }
}

/// The state of a delivery (part 3, §3.4; part 4, §4.5).
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// Partly received.
    Received(Received),
    /// Taken: Service Bus completes the message.
    Accepted,
    /// Refused: Service Bus dead-letters the message.
    Rejected(Rejected),
    /// Given back untouched.
    Released,
    /// Given back changed: Service Bus abandons or defers the message.
    Modified(Modified),
    /// A transaction was declared.
    Declared(Declared),
    /// Part of a transaction.
    Transactional(TransactionalState),
}

const ACCEPTED: u8 = 0x24;
const RELEASED: u8 = 0x26;

impl Decode for DeliveryState {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match decoder.descriptor()? {
            0x23 => Self::Received(Received::decode_fields(decoder)?),
            0x24 => decoder.list().map(|_| Self::Accepted)?,
            0x25 => Self::Rejected(Rejected::decode_fields(decoder)?),
            0x26 => decoder.list().map(|_| Self::Released)?,
            0x27 => Self::Modified(Modified::decode_fields(decoder)?),
            0x33 => Self::Declared(Declared::decode_fields(decoder)?),
            0x34 => Self::Transactional(TransactionalState::decode_fields(decoder)?),
            found => return Err(DecodeError::UnexpectedDescriptor { expected: "delivery state", found }),
        })
    }
}

impl Encode for DeliveryState {
    fn encode(&self, out: &mut BytesMut) {
        let empty = |out: &mut BytesMut, descriptor| {
            crate::encode::descriptor(out, descriptor);
            Value::List(Vec::new()).encode(out);
        };
        match self {
            Self::Received(state) => state.encode(out),
            Self::Accepted => empty(out, ACCEPTED),
            Self::Rejected(state) => state.encode(out),
            Self::Released => empty(out, RELEASED),
            Self::Modified(state) => state.encode(out),
            Self::Declared(state) => state.encode(out),
            Self::Transactional(state) => state.encode(out),
        }
    }
}

/// The outcome inside a transactional state; a transaction inside a transaction is refused, so nesting ends.
impl Decode for Box<DeliveryState> {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut ahead = decoder.clone();
        match ahead.descriptor()? {
            found @ (0x33 | 0x34) => Err(DecodeError::UnexpectedDescriptor { expected: "outcome", found }),
            _ => DeliveryState::decode(decoder).map(Self::new),
        }
    }
}

impl Encode for Box<DeliveryState> {
    fn encode(&self, out: &mut BytesMut) {
        self.as_ref().encode(out);
    }
}

/// Which side of a link a peer is (part 2, §2.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends.
    Sender,
    /// It receives.
    Receiver,
}

impl Role {
    /// The other side.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

impl Decode for Role {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        bool::decode(decoder).map(|receiver| if receiver { Self::Receiver } else { Self::Sender })
    }
}

impl Encode for Role {
    fn encode(&self, out: &mut BytesMut) {
        (*self == Self::Receiver).encode(out);
    }
}

/// When the sender of a link settles (part 2, §2.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderSettleMode {
    /// After the receiver has told its state.
    Unsettled,
    /// With the transfer.
    Settled,
    /// Either.
    Mixed,
}

impl Decode for SenderSettleMode {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::Unsettled),
            1 => Ok(Self::Settled),
            2 => Ok(Self::Mixed),
            found => Err(DecodeError::OutOfRange { field: "snd-settle-mode", found: found.into() }),
        }
    }
}

impl Encode for SenderSettleMode {
    fn encode(&self, out: &mut BytesMut) {
        (*self as u8).encode(out);
    }
}

/// When the receiver of a link settles (part 2, §2.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverSettleMode {
    /// At once.
    First,
    /// After the sender has settled.
    Second,
}

impl Decode for ReceiverSettleMode {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::First),
            1 => Ok(Self::Second),
            found => Err(DecodeError::OutOfRange { field: "rcv-settle-mode", found: found.into() }),
        }
    }
}

impl Encode for ReceiverSettleMode {
    fn encode(&self, out: &mut BytesMut) {
        (*self as u8).encode(out);
    }
}

macro_rules! performatives {
    ($($name:ident = $descriptor:literal),+ $(,)?) => {
        /// Any performative.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "an attach is rare and short-lived; a box would cost every transfer")]
        pub enum Performative {
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $name($name),
            )+
        }

        impl Decode for Performative {
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                match decoder.descriptor()? {
                    $($descriptor => $name::decode_fields(decoder).map(Self::$name),)+
                    found => Err(DecodeError::UnexpectedDescriptor { expected: "performative", found }),
                }
            }
        }

        impl Encode for Performative {
            fn encode(&self, out: &mut BytesMut) {
                match self { $(Self::$name(performative) => performative.encode(out),)+ }
            }
        }

        $(
            impl From<$name> for Performative {
                fn from(performative: $name) -> Self {
                    Self::$name(performative)
                }
            }
        )+

        impl Performative {
            /// The performative's name in the standard, for messages.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)+ }
            }
        }
    };
}

performatives! {
    Open = 0x10, Begin = 0x11, Attach = 0x12, Flow = 0x13, Transfer = 0x14,
    Disposition = 0x15, Detach = 0x16, End = 0x17, Close = 0x18,
}

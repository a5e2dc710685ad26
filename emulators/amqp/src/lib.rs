//! AMQP 1.0 as Azure Service Bus speaks it: [values](value), [performatives](performative), [frames](frame) and
//! [message sections](message).
//!
//! The crate turns bytes into meaning and back. It must not know an entity, a policy, a clock or a socket (the
//! `client` module, behind its feature, is the one exception to the last), and it never decodes the body of a message.
//!
//! Sources: OASIS AMQP 1.0, part 1 (types), part 2 (transport), part 3 (messaging), part 4 (transactions),
//! part 5 (security). Encoding choices that real clients need are named where they are made.

#[cfg(feature = "client")]
pub mod client;
mod composite;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod limits;
pub mod message;
pub mod performative;
pub mod sasl;
pub mod value;

pub use decode::{DecodeError, Decoder};
pub use frame::{Frame, FrameError, ProtocolHeader};
pub use performative::Performative;
pub use value::{Map, Symbol, Value};

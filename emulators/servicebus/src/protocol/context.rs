//! What the parts of one connection share while they work: the bytes to be written, the clock's reading, the broker.
//!
//! It must not act by itself.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;

use crate::broker::Broker;
use crate::broker::wake::{LinkId, Wake};
use crate::engine::Micros;

/// See the module.
#[derive(Debug)]
pub struct Context {
    /// The entities.
    pub broker: Arc<Broker>,
    /// Bytes to be written.
    pub out: BytesMut,
    /// The clock, read once for all frames of one read.
    pub now_us: Micros,
    /// The largest frame that the peer accepts, bytes.
    pub peer_max_frame_bytes: usize,
    /// The largest message that is accepted, bytes.
    pub max_message_bytes: usize,
    /// The bell that entities ring.
    pub wake: Arc<Wake>,
    /// Links that wait for a session, by the instant at which they give up.
    pub accepting: BTreeSet<(Micros, u16, u32)>,
    /// Links that have had their turn and want another.
    pub ready: VecDeque<LinkId>,
    /// Channels of sessions that have something gathered to say.
    pub unsaid: Vec<u16>,
    /// Space for reading messages.
    pub scratch: BytesMut,
}

impl Context {
    /// Notes that a session has something gathered to say.
    pub fn note_unsaid(&mut self, channel: u16) {
        if self.unsaid.last() != Some(&channel) {
            self.unsaid.push(channel);
        }
    }
}

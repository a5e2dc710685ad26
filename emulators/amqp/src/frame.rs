//! Frames and protocol headers (part 2, §2.2–2.3; part 5, §5.3.1): where one ends, what it carries.
//!
//! It must not read from a socket: callers bring a buffer and are told when it holds too little.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::decode::{Decode, DecodeError, Decoder};
use crate::encode::Encode;
use crate::limits::FRAME_HEADER_BYTES;
use crate::performative::{Performative, Transfer};
use crate::sasl::Sasl;

/// The eight bytes with which each layer of a connection starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// AMQP 1.0 itself.
    Amqp,
    /// The SASL layer before it.
    Sasl,
}

impl ProtocolHeader {
    /// The header's bytes.
    pub const fn bytes(self) -> &'static [u8; 8] {
        match self {
            Self::Amqp => b"AMQP\x00\x01\x00\x00",
            Self::Sasl => b"AMQP\x03\x01\x00\x00",
        }
    }

    /// Takes a header off the front of `buffer`; none when there are fewer bytes than a header has and those that
    /// are there could become one.
    ///
    /// # Errors
    /// [`FrameError::NotAmqp`] when the bytes are no header that is spoken here.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        for header in [Self::Amqp, Self::Sasl] {
            let bytes = header.bytes();
            if buffer.len() >= bytes.len() && buffer.starts_with(bytes) {
                buffer.advance(bytes.len());
                return Ok(Some(header));
            }
            if buffer.len() < bytes.len() && bytes.starts_with(buffer) {
                return Ok(None);
            }
        }
        Err(FrameError::NotAmqp)
    }
}

/// Why bytes are not a frame. Goes to the peer as `amqp:connection:framing-error`, or as `amqp:decode-error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The connection does not start with a header of AMQP 1.0.
    #[error("the peer does not speak AMQP 1.0")]
    NotAmqp,
    /// A frame larger than was agreed.
    #[error("a frame of {size} bytes exceeds the agreed {max}")]
    TooLarge {
        /// Its size.
        size: u32,
        /// What was agreed.
        max: u32,
    },
    /// A size or data offset that no frame can have.
    #[error("a frame of {size} bytes has its data at offset {offset}")]
    Malformed {
        /// Its size.
        size: u32,
        /// Its data offset, bytes.
        offset: usize,
    },
    /// A type that is neither AMQP nor SASL.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// A body that cannot be decoded.
    #[error("a frame's body cannot be decoded")]
    Body(#[from] DecodeError),
}

/// A frame's body.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "frames are matched where they are made, never stored")]
pub enum Frame {
    /// Nothing: a sign of life.
    Heartbeat,
    /// A performative on a channel, and what follows it (the payload of a transfer).
    Amqp {
        /// The channel.
        channel: u16,
        /// The performative.
        performative: Performative,
        /// The bytes behind it.
        payload: Bytes,
    },
    /// A SASL frame.
    Sasl(Sasl),
}

const AMQP_FRAME: u8 = 0;
const SASL_FRAME: u8 = 1;

impl Frame {
    /// Takes a frame off the front of `buffer`; none when it is not all there yet. Its size is checked against
    /// `max_frame_bytes` before anything of it is waited for.
    ///
    /// # Errors
    /// When the bytes can never become a frame.
    pub fn take(buffer: &mut BytesMut, max_frame_bytes: u32) -> Result<Option<Self>, FrameError> {
        let Some(header) = buffer.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let [s0, s1, s2, s3, data_offset, frame_type, c0, c1] = *header;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let offset = usize::from(data_offset) * 4;
        if size > max_frame_bytes {
            return Err(FrameError::TooLarge { size, max: max_frame_bytes });
        }
        let size_bytes = size as usize;
        if offset < FRAME_HEADER_BYTES || size_bytes < offset {
            return Err(FrameError::Malformed { size, offset });
        }
        if buffer.len() < size_bytes {
            return Ok(None);
        }
        let mut body = buffer.split_to(size_bytes).freeze();
        body.advance(offset);
        Self::decode(frame_type, u16::from_be_bytes([c0, c1]), body).map(Some)
    }

    fn decode(frame_type: u8, channel: u16, mut body: Bytes) -> Result<Self, FrameError> {
        match frame_type {
            AMQP_FRAME if body.is_empty() => Ok(Self::Heartbeat),
            AMQP_FRAME => {
                let mut decoder = Decoder::new(&body);
                let performative = Performative::decode(&mut decoder)?;
                let read = decoder.position();
                body.advance(read);
                Ok(Self::Amqp { channel, performative, payload: body })
            }
            SASL_FRAME => Ok(Self::Sasl(Sasl::decode(&mut Decoder::new(&body))?)),
            unknown => Err(FrameError::UnknownType(unknown)),
        }
    }

    /// Appends a frame without payload.
    pub fn put(out: &mut BytesMut, channel: u16, performative: &Performative) {
        framed(out, AMQP_FRAME, channel, |out| performative.encode(out));
    }

    /// Appends a transfer and its payload, which may come in pieces. The caller sees to it that the whole fits the
    /// peer's frame size (see [`TRANSFER_OVERHEAD_BYTES`](crate::limits::TRANSFER_OVERHEAD_BYTES)).
    pub fn put_transfer(out: &mut BytesMut, channel: u16, transfer: &Transfer, payload: &[&[u8]]) {
        framed(out, AMQP_FRAME, channel, |out| {
            transfer.encode(out);
            payload.iter().for_each(|piece| out.put_slice(piece));
        });
    }

    /// Appends a SASL frame.
    pub fn put_sasl(out: &mut BytesMut, frame: &Sasl) {
        framed(out, SASL_FRAME, 0, |out| frame.encode(out));
    }

    /// Appends a sign of life.
    pub fn put_heartbeat(out: &mut BytesMut) {
        framed(out, AMQP_FRAME, 0, |_| {});
    }
}

fn framed(out: &mut BytesMut, frame_type: u8, channel: u16, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    let [c0, c1] = channel.to_be_bytes();
    out.put_slice(&[0, 0, 0, 0, 2, frame_type, c0, c1]);
    body(out);
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

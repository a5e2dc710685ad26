//! Messages as transfer frames: the hot path out, written in place.
//!
//! It must not decide whether a message may go; windows and credit are counted by those who call.

use amqp::encode::{self, Encode, code};
use amqp::limits::{FRAME_HEADER_BYTES, TRANSFER_OVERHEAD_BYTES};
use bytes::{BufMut, Bytes, BytesMut};

/// What a transfer performative says; all else has its default.
#[derive(Debug, Clone, Copy)]
pub struct TransferHead<'a> {
    /// The session's channel.
    pub channel: u16,
    /// The link.
    pub handle: u32,
    /// The delivery.
    pub delivery_id: u32,
    /// Its tag.
    pub tag: &'a [u8],
    /// Whether it is settled.
    pub settled: bool,
}

/// Appends a frame with a transfer, whose payload `payload` writes.
pub fn put(out: &mut BytesMut, head: &TransferHead<'_>, more: bool, payload: impl FnOnce(&mut BytesMut)) {
    const FIELDS: u32 = 11;
    const TRANSFER: u8 = 0x14;
    let start = out.len();
    let [c0, c1] = head.channel.to_be_bytes();
    out.put_slice(&[0, 0, 0, 0, 2, 0, c0, c1]);
    encode::descriptor(out, TRANSFER);
    encode::list(out, FIELDS, |out| {
        head.handle.encode(out);
        head.delivery_id.encode(out);
        out.put_slice(&[code::BINARY_8, u8::try_from(head.tag.len()).unwrap_or(0)]);
        out.put_slice(head.tag);
        0_u32.encode(out);
        head.settled.encode(out);
        more.encode(out);
        out.put_slice(&[code::NULL, code::NULL, code::FALSE, code::FALSE, code::TRUE]);
    });
    payload(out);
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size);
    }
}

/// Cuts a message into frames that are no larger than the peer accepts.
pub fn frames(head: &TransferHead<'_>, message: &Bytes, max_frame_bytes: usize) -> Vec<Bytes> {
    let room = max_frame_bytes.saturating_sub(FRAME_HEADER_BYTES + TRANSFER_OVERHEAD_BYTES).max(1);
    let pieces = message.chunks(room);
    let last = pieces.len().saturating_sub(1);
    let framed = pieces.enumerate().map(|(index, piece)| {
        let mut frame = BytesMut::with_capacity(piece.len() + FRAME_HEADER_BYTES + TRANSFER_OVERHEAD_BYTES);
        put(&mut frame, head, index < last, |out| out.put_slice(piece));
        frame.freeze()
    });
    framed.collect()
}

/// Whether a message of this many bytes, with what is written anew for its delivery, fits one frame for certain.
pub fn fits_one_frame(content_bytes: usize, max_frame_bytes: usize) -> bool {
    /// Header, delivery annotations and the broker's message annotations, at their largest.
    const STAMP_BYTES_MAX: usize = 256;
    content_bytes + STAMP_BYTES_MAX + FRAME_HEADER_BYTES + TRANSFER_OVERHEAD_BYTES <= max_frame_bytes
}

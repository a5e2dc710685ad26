//! Every bound of the codec, in one place. A peer that exceeds one gets an error, never memory.

/// Values nested deeper than this are refused: recursion on a peer's word must end.
pub const NESTING_DEPTH_MAX: usize = 32;

/// Elements that an array of elements without bytes of their own (null, true, uint0, …) may claim. Nobody sends such
/// arrays; each one takes ten bytes on the wire, so this bounds what a message can grow to in memory.
pub const ZERO_WIDTH_ELEMENTS_MAX: usize = 16;

/// Elements for which room is made before they are read.
pub const PREALLOCATED_ELEMENTS_MAX: usize = 64;

/// Bytes of a frame before its body: size, data offset, type, channel (part 2, §2.3.1).
pub const FRAME_HEADER_BYTES: usize = 8;

/// The smallest frame that every peer must accept (part 2, §2.3).
pub const MIN_MAX_FRAME_BYTES: u32 = 512;

/// Room for a transfer performative in a frame, so that a payload can be cut to what is left of the frame:
/// the largest one has a 32-byte tag and a transactional state.
pub const TRANSFER_OVERHEAD_BYTES: usize = 160;

const _: () = assert!(TRANSFER_OVERHEAD_BYTES + FRAME_HEADER_BYTES < MIN_MAX_FRAME_BYTES as usize);

//! Every bound of the blob store, in one place. No logic.

use std::time::Duration;

/// Most bytes of one Put Blob ("Put Blob", since version 2019-12-12).
pub const MAX_BLOB_BYTES: u64 = 5000 << 20;

/// Most bytes of one block ("Put Block", since version 2019-12-12).
pub const MAX_BLOCK_BYTES: u64 = 4000 << 20;

/// Most bytes of a block's id, decoded ("Put Block").
pub const MAX_BLOCK_ID_BYTES: usize = 64;

/// Most blocks of one blob ("Put Block List").
pub const MAX_COMMITTED_BLOCKS: usize = 50_000;

/// Most blocks that wait for one blob's block list ("Put Block").
pub const MAX_UNCOMMITTED_BLOCKS: usize = 100_000;

/// Most bytes of the body of Put Block List: 50,000 of the longest ids, with room for white space.
pub const MAX_BLOCK_LIST_BYTES: u64 = 12 << 20;

/// Bytes of content that are kept or read in one piece: what a body costs while it comes in or goes out.
pub const PART_BYTES: usize = 256 << 10;

/// Size at which a segment of the log is followed by the next one.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of the log that need not count, beyond as many as do, before the oldest segment is cleaned.
pub const LOG_GARBAGE_BYTES: u64 = 128 << 20;

/// Pause after the log could not be cleaned (usually: no space left).
pub const CLEAN_RETRY: Duration = Duration::from_secs(5);

/// Most bytes that all blobs together may take unless told otherwise, counted with names, metadata and overhead.
pub const DEFAULT_MEMORY_LIMIT_MIB: u64 = 4096;

/// What a stored blob or container costs besides its content, name and metadata: map entry, record, allocator.
pub const OVERHEAD_BYTES: u64 = 320;

/// Most connections served at once; the next ones wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 4096;

/// Connections that the kernel holds for us before they are accepted.
pub const BACKLOG: i32 = 1024;

/// Most bytes of a request line and its headers. More is answered 431 and the connection ends.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// Most headers of a request, which is hyper's own bound: another one costs an allocation for each request.
pub const MAX_HEADERS: usize = 100;

/// Longest wait for a complete request head, the idle time between two requests included.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest pause between two parts of a request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Most bytes of a body that are read though the request is refused, so that its connection can go on.
pub const MAX_DRAIN_BYTES: u64 = 1 << 20;

/// Longest wait for such a body.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for what is in flight once the program was told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept (usually: no file descriptor left).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Most parameters of a query.
pub const MAX_QUERY_PARAMETERS: usize = 64;

/// Most characters of a blob's name ("Naming and referencing containers, blobs, and metadata").
pub const MAX_BLOB_NAME_CHARS: usize = 1024;

/// Fewest and most characters of a container's name (same page).
pub const CONTAINER_NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=63;

/// Most bytes of the names and values of one resource's metadata ("Setting and retrieving properties and metadata").
pub const MAX_METADATA_BYTES: usize = 8 << 10;

/// Most entries of one page of a list, and how many there are when the request names no number ("List Blobs").
pub const MAX_LIST_RESULTS: usize = 5000;

/// Longest range for which `x-ms-range-get-content-md5` computes a digest ("Get Blob").
pub const MAX_RANGE_MD5_BYTES: u64 = 4 << 20;

/// Most rows that the recorder keeps; further ones are only counted.
pub const MAX_RECORDER_ROWS: usize = 2_000_000;

/// Most bytes of the body of a request to the recorder.
pub const MAX_CONTROL_BODY_BYTES: usize = 4 << 10;

/// Bytes after which a part of a streamed answer is handed to the connection.
pub const ANSWER_PART_BYTES: usize = 64 << 10;

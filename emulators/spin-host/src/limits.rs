//! Every bound of this crate, each with its reason. It must not hold behaviour.

use std::time::Duration;

/// Most memory that the fields of one header map may take, in bytes of Spin's own accounting
/// (Spin 3.6.3: `FIELD_SIZE_LIMIT` in `crates/trigger-http/src/wasi.rs`).
pub const HEADER_FIELDS_BYTES: usize = 128 * 1024;

/// How long an outbound call may wait for a connection, for its first byte and between two pieces of a body, unless
/// the guest asks for less (Spin 3.6.3: `DEFAULT_TIMEOUT` in `crates/factor-outbound-http/src/wasi.rs`).
pub const OUTBOUND_TIMEOUT: Duration = Duration::from_secs(600);

/// How long requests that are being answered may take to finish once the program was told to stop. With
/// [`RUNTIME_END`], the program has ended two seconds after the signal at the latest.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(1_700);

/// How long the end then waits for what the system cannot be stopped in, such as the look-up of a name.
pub const RUNTIME_END: Duration = Duration::from_millis(200);

/// How often a running guest gives way to the other work of its thread (Spin 3.6.3: `DEFAULT_EPOCH_TICK_INTERVAL`).
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Longest line of a guest's output that is held back until its end comes, in bytes; a longer one is written in pieces.
pub const STDIO_LINE_BYTES: usize = 64 * 1024;

/// Largest module or component file that is read, in bytes. A TypeScript component has 12 MB.
pub const WASM_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Most bytes of compiled components that are kept on disk; a TypeScript component has 50 MB.
pub const CACHE_BYTES: u64 = 1024 * 1024 * 1024;

/// Largest `spin.toml`, `.env` and `--variable` file that is read, in bytes.
pub const CONFIG_FILE_BYTES: u64 = 1024 * 1024;

/// Largest file of a component that is written into an image's document itself, in bytes
/// (Spin 3.6.3: `DEFAULT_CONTENT_REF_INLINE_MAX_SIZE` in `crates/oci/src/client.rs`).
pub const INLINE_FILE_BYTES: usize = 128;

/// Most exchanges of guests with other hosts at a time, of the whole program. One more is refused
/// (`connection-limit-reached`), so that no guest takes the descriptors that connections of clients need.
pub const OUTBOUND_EXCHANGES: usize = 4_096;

/// The share of the program's file descriptors that such exchanges may take, where that is less: a half.
pub const OUTBOUND_SHARE_OF_FILES: usize = 2;

/// Longest chain of components that call each other in process (`http://<component>.spin.internal`). Spin has no
/// such bound: there, a component that calls itself ends when the instance pool is used up.
pub const SERVICE_CHAIN_LENGTH: u32 = 32;

/// Connections that wait in the kernel until they are accepted.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Pause after a failed accept (usually too many open files), so that it is not repeated at full speed.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);

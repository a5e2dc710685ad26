//! Every bound of the client, in one place.

use std::time::Duration;

/// Requests from handles that wait for the connection's task; a handle waits when there are more.
pub const COMMANDS_QUEUED_MAX: usize = 4096;
/// Requests that the task takes before it looks at the socket again.
pub const COMMANDS_BATCH_MAX: usize = 512;
/// Messages that wait for credit on one link; the next is refused.
pub const SENDS_PENDING_MAX: usize = 65_536;
/// Bytes that wait to be written before the task takes no more requests.
pub const OUT_BYTES_MAX: usize = 4 << 20;
/// Bytes read from the socket at once.
pub const READ_BYTES: usize = 64 << 10;
/// Largest frame that is offered to the peer, bytes.
pub const MAX_FRAME_BYTES: u32 = 256 << 10;
/// Largest message that is put together from transfers, bytes.
pub const MAX_MESSAGE_BYTES: usize = 128 << 20;
/// Links of one connection.
pub const LINKS_MAX: usize = 1024;
/// Transfers that the peer may send on the session. What bounds them is the credit of each link.
pub const SESSION_WINDOW: u32 = i32::MAX.cast_unsigned();
/// Answers that a request link may have on their way.
pub const REQUEST_CREDIT: u32 = 100;
/// How long the TCP connection, SASL, open and begin may take together, unless the options say otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence of the peer after which it is asked to be heard, unless the options say otherwise.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a close may wait for the peer's answer.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

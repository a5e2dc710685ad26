//! Every bound of the broker, in one place. None copies a quota of the official emulator: these keep one peer from
//! taking the memory or the time of all.

use std::time::Duration;

/// Largest message that is accepted unless `--max-message-bytes` says otherwise, bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Largest value that `--max-message-bytes` may have, bytes: the largest message of a Premium namespace.
pub const MAX_MESSAGE_BYTES_MAX: usize = 100 << 20;
/// Largest frame that is accepted and offered, bytes.
pub const MAX_FRAME_BYTES: u32 = 64 << 10;
/// Largest frame that is accepted before the connection is open, bytes.
pub const MAX_HANDSHAKE_FRAME_BYTES: u32 = 16 << 10;
/// Highest channel, so one less than the sessions of a connection.
pub const CHANNEL_MAX: u16 = 4999;
/// Highest link handle of a session.
pub const HANDLE_MAX: u32 = 4095;
/// Transfers that a peer may send on a session before it has to be told of new room.
pub const INCOMING_WINDOW: u32 = 1 << 16;
/// Credit of a link on which messages come in.
pub const SENDER_CREDIT: u32 = 1000;
/// The latest deliveries of one session, settled or not, that are kept by their place.
pub const UNSETTLED_SPAN_MAX: usize = 1 << 14;
/// Earlier deliveries of one session that are not settled; the oldest is forgotten (its lock runs out by itself) beyond.
pub const UNSETTLED_EARLIER_MAX: usize = 1 << 18;
/// Messages that one link gets before another has its turn.
pub const DELIVERY_BATCH_MAX: usize = 64;
/// Bytes that wait to be written before a connection is read, or messages are put on it, no further.
pub const OUT_BYTES_HIGH: usize = 512 << 10;
/// Bytes read from a socket at once.
pub const READ_BYTES: usize = 64 << 10;
/// Answers of a management node that wait for credit on one link.
pub const REPLIES_PENDING_MAX: usize = 1024;
/// Bytes of answers that wait for credit on one link.
pub const REPLIES_PENDING_BYTES_MAX: usize = 16 << 20;
/// Messages that one peek, or one request for deferred messages, returns at most.
pub const REQUEST_MESSAGES_MAX: usize = 1000;
/// Bytes of messages after which an answer of a management node, or of the HTTP port, takes in no more, so that it can
/// be received.
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// Messages that one batch-delete request removes at most: the number for a Premium namespace.
pub const DELETE_BATCH_MAX: usize = 4000;
/// Characters of an entity name (the cloud's limit).
pub const NAME_CHARS_MAX: usize = 260;
/// Characters of the name of a subscription or a rule (the cloud's limit).
pub const SUBSCRIPTION_NAME_CHARS_MAX: usize = 50;
/// Bytes of a filter's or an action's text.
pub const FILTER_BYTES_MAX: usize = 64 << 10;
/// Parentheses, signs and NOTs inside each other in a filter.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Statements of an action.
pub const ACTION_STATEMENTS_MAX: usize = 256;
/// Rules of a subscription.
pub const SUBSCRIPTION_RULES_MAX: usize = 10_000;
/// Ids that an entity remembers to tell duplicates; the oldest is forgotten beyond.
pub const DUPLICATE_HISTORY_MAX: usize = 1 << 20;
/// Ways from entity to entity that a message may go (the cloud's limit).
pub const HOPS_MAX: u8 = 4;
/// Bytes of a session's state: those of a message of the Standard tier.
pub const SESSION_STATE_BYTES_MAX: usize = 256 << 10;
/// Characters of a message id and of a session's id (the cloud's limit).
pub const ID_CHARS_MAX: usize = 128;
/// How long a receiver waits for the next session unless it says otherwise.
pub const ACCEPT_SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a receiver may wait for the next session.
pub const ACCEPT_SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Session ids that one request returns at most.
pub const SESSION_IDS_MAX: usize = 1000;
/// Rules that one request returns at most.
pub const RULES_LISTED_MAX: usize = 1000;
/// Bytes of a config file.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// Timed events of one queue that are worked off before others get their turn.
pub const ADVANCE_BATCH_MAX: usize = 8192;
/// How long a connection may take from TCP accept to open.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence that is announced to peers as the most that is tolerated; twice as much ends the connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Shortest silence of ours that a peer may ask for.
pub const PEER_IDLE_TIMEOUT_MIN: Duration = Duration::from_millis(200);
/// How long a peer may take none of the bytes that wait for it.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a connection looks at its timeouts at least.
pub const CONNECTION_TICK: Duration = Duration::from_secs(5);
/// How long connections have to say goodbye when the program ends.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Rows of the recorder (a contract with those who read it).
pub const RECORDER_ROWS_MAX: usize = 2_000_000;
/// Bytes of a recorded key; a longer one is recorded as none.
pub const RECORD_KEY_BYTES_MAX: usize = 256;
/// How long a request's head, and then its body, may take to come in on the HTTP port.
pub const HTTP_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request body on the HTTP port.
pub const HTTP_BODY_BYTES_MAX: usize = 64 << 10;
/// Messages that the HTTP port shows at once.
pub const HTTP_MESSAGES_MAX: usize = 1000;

//! Every bound of the program, in one place. Values of daprd are daprd's.

use std::time::Duration;

/// Longest span of time that a setting or a flag in seconds can mean; more counts as this. One year: nobody can tell it
/// from a longer one, and every sum with it can be counted.
pub const SETTING_SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Nesting of JSON that Go's decoder takes (`encoding/json`, `maxNestingDepth`).
pub const JSON_NESTING_DEPTH_MAX: usize = 10_000;

/// Largest body of a request when `--max-body-size` is not given (daprd: 4 MiB).
pub const BODY_BYTES_DEFAULT: usize = 4 << 20;

/// Bytes of request headers when `--read-buffer-size` is not given (daprd: 4 KiB).
pub const HEADER_BYTES_DEFAULT: usize = 4 << 10;

/// hyper's least buffer for a request's head.
pub const BUFFER_BYTES_MIN: usize = 8192;
/// What Go adds to its limit of header bytes (`net/http`, `initialReadLimitSize`).
pub const HEADER_BYTES_SLOP: usize = 4096;
/// Longest wait for a whole request head, from the accept or, later on a connection, from its first byte (daprd's
/// ReadHeaderTimeout: 10 s). Between two requests a connection may be idle for ever, as in daprd.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, for example because all file descriptors are in use.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Free ports that are tried until one is free at every address of the API.
pub const FREE_PORT_TRIES_MAX: usize = 16;

/// Bytes of a body beyond the limit that are read and thrown away, so that the client sees the answer.
pub const BODY_DRAIN_BYTES_MAX: usize = 256 << 20;

/// Largest component, secret or configuration file that is read.
pub const RESOURCE_FILE_BYTES_MAX: u64 = 4 << 20;

/// Components in all resource paths together.
pub const COMPONENTS_MAX: usize = 1_000;

/// How long a component may take to start unless `spec.initTimeout` says otherwise (daprd: 5 s).
pub const COMPONENT_INIT_TIMEOUT: Duration = Duration::from_secs(5);

/// First and longest pause between two tries to reach a component's service while it starts.
pub const COMPONENT_INIT_RETRY: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(800));

/// Pause between two tries to reach the app's port, and how long one try may take (daprd: 100 ms, 500 ms).
pub const APP_DIAL_INTERVAL: Duration = Duration::from_millis(100);
/// See [`APP_DIAL_INTERVAL`].
pub const APP_DIAL_TIMEOUT: Duration = Duration::from_millis(500);
/// A log line says that the app is awaited after this many tries (daprd: 100).
pub const APP_DIAL_LOG_EVERY: u64 = 100;

/// Connections to the app, and how many of them are kept when idle (daprd: 1024, 64).
pub const APP_CONNECTIONS_MAX: usize = 1024;
/// See [`APP_CONNECTIONS_MAX`].
pub const APP_IDLE_CONNECTIONS_MAX: usize = 64;
/// Bytes of an app's answer that are kept. Of the answer to a delivery nothing but the status is used.
pub const APP_RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Bytes of an app's answer that go into a log line.
pub const APP_RESPONSE_LOG_BYTES_MAX: usize = 512;

/// Idle connections kept to one blob store, and for how long.
pub const BLOB_IDLE_CONNECTIONS_MAX: usize = 256;
/// See [`BLOB_IDLE_CONNECTIONS_MAX`].
pub const BLOB_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// One try of a call to the blob store.
pub const BLOB_TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before the first retry of a call to the blob store; it doubles (azcore: 0.8 s, at most 60 s).
pub const BLOB_RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(60));
/// Largest blob that is written in one request; the same bound as Azure's for a single upload (256 MiB in azblob).
pub const BLOB_BYTES_MAX: usize = 256 << 20;
/// Most blobs of one page of a list (Azure: 5,000).
pub const BLOB_LIST_PAGE_MAX: i32 = 5_000;

/// One try to connect to the broker.
pub const BROKER_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the brokers may take to close their connections when the program ends.
pub const BROKER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a receiving link that could not be opened is tried again, at first and at most, and its growth
/// (dapr/kit's retry).
pub const LINK_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// See [`LINK_PAUSE`].
pub const LINK_PAUSE_FACTOR: f64 = 1.5;
/// Growth of the pause between two tries to send, and its bound (cenkalti/backoff's defaults).
pub const SEND_PAUSE_FACTOR: f64 = 1.5;
/// See [`SEND_PAUSE_FACTOR`].
pub const SEND_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Finished deliveries that are counted at once.
pub const DONE_BATCH: usize = 1024;
/// Locks that are renewed at the same time (daprd: 20).
pub const LOCK_RENEWALS_MAX: usize = 20;
/// Failed deliveries that pass at once before their rate is held down (uber-go/ratelimit's slack: 10).
pub const RETRIABLE_ERRORS_SLACK: u32 = 10;
/// How long the last settlements may take after the app answered, when the program stops (daprd: 400 ms).
pub const STOP_SETTLE_GRACE: Duration = Duration::from_millis(400);
/// `--app-max-concurrency` beyond this changes nothing.
pub const APP_CONCURRENCY_MAX: usize = 1 << 20;
/// Largest maxActiveMessages that a component may ask for.
pub const ACTIVE_MESSAGES_MAX: u32 = 100_000;

/// Keys that `PUT /v1.0/metadata/{key}` may add.
pub const METADATA_KEYS_MAX: usize = 1_000;
/// Paths of calls that metrics tell apart; daprd has no bound.
pub const METRIC_PATHS_MAX: usize = 1_000;

/// Spans that wait to be sent, how many are sent at once, and how often (OpenTelemetry's batch processor).
pub const SPANS_QUEUED_MAX: usize = 2_048;
/// See [`SPANS_QUEUED_MAX`].
pub const SPAN_BATCH_MAX: usize = 512;
/// See [`SPANS_QUEUED_MAX`].
pub const SPAN_BATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long a batch of spans may take to be sent, and the last of them when the program ends.
pub const SPAN_SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`SPAN_SEND_TIMEOUT`].
pub const SPAN_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Circuit breakers that are kept for the methods of one application, unless it says otherwise, and applications that
/// have some (daprd: 100).
pub const ENDPOINT_BREAKERS_DEFAULT: usize = 100;

/// How long the Dapr of an application that is called is waited for (daprd's multicast DNS: 1 s), and how often it is
/// looked for.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(1);
/// See [`NAME_TIMEOUT`].
pub const NAME_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of a file that tells where a Dapr is.
pub const NAME_FILE_BYTES_MAX: u64 = 256;
/// One try to connect to another Dapr, and idle connections that are kept to it.
pub const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`PEER_CONNECT_TIMEOUT`].
pub const PEER_IDLE_CONNECTIONS_MAX: usize = 64;

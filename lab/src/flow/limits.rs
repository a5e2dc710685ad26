//! The bounds of the measured flow, each with its reason. No other number of this kind stands in the module.

use std::time::Duration;

/// Concurrent keep-alive connections to Dapr and to the blob store: enough to keep two cores busy, few enough that
/// an emulator of one core is not drowned.
pub const CONNECTIONS: usize = 48;

/// How long a connection may be idle and still be used again. Azurite ends one that was idle for 5 s (Node's default), and through
/// a forwarded port of a cluster its end is seen late: a request that is on its way then gets no answer.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(2);

/// Time for one request, from the first byte sent to the last received. Azurite under load needs seconds.
pub const REQUEST: Duration = Duration::from_secs(30);

/// Answers are read up to this many bytes; a blob or a chunk of orders is far below.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Characters of a refused request's answer that an error shows.
pub const ANSWER_SHOWN: usize = 300;

/// One line of a recorder; longer ones are refused.
pub const RECORDER_LINE_BYTES: usize = 64 * 1024;

/// Encoded size of one chunk of the data set. daprd takes bodies up to 4 MiB, and escaping may make text longer.
pub const CHUNK_BYTES: usize = 1024 * 1024 - 64 * 1024;

/// Chunks that are read at the same time: each is some MB while it is compared.
pub const CHUNKS_READ: usize = 4;

/// Chunks that a manifest may name: 1,000,000 orders need about 700.
pub const CHUNKS: usize = 10_000;

/// Orders of one data set.
pub const ORDERS: u64 = 1_000_000;

/// Orders of a steady run that are due in a second: above, a millisecond has more of them than the lab can send in one.
pub const RATE: u32 = 50_000;

/// How long the orders of a steady run may be under way: each waits in the broker until it is due.
pub const SPAN: Duration = Duration::from_secs(4 * 3600);

/// Orders of the warm-up, from whose sending the time for all is estimated.
pub const WARM_UP: u64 = 200;

/// From the warm-up's first send to the instant for which it is scheduled.
pub const WARM_UP_LEAD: Duration = Duration::from_millis(300);

/// Time for the warm-up to pass the whole flow.
pub const WARM_UP_DEADLINE: Duration = Duration::from_secs(60);

/// Assumed time for one send where no warm-up measured it.
pub const SEND_ASSUMED: Duration = Duration::from_micros(400);

/// The least time between the first send and T0.
pub const LEAD_LEAST: Duration = Duration::from_millis(500);

/// The most time between the first send and T0; a lab that needs more is broken.
pub const LEAD_MOST: Duration = Duration::from_secs(600);

/// The lead is this often the estimate of the time for all sends.
pub const LEAD_FACTOR: u32 = 2;

/// The lead of the second attempt is this often the time that the first one showed to be needed.
pub const LEAD_FACTOR_AGAIN: u32 = 3;

/// Attempts at having every order scheduled before T0.
pub const ATTEMPTS: u32 = 2;

/// Between two looks at the queues while a run is measured.
pub const WATCH: Duration = Duration::from_millis(50);

/// Between two samples of CPU and memory while a run is measured.
pub const USAGE: Duration = Duration::from_millis(500);

/// Points of one time series; beyond that every second one is dropped and the interval doubled.
pub const SERIES_POINTS: usize = 2_000;

/// How long before T0 the measuring starts, so that the samples are of a lab at rest.
pub const BEFORE_T0: Duration = Duration::from_millis(30);

/// A run may take this long whatever its size.
pub const DEADLINE_BASE: Duration = Duration::from_secs(60);

/// And this much more for each order: five times what Azurite needs with 10,000 blobs in it.
pub const DEADLINE_PER_ORDER: Duration = Duration::from_millis(40);

/// No queue moved for so long: longer than twice the longest lock, so that a lost delivery had its second chance.
pub const STALL: Duration = Duration::from_secs(150);

/// Requests from which a clock's offset is taken; the quickest one counts.
pub const CLOCK_REQUESTS: usize = 15;

/// The greatest latency that a histogram tells apart.
pub const LATENCY_MOST: Duration = Duration::from_secs(3600);

/// Order ids that a finding shows as examples.
pub const EXAMPLES: usize = 10;

/// Names of blobs in one page of a list; the service's own maximum.
pub const LIST_PAGE: usize = 5_000;

/// Pages of one list: more than the recorder's rows would fill.
pub const LIST_PAGES: usize = 1_000;

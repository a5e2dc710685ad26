//! Where a case expects something else of a real daprd than of the emulator: each such place has its name here, and the
//! emulator's README says why.

/// A stop closes output bindings at once; a call to one while the last messages are finished is refused.
pub const OUTPUTS_CLOSE_FIRST: &str = "a stop closes its output bindings while deliveries are in flight";

/// Messages that arrive while a stop waits for those in flight are taken and given back, again and again.
pub const STOP_GOES_ON_RECEIVING: &str = "a stop goes on to receive and gives back what comes";

/// A stop that has to cut something off leaves its messages to the end of their locks.
pub const STOP_LEAVES_LOCKS: &str = "a stop that is forced leaves its messages locked";

/// Now and then a stop leaves the message locked that was on its way to it.
pub const STOP_LOSES_SIGHT: &str = "a stop may leave the message locked that was on its way";

/// Its log has no line for a link that broke, or has it after minutes.
pub const OWN_LOG_LINES: &str = "its log has other lines";

/// The SDK below it tries for minutes; its error then is that of the deadline.
pub const OWN_SEND_ERRORS: &str = "its errors of sending are its SDK's";

/// One connection to the broker for each component and direction that is used.
pub const OWN_CONNECTIONS: &str = "it has a connection for each component and direction";

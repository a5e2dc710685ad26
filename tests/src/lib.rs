//! What the test targets share: waiting for a condition, and saying why a case does not run.
//!
//! It must not know a process, a pid, a pod or a back end.

pub mod skips;

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Looks at `condition` until it gives a value, for `deadline` at most.
///
/// # Panics
/// At the deadline, with what was waited for and the last status that `condition` gave instead of a value.
pub async fn until<T, S, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> T
where
    S: Debug,
    F: Future<Output = Result<T, S>>,
{
    let start = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(status) if start.elapsed() > deadline => {
                panic!("waited {deadline:?} for {what}; last status: {status:?}")
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

//! How an entity tells a connection that one of its links can have messages.
//!
//! It must not carry messages: a woken link comes and takes what is there.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A link within its connection: channel and handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId {
    /// The session's channel.
    pub channel: u16,
    /// The link's handle.
    pub handle: u32,
}

/// A connection's bell.
#[derive(Debug, Default)]
pub struct Wake {
    links: Mutex<Vec<LinkId>>,
    bell: Notify,
}

impl Wake {
    /// Wakes the connection for a link.
    pub fn ring(&self, link: LinkId) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        self.bell.notify_one();
    }

    /// Waits until rung.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The links for which it was rung.
    pub fn take(&self, into: &mut Vec<LinkId>) {
        into.append(&mut self.links.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

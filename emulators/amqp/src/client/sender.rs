//! The handle of a link on which messages go out.

use bytes::Bytes;

use super::link::{Kind, LinkId, SendLink};
use super::session::Command;
use super::{ClientError, Connection};
use crate::performative::DeliveryState;

/// Sends messages to one node. Every send may be awaited by itself; concurrent sends leave in one write, in the order
/// in which they were begun. Detaches when dropped.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    link: LinkId,
}

impl Sender {
    pub(super) async fn attach(connection: Connection, node: &str) -> Result<Self, ClientError> {
        let kind = Kind::Sender(SendLink::default());
        let attach = |reply| Command::Attach { node: node.into(), reply_to: None, kind, reply };
        let link = connection.ask(attach).await?;
        Ok(Self { connection, link })
    }

    pub(super) async fn attach_settled(connection: Connection, node: &str) -> Result<Self, ClientError> {
        let kind = Kind::Sender(SendLink { settled: true, ..SendLink::default() });
        let attach = |reply| Command::Attach { node: node.into(), reply_to: None, kind, reply };
        let link = connection.ask(attach).await?;
        Ok(Self { connection, link })
    }

    /// Sends an encoded message and waits for the state that the peer settles it with. On a link that settles with
    /// the transfer the state is `Accepted` as soon as the message is on its way.
    ///
    /// # Errors
    /// When the link or the connection ends before the peer has settled; the message may have arrived then.
    pub async fn send(&self, message: Bytes) -> Result<DeliveryState, ClientError> {
        self.connection.ask(|reply| Command::Send { link: self.link, message, reply }).await
    }

    /// Ends the link and waits until the peer has ended it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn detach(self) -> Result<(), ClientError> {
        self.connection.ask(|reply| Command::Detach { link: self.link, reply: Some(reply) }).await
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // When there is no room for the command the link stays until the connection ends; a full channel means that
        // the connection is in trouble anyway.
        let _ = self.connection.commands.try_send(Command::Detach { link: self.link, reply: None });
    }
}

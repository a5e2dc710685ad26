//! The handle of a link on which messages come in.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::link::{Kind, LinkId, ReceiveLink};
use super::session::Command;
use super::{ClientError, Connection};
use crate::performative::DeliveryState;

/// How a receiving link settles.
#[derive(Debug, Clone, Default)]
pub struct ReceiverOptions {
    /// The peer settles with the transfer (Service Bus: receive and delete). Otherwise each delivery is settled by
    /// [`Receiver::settle`], and the peer answers to it (Service Bus: peek-lock).
    pub pre_settled: bool,
    /// Address at which answers to requests arrive on this link.
    pub(super) reply_to: Option<String>,
}

/// A message that came in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its number on the session, for [`Receiver::settle`].
    pub id: u32,
    /// Its tag; Service Bus puts the lock token here.
    pub tag: Bytes,
    /// The encoded message.
    pub message: Bytes,
    /// Whether the peer has settled it already.
    pub settled: bool,
}

/// Receives messages from one node. Detaches when dropped.
#[derive(Debug)]
pub struct Receiver {
    deliveries: mpsc::UnboundedReceiver<Result<Delivery, ClientError>>,
    settler: Settler,
    _guard: Guard,
}

/// Settles deliveries of a [`Receiver`], from any task.
#[derive(Debug, Clone)]
pub struct Settler {
    connection: Connection,
    link: LinkId,
}

#[derive(Debug)]
struct Guard(Settler);

impl Receiver {
    pub(super) async fn attach(
        connection: Connection,
        node: &str,
        options: ReceiverOptions,
    ) -> Result<Self, ClientError> {
        // The queue is bounded by the credit that this handle grants.
        let (sender, deliveries) = mpsc::unbounded_channel();
        let kind = Kind::Receiver(ReceiveLink {
            delivery_count: 0,
            credit: 0,
            deliveries: sender,
            partial: None,
            draining: Vec::new(),
            pre_settled: options.pre_settled,
        });
        let reply_to = options.reply_to;
        let attach = |reply| Command::Attach { node: node.into(), reply_to, kind, reply };
        let link = connection.ask(attach).await?;
        let settler = Settler { connection, link };
        Ok(Self { deliveries, _guard: Guard(settler.clone()), settler })
    }

    /// Allows the peer `count` more deliveries.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn add_credit(&self, count: u32) -> Result<(), ClientError> {
        self.settler.add_credit(count).await
    }

    /// Waits for the next delivery. `None` after the error that ended the link.
    pub async fn receive(&mut self) -> Option<Result<Delivery, ClientError>> {
        self.deliveries.recv().await
    }

    /// The next delivery, if one is there already.
    pub fn try_receive(&mut self) -> Option<Result<Delivery, ClientError>> {
        self.deliveries.try_recv().ok()
    }

    /// A handle that settles deliveries while this one waits for more.
    #[must_use]
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// See [`Settler::settle`].
    ///
    /// # Errors
    /// When the link or the connection ends first.
    pub async fn settle(&self, delivery_id: u32, state: DeliveryState) -> Result<DeliveryState, ClientError> {
        self.settler.settle(delivery_id, state).await
    }

    /// Ends the link and waits until the peer has ended it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn detach(self) -> Result<(), ClientError> {
        let Settler { connection, link } = &self.settler;
        connection.ask(|reply| Command::Detach { link: *link, reply: Some(reply) }).await
    }
}

impl Settler {
    /// Tells the peer the state of a delivery and waits for the state that the peer answers with. Service Bus answers
    /// with the same state, or with `Rejected` and the reason when the lock is lost.
    ///
    /// # Errors
    /// When the link or the connection ends before the answer.
    pub async fn settle(&self, delivery_id: u32, state: DeliveryState) -> Result<DeliveryState, ClientError> {
        let link = self.link;
        self.connection.ask(|reply| Command::Settle { link, delivery_id, state, reply }).await
    }

    /// See [`Receiver::add_credit`].
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn add_credit(&self, count: u32) -> Result<(), ClientError> {
        self.connection.send(Command::Credit { link: self.link, count }).await
    }

    /// Takes all credit back and waits until the peer has seen it. Deliveries that were on their way have arrived
    /// at the [`Receiver`] then, and no other will.
    ///
    /// # Errors
    /// When the link or the connection ends first.
    pub async fn drain(&self) -> Result<(), ClientError> {
        self.connection.ask(|reply| Command::Drain { link: self.link, reply }).await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Settler { connection, link } = &self.0;
        let _ = connection.commands.try_send(Command::Detach { link: *link, reply: None });
    }
}

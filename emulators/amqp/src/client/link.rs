//! What the connection's task knows about one link.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::ClientError;
use super::receiver::Delivery;
use crate::performative::{Attach, DeliveryState, Role};

/// Names a link in commands. Handles are used again, ids are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkId {
    pub(super) handle: u32,
    pub(super) generation: u64,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, ClientError>>;

/// A message that waits for credit.
pub(super) struct PendingSend {
    pub(super) message: Bytes,
    pub(super) reply: Reply<DeliveryState>,
}

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) name: String,
    pub(super) node: Arc<str>,
    /// Who waits for the peer's attach; gone once it came.
    pub(super) attaching: Option<Reply<LinkId>>,
    /// The peer refused: its attach had no terminus, its detach says why.
    pub(super) refused: bool,
    /// Who waits for the peer's detach, after ours was sent.
    pub(super) detaching: Option<Option<Reply<()>>>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Sender(SendLink),
    Receiver(ReceiveLink),
}

#[derive(Default)]
pub(super) struct SendLink {
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) pending: VecDeque<PendingSend>,
    /// Set on links whose messages need no settlement.
    pub(super) settled: bool,
}

pub(super) struct ReceiveLink {
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) deliveries: mpsc::UnboundedSender<Result<Delivery, ClientError>>,
    pub(super) partial: Option<Partial>,
    pub(super) draining: Vec<Reply<()>>,
    /// The peer settles with the transfer.
    pub(super) pre_settled: bool,
}

/// A message whose last transfer has not come yet.
pub(super) struct Partial {
    pub(super) delivery_id: u32,
    pub(super) tag: Bytes,
    pub(super) settled: bool,
    pub(super) message: BytesMut,
}

impl Link {
    pub(super) fn role(&self) -> Role {
        match self.kind {
            Kind::Sender(_) => Role::Sender,
            Kind::Receiver(_) => Role::Receiver,
        }
    }

    /// Takes what the peer's attach says. Returns whether nobody wants the link any more.
    pub(super) fn attached(&mut self, attach: &Attach) -> bool {
        self.refused = match self.kind {
            Kind::Sender(_) => attach.target.is_none(),
            Kind::Receiver(_) => attach.source.is_none(),
        };
        if let Kind::Receiver(receive) = &mut self.kind {
            receive.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        }
        if self.refused {
            return false;
        }
        self.attaching.take().is_some_and(|reply| reply.send(Ok(self.id)).is_err())
    }

    /// Tells everyone who waits on this link that it is over.
    pub(super) fn fail(mut self, error: &ClientError) {
        if let Some(reply) = self.attaching.take() {
            let _ = reply.send(Err(error.clone()));
        }
        if let Some(Some(reply)) = self.detaching.take() {
            let _ = reply.send(Ok(()));
        }
        match self.kind {
            Kind::Sender(send) => {
                for pending in send.pending {
                    let _ = pending.reply.send(Err(error.clone()));
                }
            }
            Kind::Receiver(receive) => {
                for reply in receive.draining {
                    let _ = reply.send(Err(error.clone()));
                }
                let _ = receive.deliveries.send(Err(error.clone()));
            }
        }
    }
}

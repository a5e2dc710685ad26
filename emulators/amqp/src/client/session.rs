//! The session and its links: every counter of part 2, §2.5–2.6, and what commands do to them. Frames from the peer are
//! in [`dispatch`](super::dispatch).
//!
//! It must not touch the socket: what is to be sent goes to `out`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::ClientError;
use super::handshake::Established;
use super::limits::{LINKS_MAX, SENDS_PENDING_MAX, SESSION_WINDOW};
use super::link::{Kind, Link, LinkId, PendingSend, Reply};
use crate::frame::Frame;
use crate::performative::{
    AnyTarget, Attach, DeliveryState, Detach, Disposition, Flow, ReceiverSettleMode, Role, SenderSettleMode,
    Source, Target,
};

/// What handles ask the task for.
pub(super) enum Command {
    /// Attach a link.
    Attach {
        node: Arc<str>,
        reply_to: Option<String>,
        kind: Kind,
        reply: Reply<LinkId>,
    },
    Send {
        link: LinkId,
        message: Bytes,
        reply: Reply<DeliveryState>,
    },
    Settle {
        link: LinkId,
        delivery_id: u32,
        state: DeliveryState,
        reply: Reply<DeliveryState>,
    },
    Credit {
        link: LinkId,
        count: u32,
    },
    Drain {
        link: LinkId,
        reply: Reply<()>,
    },
    Detach {
        link: LinkId,
        reply: Option<Reply<()>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Why the task ends.
pub(super) enum End {
    Lost(ClientError),
    Closed(Option<oneshot::Sender<()>>),
}

/// A message of ours that the peer has not settled yet.
pub(super) struct Unsettled {
    pub(super) link: LinkId,
    pub(super) reply: Reply<DeliveryState>,
}

/// Acceptances of neighbouring deliveries, which leave as one disposition.
pub(super) struct Accepting {
    link: LinkId,
    first: u32,
    last: u32,
}

pub(super) struct Session {
    pub(super) address: Arc<str>,
    pub(super) out: BytesMut,
    pub(super) peer_max_frame_bytes: u32,
    pub(super) next_outgoing_id: u32,
    /// Transfers that the peer's session takes before it says more.
    pub(super) peer_window: u32,
    pub(super) peer_window_announced: u32,
    pub(super) next_incoming_id: u32,
    /// By our handle.
    pub(super) links: Vec<Option<Link>>,
    pub(super) by_peer_handle: HashMap<u32, u32>,
    pub(super) generation: u64,
    pub(super) next_delivery_id: u32,
    pub(super) unsettled: HashMap<u32, Unsettled>,
    /// Deliveries that we told a state, until the peer settles them.
    pub(super) settling: HashMap<u32, Unsettled>,
    pub(super) accepting: Option<Accepting>,
}

impl Session {
    pub(super) fn new(address: Arc<str>, established: &Established) -> Self {
        Self {
            address,
            out: BytesMut::new(),
            peer_max_frame_bytes: established.peer_max_frame_bytes,
            next_outgoing_id: 0,
            peer_window: established.peer_incoming_window,
            peer_window_announced: established.peer_incoming_window,
            next_incoming_id: established.peer_next_outgoing_id,
            links: Vec::new(),
            by_peer_handle: HashMap::new(),
            generation: 0,
            next_delivery_id: 0,
            unsettled: HashMap::new(),
            settling: HashMap::new(),
            accepting: None,
        }
    }

    pub(super) fn lost(&self, reason: &str) -> ClientError {
        ClientError::ConnectionLost { address: Arc::clone(&self.address), reason: reason.into() }
    }

    pub(super) fn fail_all(&mut self, error: &ClientError) {
        for link in self.links.drain(..).flatten() {
            link.fail(error);
        }
        for (_, waiting) in self.unsettled.drain().chain(self.settling.drain()) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }

    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.links.get_mut(id.handle as usize)?.as_mut()?;
        (link.id == id && link.detaching.is_none()).then_some(link)
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Attach { node, reply_to, kind, reply } => self.attach(node, reply_to, kind, reply),
            Command::Send { link, message, reply } => self.send(link, PendingSend { message, reply }),
            Command::Settle { link, delivery_id, state, reply } => {
                self.settle(link, delivery_id, state, reply);
            }
            Command::Credit { link, count } => {
                let Some(Kind::Receiver(receive)) = self.link(link).map(|link| &mut link.kind) else {
                    return;
                };
                receive.credit = receive.credit.saturating_add(count);
                let (delivery_count, credit) = (receive.delivery_count, receive.credit);
                self.put_flow(Some((link.handle, delivery_count, credit)), false);
            }
            Command::Drain { link, reply } => {
                let Some(Kind::Receiver(receive)) = self.link(link).map(|link| &mut link.kind) else {
                    let _ = reply.send(Ok(()));
                    return;
                };
                receive.draining.push(reply);
                let (delivery_count, credit) = (receive.delivery_count, receive.credit);
                self.put_flow(Some((link.handle, delivery_count, credit)), true);
            }
            Command::Detach { link: id, reply } => {
                let Some(link) = self.link(id) else {
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(()));
                    }
                    return;
                };
                link.detaching = Some(reply);
                self.flush_accepted();
                let detach = Detach { handle: id.handle, closed: true, error: None };
                Frame::put(&mut self.out, 0, &detach.into());
            }
            Command::Close { .. } => {}
        }
    }

    fn attach(&mut self, node: Arc<str>, reply_to: Option<String>, kind: Kind, reply: Reply<LinkId>) {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        let Some(handle) = u32::try_from(free).ok().filter(|_| free < LINKS_MAX) else {
            let _ = reply.send(Err(ClientError::Limit { limit: LINKS_MAX, what: "links" }));
            return;
        };
        self.generation += 1;
        let id = LinkId { handle, generation: self.generation };
        let name = format!("{node}-{}", self.generation);
        let role = if matches!(kind, Kind::Sender(_)) { Role::Sender } else { Role::Receiver };
        let settled = match &kind {
            Kind::Sender(send) => send.settled,
            Kind::Receiver(receive) => receive.pre_settled,
        };
        // The other terminus is only a name, except where it is the address for answers.
        let own = reply_to.unwrap_or_else(|| name.clone());
        let (source, target) = match role {
            Role::Sender => (Source::at(&own), Target::at(&node)),
            Role::Receiver => (Source::at(&node), Target::at(&own)),
        };
        let attach = Attach {
            name: name.clone(),
            handle,
            role,
            snd_settle_mode: if settled { SenderSettleMode::Settled } else { SenderSettleMode::Unsettled },
            rcv_settle_mode: match (role, settled) {
                (Role::Receiver, false) => ReceiverSettleMode::Second,
                _ => ReceiverSettleMode::First,
            },
            source: Some(source),
            target: Some(AnyTarget::Node(target)),
            unsettled: None,
            incomplete_unsettled: None,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        Frame::put(&mut self.out, 0, &attach.into());
        let link = Link { id, name, node, attaching: Some(reply), refused: false, detaching: None, kind };
        match self.links.get_mut(free) {
            Some(slot) => *slot = Some(link),
            None => self.links.push(Some(link)),
        }
    }

    pub(super) fn put_flow(&mut self, link: Option<(u32, u32, u32)>, drain: bool) {
        let flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: SESSION_WINDOW,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: SESSION_WINDOW,
            handle: link.map(|(handle, _, _)| handle),
            delivery_count: link.map(|(_, delivery_count, _)| delivery_count),
            link_credit: link.map(|(_, _, credit)| credit),
            available: None,
            drain,
            echo: drain,
            properties: None,
        };
        Frame::put(&mut self.out, 0, &flow.into());
    }

    /// Remembers an acceptance so that its neighbours can go with it, and sends any other state at once.
    fn settle(&mut self, link: LinkId, delivery_id: u32, state: DeliveryState, reply: Reply<DeliveryState>) {
        if self.link(link).is_none() {
            let _ = reply.send(Err(ClientError::detached("a link that ended", None)));
            return;
        }
        self.settling.insert(delivery_id, Unsettled { link, reply });
        if state == DeliveryState::Accepted {
            if let Some(accepting) = &mut self.accepting
                && accepting.link == link
                && accepting.last.wrapping_add(1) == delivery_id
            {
                accepting.last = delivery_id;
                return;
            }
            self.flush_accepted();
            self.accepting = Some(Accepting { link, first: delivery_id, last: delivery_id });
        } else {
            self.flush_accepted();
            self.put_disposition(Role::Receiver, delivery_id, delivery_id, false, state);
        }
    }

    pub(super) fn flush_accepted(&mut self) {
        if let Some(Accepting { first, last, .. }) = self.accepting.take() {
            self.put_disposition(Role::Receiver, first, last, false, DeliveryState::Accepted);
        }
    }

    pub(super) fn put_disposition(
        &mut self,
        role: Role,
        first: u32,
        last: u32,
        settled: bool,
        state: DeliveryState,
    ) {
        let last = (last != first).then_some(last);
        let disposition = Disposition { role, first, last, settled, state: Some(state), batchable: false };
        Frame::put(&mut self.out, 0, &disposition.into());
    }

    fn send(&mut self, id: LinkId, pending: PendingSend) {
        let Some(Link { kind: Kind::Sender(send), .. }) = self.link(id) else {
            let _ = pending.reply.send(Err(ClientError::detached("a link that ended", None)));
            return;
        };
        if send.pending.len() >= SENDS_PENDING_MAX {
            let error =
                ClientError::Limit { limit: SENDS_PENDING_MAX, what: "messages that wait for credit" };
            let _ = pending.reply.send(Err(error));
            return;
        }
        send.pending.push_back(pending);
        self.pump(id);
    }
}

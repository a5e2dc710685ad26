//! A session: its windows, its links, and what is said once for many deliveries.
//!
//! Settlements in both directions are gathered while the frames of one read are worked off, so that neighbours share one
//! disposition. It must not read or write a socket, nor decide what a settlement does to a message.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use amqp::Frame;
use amqp::performative::{Begin, DeliveryState, Detach, Disposition, End, Error, Flow, Performative, Role};
use bytes::{BufMut, Bytes, BytesMut};

use super::context::Context;
use super::error::{Fatal, condition};
use super::link::{Incoming, Link, Node, Outgoing};
use super::transfer::{self, TransferHead};
use super::unsettled::{Deliveries, Unsettled};
use crate::broker::entity::{Entity, Waiter};
use crate::broker::wake::LinkId;
use crate::limits::{DELIVERY_BATCH_MAX, HANDLE_MAX, INCOMING_WINDOW, OUT_BYTES_HIGH, SENDER_CREDIT};
use crate::message::{self, Stamp};

/// Neighbouring deliveries about which the same is to be said.
#[derive(Debug)]
struct Gathered {
    role: Role,
    first: u32,
    last: u32,
    state: DeliveryState,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    pub(super) channel: u16,
    next_incoming_id: u32,
    /// Transfers that the peer may send until it is told of new room.
    incoming_room: u32,
    next_outgoing_id: u32,
    /// Transfers that the peer takes now.
    outgoing_room: u32,
    /// By handle; the peer chose them, and the same numbers are used in both directions. It may choose high ones, so
    /// that links, and not handles, take memory.
    pub(super) links: BTreeMap<u32, Box<Link>>,
    pub(super) deliveries: Deliveries,
    /// What is to be said of deliveries of the peer.
    received: Option<Gathered>,
    /// What is to be said of deliveries to the peer.
    echoed: Option<Gathered>,
    /// The rest of a message that began when the peer's window closed, and its link. While it waits there is no room,
    /// and without room no other message begins.
    stalled: VecDeque<(u32, Bytes)>,
    /// Whether it was ended here; what the client sent before it learns of that is passed over.
    ended: bool,
}

impl Session {
    /// Answers a begin.
    pub fn begin(context: &mut Context, channel: u16, begin: &Begin) -> Self {
        const FIRST_OUTGOING_ID: u32 = 1;
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: FIRST_OUTGOING_ID,
            incoming_window: INCOMING_WINDOW,
            outgoing_window: INCOMING_WINDOW,
            handle_max: HANDLE_MAX,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        Frame::put(&mut context.out, channel, &answer.into());
        Self {
            channel,
            next_incoming_id: begin.next_outgoing_id,
            incoming_room: INCOMING_WINDOW,
            next_outgoing_id: FIRST_OUTGOING_ID,
            outgoing_room: begin.incoming_window,
            links: BTreeMap::new(),
            deliveries: Deliveries::default(),
            received: None,
            echoed: None,
            stalled: VecDeque::new(),
            ended: false,
        }
    }

    /// Whether it was ended here, and the client has not answered yet.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Ends the session from this side, telling why.
    pub fn fail(&mut self, context: &mut Context, fatal: &Fatal) {
        self.flush(context);
        self.end(context);
        self.ended = true;
        self.put(context, End { error: Some(fatal.to_error()) });
    }

    fn put(&self, context: &mut Context, performative: impl Into<Performative>) {
        Frame::put(&mut context.out, self.channel, &performative.into());
    }

    /// Counts a transfer frame that came in, and makes room for more when half of it is used.
    pub(super) fn count_incoming(&mut self, context: &mut Context) {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_room = self.incoming_room.saturating_sub(1);
        if self.incoming_room < INCOMING_WINDOW / 2 {
            self.put_flow(context, None);
        }
    }

    /// The link under a handle, where frames other than attach need one.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn link(&mut self, handle: u32) -> Result<&mut Link, Fatal> {
        self.links.get_mut(&handle).map(|link| &mut **link).ok_or_else(|| {
            Fatal::new(condition::UNATTACHED_HANDLE, format!("no link is attached under handle {handle}"))
        })
    }

    fn outgoing(&mut self, handle: u32) -> Option<&mut Outgoing> {
        match self.link(handle) {
            Ok(Link::Outgoing(link)) => Some(link),
            _ => None,
        }
    }

    /// Tells the peer the session's windows and, with a handle, the state of that link.
    fn put_flow(&mut self, context: &mut Context, handle: Option<u32>) {
        self.incoming_room = INCOMING_WINDOW;
        let (mut delivery_count, mut link_credit, mut drain) = (None, None, false);
        match handle.map(|handle| self.link(handle)) {
            Some(Ok(Link::Incoming(link))) => {
                delivery_count = Some(link.delivery_count);
                link_credit = Some(link.credit);
            }
            Some(Ok(Link::Outgoing(link))) => {
                delivery_count = Some(link.delivery_count);
                link_credit = Some(link.credit);
                drain = link.drain;
            }
            _ => {}
        }
        let flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: self.incoming_room,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: INCOMING_WINDOW,
            handle: handle.filter(|_| link_credit.is_some()),
            delivery_count,
            link_credit,
            available: delivery_count.map(|_| 0),
            drain,
            echo: false,
            properties: None,
        };
        self.put(context, flow);
    }

    /// Gives a link on which messages come in its full credit, when half of it is used or `always`.
    pub(super) fn replenish(&mut self, context: &mut Context, handle: u32, always: bool) {
        let Ok(Link::Incoming(link)) = self.link(handle) else { return };
        if always || link.credit <= SENDER_CREDIT / 2 {
            link.credit = SENDER_CREDIT;
            self.put_flow(context, Some(handle));
        }
    }

    /// Works off a flow of the peer.
    ///
    /// # Errors
    /// When it names no link.
    pub fn on_flow(&mut self, context: &mut Context, flow: &Flow) -> Result<(), Fatal> {
        // Room is what the peer had when it had seen `next_incoming_id`, less what is on its way since.
        let was_blocked = self.outgoing_room == 0;
        let seen = flow.next_incoming_id.unwrap_or(self.next_outgoing_id);
        let in_flight = self.next_outgoing_id.wrapping_sub(seen);
        self.outgoing_room = flow.incoming_window.saturating_sub(in_flight);
        self.send_stalled(context);
        let mut serve: Option<u32> = None;
        if let Some(handle) = flow.handle {
            match self.link(handle)? {
                Link::Outgoing(link) => {
                    if let Some(credit) = flow.link_credit {
                        let sent =
                            flow.delivery_count.map_or(0, |count| link.delivery_count.wrapping_sub(count));
                        link.credit = credit.saturating_sub(sent);
                        link.drain = flow.drain;
                    }
                    serve = Some(handle);
                }
                // A client need not wait for the answer to its attach.
                Link::Accepting(link) => link.credit = flow.link_credit.map(|credit| (credit, flow.drain)),
                Link::Incoming(_) | Link::Ended => {}
            }
        }
        if let Some(handle) = serve {
            self.serve(context, handle);
        }
        if was_blocked {
            self.serve_all(context);
        }
        let answered = serve.is_some_and(|handle| self.finish_drain(context, handle));
        if flow.echo && !answered {
            self.put_flow(context, flow.handle);
        }
        Ok(())
    }

    /// Sends what did not fit the peer's window before.
    fn send_stalled(&mut self, context: &mut Context) {
        while self.outgoing_room > 0 {
            let Some((_, frame)) = self.stalled.pop_front() else { break };
            self.count_outgoing();
            context.out.put_slice(&frame);
        }
    }

    fn count_outgoing(&mut self) {
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.outgoing_room = self.outgoing_room.saturating_sub(1);
    }

    /// Gives every link a chance: there is new room.
    fn serve_all(&mut self, context: &mut Context) {
        let wants = |link: &Link| matches!(link, Link::Outgoing(link) if link.credit > 0 || link.drain);
        let handles: Vec<u32> =
            self.links.iter().filter(|(_, link)| wants(link)).map(|(handle, _)| *handle).collect();
        for handle in handles {
            self.on_ready(context, handle);
        }
    }

    /// Ends a drain when nothing is left to deliver: the rest of the credit is gone. Returns whether the peer was told.
    fn finish_drain(&mut self, context: &mut Context, handle: u32) -> bool {
        let link_id = LinkId { channel: self.channel, handle };
        let delayed = self.outgoing_room == 0 || context.ready.contains(&link_id);
        match self.outgoing(handle) {
            Some(link) if link.drain && !delayed => {
                let rest = link.credit;
                link.sent(rest);
                self.put_flow(context, Some(handle));
                if let Some(link) = self.outgoing(handle) {
                    link.drain = false;
                }
                true
            }
            _ => false,
        }
    }

    /// An entity has told that a link may have messages.
    pub fn on_woken(&mut self, context: &mut Context, handle: u32) {
        if matches!(self.link(handle), Ok(Link::Accepting(_))) {
            self.retry_accept(context, handle);
        } else if let Some(link) = self.outgoing(handle) {
            link.waiting = false;
            self.on_ready(context, handle);
        }
    }

    /// A link's next turn has come.
    pub fn on_ready(&mut self, context: &mut Context, handle: u32) {
        self.serve(context, handle);
        self.finish_drain(context, handle);
    }

    /// Sends on a link what there is, as far as credit and windows go, for one turn.
    pub(super) fn serve(&mut self, context: &mut Context, handle: u32) {
        let Some(link) = self.outgoing(handle) else { return };
        match link.node.clone() {
            Node::Responder(_) => self.serve_answers(context, handle),
            Node::Entity(entity) => self.serve_entity(context, handle, &entity),
        }
    }

    fn serve_entity(&mut self, context: &mut Context, handle: u32, entity: &Entity) {
        let Some(link) = self.outgoing(handle) else { return };
        let credit = usize::try_from(link.credit).unwrap_or(usize::MAX);
        let (mode, drain, waiting, session) = (link.mode(), link.drain, link.waiting, link.session);
        let room = usize::try_from(self.outgoing_room).unwrap_or(usize::MAX);
        let max = credit.min(room).min(DELIVERY_BATCH_MAX);
        let link_id = LinkId { channel: self.channel, handle };
        let waiter = Waiter { wake: context.wake.clone(), link: link_id };
        if max == 0 && session.is_none() {
            if !waiting {
                entity.stop_waiting(&waiter);
            }
            return;
        }
        let now_us = context.now_us;
        let mut deliver = |delivery: &crate::engine::Delivery<'_>| {
            let stamp = Stamp {
                sequence_number: delivery.sequence_number,
                delivery_count: delivery.delivery_count,
                enqueued_us: delivery.enqueued_us,
                locked_until_us: delivery.lock.map(|(_, until_us)| until_us),
                lock_token: None,
                state: None,
            };
            self.put_delivery(context, handle, delivery, &stamp);
            let full = context.out.len() > OUT_BYTES_HIGH || self.outgoing_room == 0;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let received = match session {
            Some(lock) => entity.receive_in_session(now_us, lock, max, mode, !drain && max > 0, deliver),
            None => {
                let waiter = Some(waiter).filter(|_| !waiting && !drain);
                Ok(entity.receive(now_us, max, mode, waiter, &mut deliver))
            }
        };
        let Ok((delivered, waits)) = received else {
            let error = Error::new(condition::SESSION_LOCK_LOST, entity.describe_lost_session());
            return self.end_link(context, handle, error);
        };
        let turn_is_over = max > 0 && (delivered == max || context.out.len() > OUT_BYTES_HIGH);
        if let Some(link) = self.outgoing(handle) {
            link.sent(u32::try_from(delivered).unwrap_or(u32::MAX));
            link.waiting |= waits && session.is_none();
            if turn_is_over && link.credit > 0 {
                context.ready.push_back(link_id);
            }
        }
    }

    fn put_delivery(
        &mut self,
        context: &mut Context,
        handle: u32,
        delivery: &crate::engine::Delivery<'_>,
        stamp: &Stamp,
    ) {
        let delivery_id = self.deliveries.next_id();
        let token = delivery.lock.map(|(token, _)| token);
        self.deliveries.push(token.map(|token| Unsettled::Locked { handle, token }));
        let tag = token.map_or([0; 16], crate::engine::LockToken::to_delivery_tag);
        // A message that is taken needs no name: its tag is any four bytes.
        let tag = if token.is_some() { &tag[..] } else { &delivery_id.to_be_bytes()[..] };
        let head = TransferHead { channel: self.channel, handle, delivery_id, tag, settled: token.is_none() };
        let content = delivery.content;
        if transfer::fits_one_frame(content.len(), context.peer_max_frame_bytes) {
            self.count_outgoing();
            transfer::put(&mut context.out, &head, false, |out| {
                let bare = message::put_head(out, content, stamp);
                out.put_slice(bare);
            });
            return;
        }
        let whole = message::encode_whole(content, stamp);
        self.put_frames(context, &head, &whole);
    }

    /// Sends a message in as many frames as it needs; those that do not fit the peer's window wait for it. There is room
    /// for the first: a message that has not begun has no delivery id yet, so that ids have no gap when its link goes.
    fn put_frames(&mut self, context: &mut Context, head: &TransferHead<'_>, whole: &Bytes) {
        for frame in transfer::frames(head, whole, context.peer_max_frame_bytes) {
            if self.outgoing_room > 0 {
                self.count_outgoing();
                context.out.put_slice(&frame);
            } else {
                self.stalled.push_back((head.handle, frame));
            }
        }
    }

    fn serve_answers(&mut self, context: &mut Context, handle: u32) {
        while self.outgoing_room > 0 {
            let Some(link) = self.outgoing(handle) else { return };
            let settled = link.settled;
            let Some(answer) = link.pop_answer() else { return };
            let delivery_id = self.deliveries.next_id();
            self.deliveries.push((!settled).then_some(Unsettled::Answer));
            let tag = delivery_id.to_be_bytes();
            let head = TransferHead { channel: self.channel, handle, delivery_id, tag: &tag, settled };
            self.put_frames(context, &head, &answer);
        }
    }

    /// Says a state of a delivery from the peer; neighbours share a frame.
    pub(super) fn say_received(&mut self, context: &mut Context, id: u32, state: DeliveryState) {
        if let Some(gathered) = &mut self.received
            && gathered.extend(id, id, &state)
        {
            return;
        }
        self.flush_received(context);
        context.note_unsaid(self.channel);
        self.received = Some(Gathered { role: Role::Receiver, first: id, last: id, state });
    }

    /// Says the state of deliveries to the peer, which are settled by that; neighbours share a frame.
    pub(super) fn say_echo(&mut self, context: &mut Context, first: u32, last: u32, state: DeliveryState) {
        if let Some(gathered) = &mut self.echoed
            && gathered.extend(first, last, &state)
        {
            return;
        }
        self.flush_echoed(context);
        context.note_unsaid(self.channel);
        self.echoed = Some(Gathered { role: Role::Sender, first, last, state });
    }

    fn flush_received(&mut self, context: &mut Context) {
        if let Some(gathered) = self.received.take() {
            self.put(context, gathered.into_disposition());
        }
    }

    fn flush_echoed(&mut self, context: &mut Context) {
        if let Some(gathered) = self.echoed.take() {
            self.put(context, gathered.into_disposition());
        }
    }

    /// Says what was gathered.
    pub fn flush(&mut self, context: &mut Context) {
        self.flush_received(context);
        self.flush_echoed(context);
    }

    /// Ends a link from this side, telling why. What the peer still sends on it is passed over until it has answered.
    pub(super) fn end_link(&mut self, context: &mut Context, handle: u32, error: Error) {
        self.flush(context);
        self.forget_link(context, handle);
        if let Ok(link) = self.link(handle) {
            *link = Link::Ended;
        }
        self.put(context, Detach { handle, closed: true, error: Some(error) });
    }

    /// Works off the peer's detach: a link that ended here is gone now, another is ended.
    ///
    /// # Errors
    /// When it names no link.
    pub fn on_detach(&mut self, context: &mut Context, detach: &Detach) -> Result<(), Fatal> {
        let ended = match self.link(detach.handle)? {
            Link::Ended => true,
            // Its attach has had no answer yet, and nothing may come on a link before that.
            Link::Accepting(link) => {
                let refusal = super::attach::refusal(&link.attach);
                self.put(context, refusal);
                false
            }
            Link::Incoming(_) | Link::Outgoing(_) => false,
        };
        self.flush(context);
        if !ended {
            self.forget_link(context, detach.handle);
            self.put(context, Detach { handle: detach.handle, closed: true, error: None });
        }
        self.links.remove(&detach.handle);
        Ok(())
    }

    /// Lets go of what a link waits for or holds. A message of which the rest waits for the peer's window ends with its link: a
    /// frame that aborts it would need the room that there is not.
    fn forget_link(&mut self, context: &mut Context, handle: u32) {
        self.stalled.retain(|(of, _)| *of != handle);
        let link = LinkId { channel: self.channel, handle };
        let waiter = Waiter { wake: context.wake.clone(), link };
        match self.links.get(&handle).map(|link| &**link) {
            Some(Link::Outgoing(Outgoing { node: Node::Entity(entity), session: Some(lock), .. })) => {
                entity.release_session(context.now_us, *lock);
            }
            Some(Link::Outgoing(Outgoing { node: Node::Entity(entity), .. })) => entity.stop_waiting(&waiter),
            Some(Link::Accepting(link)) => {
                context.accepting.remove(&(link.deadline_us, self.channel, handle));
                link.entity.stop_waiting(&waiter);
            }
            _ => {}
        }
    }

    /// Lets go of everything: the session, or its connection, is over. Locks stay until they run out, but for sessions', which
    /// end with their links.
    pub fn end(&mut self, context: &mut Context) {
        let handles: Vec<u32> = self.links.keys().copied().collect();
        for handle in handles {
            self.forget_link(context, handle);
        }
        self.links.clear();
        self.stalled.clear();
    }

    /// The link on which messages come in under a handle; none when it ended here.
    ///
    /// # Errors
    /// When there is no link, or one on which the peer must not send.
    pub(super) fn incoming(&mut self, handle: u32) -> Result<Option<&mut Incoming>, Fatal> {
        match self.link(handle)? {
            Link::Incoming(link) => Ok(Some(link)),
            Link::Ended => Ok(None),
            Link::Outgoing(_) | Link::Accepting(_) => Err(Fatal::new(
                condition::NOT_ALLOWED,
                format!("a transfer on handle {handle}, which receives"),
            )),
        }
    }
}

impl Gathered {
    /// Takes in further deliveries, if they follow and the same is said of them.
    fn extend(&mut self, first: u32, last: u32, state: &DeliveryState) -> bool {
        let follows = self.last.wrapping_add(1) == first && self.state == *state;
        if follows {
            self.last = last;
        }
        follows
    }

    fn into_disposition(self) -> Disposition {
        Disposition {
            role: self.role,
            first: self.first,
            last: Some(self.last),
            settled: true,
            state: Some(self.state),
            batchable: true,
        }
    }
}

/// Room for the bytes of a partial message.
pub(super) fn append(payload: &mut Option<BytesMut>, more: &Bytes, max_bytes: usize) {
    match payload {
        Some(bytes) if bytes.len() + more.len() <= max_bytes => bytes.put_slice(more),
        _ => *payload = None,
    }
}

//! What the peer's frames do to the [`Session`], and transfers that leave when they may.

use bytes::{Bytes, BytesMut};

use super::ClientError;
use super::limits::MAX_MESSAGE_BYTES;
use super::link::{Kind, Link, LinkId, Partial, PendingSend, ReceiveLink};
use super::receiver::Delivery;
use super::session::{Command, End, Session, Unsettled};
use crate::frame::Frame;
use crate::limits::{FRAME_HEADER_BYTES, TRANSFER_OVERHEAD_BYTES};
use crate::performative::{
    Attach, Close, DeliveryState, Detach, Disposition, Error, Flow, Performative, Role, Transfer,
};

impl Session {
    pub(super) fn performative(&mut self, performative: Performative, payload: &Bytes) -> Result<(), End> {
        match performative {
            Performative::Transfer(transfer) => self.on_transfer(transfer, payload)?,
            Performative::Disposition(disposition) => self.on_disposition(&disposition),
            Performative::Flow(flow) => self.on_flow(&flow),
            Performative::Attach(attach) => self.on_attach(&attach),
            Performative::Detach(detach) => self.on_detach(&detach),
            Performative::End(end) => return Err(End::Lost(self.ended("session", end.error.as_ref()))),
            Performative::Close(close) => {
                Frame::put(&mut self.out, 0, &Close { error: None }.into());
                return Err(End::Lost(self.ended("connection", close.error.as_ref())));
            }
            Performative::Open(_) | Performative::Begin(_) => {
                return Err(End::Lost(self.lost("the peer opened or began twice")));
            }
        }
        Ok(())
    }

    fn ended(&self, what: &str, error: Option<&Error>) -> ClientError {
        let reason = error.map_or_else(String::new, |error| {
            format!(": {}: {}", error.condition.as_str(), error.description.as_deref().unwrap_or_default())
        });
        self.lost(&format!("the peer ended the {what}{reason}"))
    }

    fn on_attach(&mut self, attach: &Attach) {
        let links = self.links.iter_mut().flatten();
        let mut ours = links.filter(|link| link.name == attach.name && link.role() == attach.role.peer());
        // A link that nobody here attached is none of ours to answer: no peer of a client opens links.
        if let Some(link) = ours.next() {
            self.by_peer_handle.insert(attach.handle, link.id.handle);
            let id = link.id;
            if link.attached(attach) {
                self.command(Command::Detach { link: id, reply: None });
            }
        }
    }

    fn on_detach(&mut self, detach: &Detach) {
        let Some(handle) = self.by_peer_handle.remove(&detach.handle) else { return };
        let Some(link) = self.links.get_mut(handle as usize).and_then(Option::take) else { return };
        if link.detaching.is_none() {
            let answer = Detach { handle, closed: true, error: None };
            Frame::put(&mut self.out, 0, &answer.into());
        }
        let error = ClientError::detached(&link.node, detach.error.as_ref());
        let id = link.id;
        link.fail(&error);
        for waiting in [&mut self.unsettled, &mut self.settling] {
            let gone: Vec<u32> =
                waiting.iter().filter(|(_, waiting)| waiting.link == id).map(|(id, _)| *id).collect();
            for delivery_id in gone {
                if let Some(waiting) = waiting.remove(&delivery_id) {
                    let _ = waiting.reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn on_flow(&mut self, flow: &Flow) {
        let expected = flow.next_incoming_id.unwrap_or(0);
        self.peer_window = expected.wrapping_add(flow.incoming_window).wrapping_sub(self.next_outgoing_id);
        self.peer_window_announced = flow.incoming_window;
        let link = flow.handle.and_then(|handle| self.by_peer_handle.get(&handle));
        if let Some(link) = link.and_then(|&handle| self.links.get_mut(handle as usize)?.as_mut()) {
            let id = link.id;
            match &mut link.kind {
                Kind::Sender(send) => {
                    let granted =
                        flow.delivery_count.unwrap_or(0).wrapping_add(flow.link_credit.unwrap_or(0));
                    // A peer that takes credit back may leave us beyond it: then there is none.
                    let credit = granted.wrapping_sub(send.delivery_count);
                    send.credit = if credit > u32::MAX / 2 { 0 } else { credit };
                }
                Kind::Receiver(receive) => on_sender_flow(receive, flow),
            }
            if flow.drain {
                self.pump(id);
                self.use_up_credit(id);
            }
        }
        let senders: Vec<LinkId> =
            self.links.iter().flatten().filter(|link| waits(link)).map(|l| l.id).collect();
        for id in senders {
            self.pump(id);
        }
        if flow.echo && !flow.drain {
            self.put_flow(None, false);
        }
    }

    /// Answers a drain: what credit is left counts as used.
    fn use_up_credit(&mut self, id: LinkId) {
        let Some(Link { kind: Kind::Sender(send), .. }) = self.link(id) else { return };
        send.delivery_count = send.delivery_count.wrapping_add(send.credit);
        send.credit = 0;
        let delivery_count = send.delivery_count;
        self.put_flow(Some((id.handle, delivery_count, 0)), false);
    }

    /// Sends what waits on a link as far as its credit and the session's window reach.
    pub(super) fn pump(&mut self, id: LinkId) {
        let frame_payload = self.peer_max_frame_bytes as usize - FRAME_HEADER_BYTES - TRANSFER_OVERHEAD_BYTES;
        let (window, announced) = (self.peer_window, self.peer_window_announced);
        loop {
            let window = window.min(self.peer_window);
            let Some(Link { kind: Kind::Sender(send), .. }) = self.link(id) else { return };
            let Some(next) = send.pending.front() else { return };
            let frames = u32::try_from(next.message.len().div_ceil(frame_payload).max(1)).unwrap_or(u32::MAX);
            // A message of more frames than the peer's whole window would never go: it goes when the window is whole.
            if send.credit == 0 || (frames > window && window < announced) {
                return;
            }
            let settled = send.settled;
            if let Some(pending) = send.pending.pop_front() {
                send.credit -= 1;
                send.delivery_count = send.delivery_count.wrapping_add(1);
                self.put_message(id, pending, settled, frame_payload);
            }
        }
    }

    fn put_message(&mut self, id: LinkId, pending: PendingSend, settled: bool, frame_payload: usize) {
        let delivery_id = self.next_delivery_id;
        self.next_delivery_id = delivery_id.wrapping_add(1);
        let mut pieces = pending.message.chunks(frame_payload).peekable();
        let mut transfer = Transfer {
            handle: id.handle,
            delivery_id: Some(delivery_id),
            delivery_tag: Some(Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
            message_format: Some(0),
            settled: Some(settled),
            more: false,
            rcv_settle_mode: None,
            state: None,
            resume: false,
            aborted: false,
            batchable: false,
        };
        loop {
            let piece = pieces.next().unwrap_or_default();
            transfer.more = pieces.peek().is_some();
            Frame::put_transfer(&mut self.out, 0, &transfer, &[piece]);
            self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
            self.peer_window = self.peer_window.saturating_sub(1);
            if !transfer.more {
                break;
            }
            transfer.delivery_tag = None;
        }
        if settled {
            let _ = pending.reply.send(Ok(DeliveryState::Accepted));
        } else {
            self.unsettled.insert(delivery_id, Unsettled { link: id, reply: pending.reply });
        }
    }

    fn on_disposition(&mut self, disposition: &Disposition) {
        let Disposition { role, first, settled, .. } = *disposition;
        let last = disposition.last.unwrap_or(first);
        let waiting = match role {
            Role::Receiver => &mut self.unsettled,
            Role::Sender => &mut self.settling,
        };
        // The peer's numbers are not trusted to be few.
        let ids: Vec<u32> = if (last.wrapping_sub(first) as usize) < waiting.len() {
            (0..=last.wrapping_sub(first)).map(|offset| first.wrapping_add(offset)).collect()
        } else {
            let reach = last.wrapping_sub(first);
            waiting.keys().copied().filter(|id| id.wrapping_sub(first) <= reach).collect()
        };
        let state = match &disposition.state {
            Some(DeliveryState::Received(_)) | None if !settled => return,
            state => state.clone().unwrap_or(DeliveryState::Accepted),
        };
        for id in &ids {
            if let Some(waiting) = waiting.remove(id) {
                let _ = waiting.reply.send(Ok(state.clone()));
            }
        }
        if role == Role::Receiver && !settled {
            self.put_disposition(Role::Sender, first, last, true, state);
        }
    }

    fn on_transfer(&mut self, transfer: Transfer, payload: &Bytes) -> Result<(), End> {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        let link = self.by_peer_handle.get(&transfer.handle);
        let link = link.and_then(|&handle| self.links.get_mut(handle as usize)?.as_mut());
        let Some(Link { kind: Kind::Receiver(receive), .. }) = link else {
            return Err(End::Lost(self.lost("the peer sent a transfer on a link that does not receive")));
        };
        match collect(receive, transfer, payload) {
            Ok(Some(delivery)) => {
                let _ = receive.deliveries.send(Ok(delivery));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(reason) => Err(End::Lost(self.lost(reason))),
        }
    }
}

fn waits(link: &Link) -> bool {
    matches!(&link.kind, Kind::Sender(send) if send.credit > 0 && !send.pending.is_empty())
}

/// The sender's view of a link on which we receive. Its answer to a drain has used up all credit.
fn on_sender_flow(receive: &mut ReceiveLink, flow: &Flow) {
    if receive.draining.is_empty() || flow.link_credit != Some(0) {
        return;
    }
    receive.delivery_count = flow.delivery_count.unwrap_or(receive.delivery_count);
    receive.credit = 0;
    for reply in receive.draining.drain(..) {
        let _ = reply.send(Ok(()));
    }
}

/// Adds a transfer to what has come of its message; returns the delivery when it is whole.
fn collect(
    receive: &mut ReceiveLink,
    transfer: Transfer,
    payload: &Bytes,
) -> Result<Option<Delivery>, &'static str> {
    if receive.partial.is_none() {
        if receive.credit == 0 {
            return Err("the peer sent a delivery without credit");
        }
        let (Some(id), Some(tag)) = (transfer.delivery_id, transfer.delivery_tag) else {
            return Err("the peer began a delivery without id or tag");
        };
        receive.credit -= 1;
        receive.delivery_count = receive.delivery_count.wrapping_add(1);
        let settled = transfer.settled.unwrap_or(false);
        if !transfer.more && !transfer.aborted {
            return Ok(Some(Delivery { id, tag, message: payload.clone(), settled }));
        }
        receive.partial = Some(Partial { delivery_id: id, tag, settled, message: BytesMut::new() });
    }
    let Some(partial) = &mut receive.partial else { return Ok(None) };
    if partial.message.len() + payload.len() > MAX_MESSAGE_BYTES {
        return Err("the peer sent a message larger than the client takes");
    }
    partial.message.extend_from_slice(payload);
    partial.settled |= transfer.settled.unwrap_or(false);
    if transfer.more && !transfer.aborted {
        return Ok(None);
    }
    Ok(receive.partial.take().filter(|_| !transfer.aborted).map(|partial| Delivery {
        id: partial.delivery_id,
        tag: partial.tag,
        message: partial.message.freeze(),
        settled: partial.settled,
    }))
}

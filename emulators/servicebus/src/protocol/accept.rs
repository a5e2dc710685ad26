//! Accepting sessions: a link asks for one by a filter on its source, and its attach is answered when it has got one.
//!
//! It must not know how sessions are kept; the broker gives them.

use std::sync::Arc;
use std::time::Duration;

use amqp::performative::{Attach, Error, Source};
use amqp::{Frame, Value};

use super::attach;
use super::context::Context;
use super::error::condition;
use super::link::{Accepting, Link, Node};
use super::session::Session;
use crate::broker::entity::{Entity, Waiter};
use crate::broker::wake::LinkId;
use crate::engine::{AcceptedSession, Micros, SessionTaken};
use crate::limits::{ACCEPT_SESSION_TIMEOUT, ACCEPT_SESSION_TIMEOUT_MAX, ID_CHARS_MAX};

/// The filter with which a receiver asks for a session's messages.
const SESSION_FILTER: &str = "com.microsoft:session-filter";
/// The property that says how long a client waits for a session, milliseconds.
const TIMEOUT: &str = "com.microsoft:timeout";
/// The property that says when the session's lock ends.
const LOCKED_UNTIL: &str = "com.microsoft:locked-until-utc";

/// The filter's value, where there is one: a session's id, or null for the next. Some clients describe it.
pub(super) fn session_filter(attach: &Attach) -> Option<&Value> {
    attach.source.as_ref()?.filter.as_ref()?.get(SESSION_FILTER)
}

/// The session that is asked for; none for the next.
fn wanted(attach: &Attach) -> Result<Option<&str>, Error> {
    let value = match session_filter(attach) {
        Some(Value::Described(described)) => Some(&described.1),
        other => other,
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if id.chars().count() <= ID_CHARS_MAX => Ok(Some(id)),
        Some(_) => {
            let words =
                format!("A session's id is text of at most {ID_CHARS_MAX} characters, or null for the next.");
            Err(Error::new(condition::ARGUMENT_ERROR, words))
        }
    }
}

/// How long the client waits.
fn timeout(attach: &Attach) -> Duration {
    let asked =
        attach.properties.as_ref().and_then(|properties| properties.get(TIMEOUT)).and_then(Value::as_i64);
    let asked = asked.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    asked.unwrap_or(ACCEPT_SESSION_TIMEOUT).min(ACCEPT_SESSION_TIMEOUT_MAX)
}

/// An instant as .NET counts: tenths of a microsecond since the year 1.
fn ticks(us: Micros) -> i64 {
    const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;
    const LAST_TICKS: i64 = 3_155_378_975_999_999_999;
    let since_epoch = i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(10);
    since_epoch.saturating_add(UNIX_EPOCH_TICKS).min(LAST_TICKS)
}

impl Session {
    /// Gives a link a session, refuses it, or has it wait.
    pub(super) fn begin_accept(&mut self, context: &mut Context, attach: Attach, entity: Arc<Entity>) {
        let wait_us = u64::try_from(timeout(&attach).as_micros()).unwrap_or(u64::MAX);
        let deadline_us = context.now_us.saturating_add(wait_us);
        self.accept(context, Box::new(Accepting::new(attach, entity, deadline_us)));
    }

    /// Tries again for a link that waits: there may be a session now.
    pub(super) fn retry_accept(&mut self, context: &mut Context, handle: u32) {
        if let Some(link) = self.links.remove(&handle)
            && let Link::Accepting(link) = *link
        {
            context.accepting.remove(&(link.deadline_us, self.channel, handle));
            self.accept(context, link);
        }
    }

    /// Refuses a link that has waited long enough.
    pub fn on_accept_timeout(&mut self, context: &mut Context, handle: u32) {
        if let Some(link) = self.links.remove(&handle)
            && let Link::Accepting(link) = *link
        {
            let waiter =
                Waiter { wake: Arc::clone(&context.wake), link: LinkId { channel: self.channel, handle } };
            link.entity.stop_waiting(&waiter);
            let words = format!("No session of '{}' was free in time.", link.entity.name());
            self.refuse(context, &link.attach, Error::new(condition::TIMEOUT, words));
        }
    }

    fn accept(&mut self, context: &mut Context, link: Box<Accepting>) {
        let handle = link.attach.handle;
        let id = match wanted(&link.attach) {
            Ok(id) => id,
            Err(error) => return self.refuse(context, &link.attach, error),
        };
        let waiter =
            Waiter { wake: Arc::clone(&context.wake), link: LinkId { channel: self.channel, handle } };
        match link.entity.accept_session(context.now_us, id, waiter) {
            Ok(Some(session)) => self.accepted(context, *link, &session),
            Ok(None) => {
                context.accepting.insert((link.deadline_us, self.channel, handle));
                self.links.insert(handle, Box::new(Link::Accepting(link)));
            }
            Err(SessionTaken) => {
                let words = format!(
                    "The requested session '{}' cannot be accepted. It may be locked by another receiver.",
                    id.unwrap_or_default()
                );
                self.refuse(context, &link.attach, Error::new(condition::SESSION_CANNOT_BE_LOCKED, words));
            }
        }
    }

    fn accepted(&mut self, context: &mut Context, accepting: Accepting, session: &AcceptedSession) {
        let handle = accepting.attach.handle;
        let (mut answer, link) = attach::accept(context, &accepting.attach, Node::Entity(accepting.entity));
        let granted = Value::String(session.id.to_string());
        if let Some(Source { filter: Some(filter), .. }) = &mut answer.source {
            for (_, value) in filter.0.iter_mut().filter(|(key, _)| key.as_str() == Some(SESSION_FILTER)) {
                // In the form in which it came.
                match value {
                    Value::Described(described) => described.1 = granted.clone(),
                    plain => *plain = granted.clone(),
                }
            }
        }
        if let Some(properties) = &mut answer.properties {
            properties.set_symbol(LOCKED_UNTIL, Value::Long(ticks(session.until_us)));
        }
        Frame::put(&mut context.out, self.channel, &answer.into());
        if let Link::Outgoing(mut link) = link {
            link.session = Some(session.lock);
            (link.credit, link.drain) = accepting.credit.unwrap_or_default();
            self.links.insert(handle, Box::new(Link::Outgoing(link)));
        }
        if accepting.credit.is_some() {
            self.on_ready(context, handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn an_instant_is_told_in_ticks_of_dotnet() {
        assert_eq!(ticks(1_767_225_600_000_000), 639_028_224_000_000_000);
        assert_eq!(ticks(u64::MAX), 3_155_378_975_999_999_999);
    }
}

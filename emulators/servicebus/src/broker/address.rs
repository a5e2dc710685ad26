//! Addresses of link ends: every form in which clients name an entity, and what it names.
//!
//! It must not know which entities exist.

use percent_encoding::percent_decode_str;

/// What an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The node that takes tokens.
    Cbs,
    /// An entity or one of its parts.
    Entity(EntityPath),
    /// The management node of an entity or one of its parts.
    Management(EntityPath),
}

/// An entity, or the dead-letter queue that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityPath {
    /// The entity's name as it was written.
    pub name: String,
    /// Which part of it.
    pub part: Part,
}

/// A part of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The entity itself.
    Main,
    /// Its dead-letter queue.
    DeadLetter,
    /// The dead-letter queue for messages that could not be forwarded.
    TransferDeadLetter,
}

const CBS: &str = "$cbs";
const MANAGEMENT: &str = "$management";
const DEAD_LETTER: &str = "$deadletterqueue";
const TRANSFER: &str = "$transfer";

impl Address {
    /// Reads an address: `queue`, `/queue`, `sb://host/queue`, `amqps://host:5671/queue/$DeadLetterQueue`,
    /// `queue/$management`, percent-encoded or not, in any case. None when it names nothing.
    pub fn parse(address: &str) -> Option<Self> {
        let path = match address.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => address,
        };
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let path = path.trim_matches('/');
        if path.eq_ignore_ascii_case(CBS) {
            return Some(Self::Cbs);
        }
        if path.eq_ignore_ascii_case(MANAGEMENT) {
            return Some(Self::Management(EntityPath { name: String::new(), part: Part::Main }));
        }
        let (path, management) = strip_last(path, MANAGEMENT).map_or((path, false), |path| (path, true));
        let entity = EntityPath::parse(path)?;
        Some(if management { Self::Management(entity) } else { Self::Entity(entity) })
    }
}

impl EntityPath {
    fn parse(path: &str) -> Option<Self> {
        let (name, part) = match strip_last(path, DEAD_LETTER) {
            Some(rest) => match strip_last(rest, TRANSFER) {
                Some(name) => (name, Part::TransferDeadLetter),
                None => (rest, Part::DeadLetter),
            },
            None => (path, Part::Main),
        };
        // A part belongs to an entity; its segment alone names none.
        let is_segment = [DEAD_LETTER, TRANSFER].iter().any(|segment| name.eq_ignore_ascii_case(segment));
        (!name.is_empty() && !is_segment).then(|| Self { name: name.to_owned(), part })
    }
}

/// What stands before the last segment, if that is `segment`.
fn strip_last<'a>(path: &'a str, segment: &str) -> Option<&'a str> {
    let (before, last) = path.rsplit_once('/')?;
    last.eq_ignore_ascii_case(segment).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(name: &str, part: Part) -> Option<Address> {
        Some(Address::Entity(EntityPath { name: name.to_owned(), part }))
    }

    #[test]
    fn every_form_of_an_address_names_its_entity() {
        for form in ["q.1", "/q.1", "sb://localhost/q.1", "amqps://h:5671/q.1", "q%2E1", "amqp://h/q.1/"] {
            assert_eq!(Address::parse(form), entity("q.1", Part::Main), "{form}");
        }
        for form in ["a/b/$DeadLetterQueue", "sb://h/a/b/$deadletterqueue", "a%2Fb/%24DeadLetterQueue"] {
            assert_eq!(Address::parse(form), entity("a/b", Part::DeadLetter), "{form}");
        }
        assert_eq!(Address::parse("q/$Transfer/$DeadLetterQueue"), entity("q", Part::TransferDeadLetter));
        assert_eq!(Address::parse("$CBS"), Some(Address::Cbs));
        assert_eq!(
            Address::parse("amqps://h/q/$DeadLetterQueue/$management"),
            Some(Address::Management(EntityPath { name: "q".to_owned(), part: Part::DeadLetter }))
        );
    }

    #[test]
    fn an_address_without_a_name_names_nothing() {
        for form in ["", "/", "sb://host", "sb://host/", "%ff"] {
            assert_eq!(Address::parse(form), None, "{form}");
        }
    }

    #[test]
    fn a_part_without_its_entity_names_nothing() {
        for form in [
            "$DeadLetterQueue",
            "/$deadletterqueue",
            "sb://host/$DeadLetterQueue",
            "$DeadLetterQueue/$management",
            "$Transfer/$DeadLetterQueue",
        ] {
            assert_eq!(Address::parse(form), None, "{form}");
        }
    }
}

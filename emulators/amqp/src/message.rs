//! A message's sections (part 3, §3.2): where each starts and ends, and the small ones decoded on demand.
//!
//! It must not decode a body. A broker that rewrites header and annotations passes every other section on as bytes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::composite::composite;
use crate::decode::{Decode, DecodeError, Decoder};
use crate::encode::{self, Encode};
use crate::value::{Map, Symbol, Value};

composite! {
    /// Delivery details that intermediaries may change.
    Header = 0x70 {
        /// Whether it must survive a restart.
        durable: bool = false;
        /// Priority, 4 is ordinary.
        priority: u8 = 4;
        /// Milliseconds to live.
        ttl: Option<u32>;
        /// Whether nobody acquired it before.
        first_acquirer: bool = false;
        /// Earlier deliveries that failed.
        delivery_count: u32 = 0;
    }

    /// Immutable properties; ids keep their type.
    #[derive(Default)]
    Properties = 0x73 {
        /// The message's id: string, ulong, uuid or binary.
        message_id: Option<Value>;
        /// Who made it.
        user_id: Option<Bytes>;
        /// Where it goes.
        to: Option<Value>;
        /// What it is about; Service Bus calls it label.
        subject: Option<String>;
        /// Where answers go.
        reply_to: Option<Value>;
        /// What it answers: string, ulong, uuid or binary.
        correlation_id: Option<Value>;
        /// MIME type of the body.
        content_type: Option<Symbol>;
        /// Encoding of the body.
        content_encoding: Option<Symbol>;
        /// When it expires, milliseconds since the Unix epoch.
        absolute_expiry_time: Option<Timestamp>;
        /// When it was made, milliseconds since the Unix epoch.
        creation_time: Option<Timestamp>;
        /// Its group; Service Bus calls it session.
        group_id: Option<String>;
        /// Position in its group.
        group_sequence: Option<u32>;
        /// Group for answers.
        reply_to_group_id: Option<String>;
    }
}

impl Default for Header {
    fn default() -> Self {
        Self { durable: false, priority: 4, ttl: None, first_acquirer: false, delivery_count: 0 }
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Decode for Timestamp {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        i64::decode(decoder).map(Self)
    }
}

impl Encode for Timestamp {
    fn encode(&self, out: &mut BytesMut) {
        Value::Timestamp(self.0).encode(out);
    }
}

/// Descriptors of the sections.
mod section {
    pub(super) const HEADER: u64 = 0x70;
    pub(super) const DELIVERY_ANNOTATIONS: u64 = 0x71;
    pub(super) const MESSAGE_ANNOTATIONS: u64 = 0x72;
    pub(super) const PROPERTIES: u64 = 0x73;
    pub(super) const APPLICATION_PROPERTIES: u64 = 0x74;
    pub(super) const DATA: u64 = 0x75;
    pub(super) const SEQUENCE: u64 = 0x76;
    pub(super) const VALUE: u64 = 0x77;
    pub(super) const FOOTER: u64 = 0x78;
}

/// Where each section of an encoded message is; a range starts at the section's descriptor. An absent section's range
/// is empty. All body sections are one range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sections {
    /// See [`Header`].
    pub header: Range<usize>,
    /// Annotations for the next hop.
    pub delivery_annotations: Range<usize>,
    /// Annotations for the whole way.
    pub message_annotations: Range<usize>,
    /// See [`Properties`].
    pub properties: Range<usize>,
    /// The application's own properties.
    pub application_properties: Range<usize>,
    /// The body: data sections, sequence sections or one value.
    pub body: Range<usize>,
    /// The footer.
    pub footer: Range<usize>,
}

impl Sections {
    /// Finds the sections of an encoded message, reading over their content.
    ///
    /// # Errors
    /// When the bytes are no sequence of message sections, or one stands twice.
    pub fn scan(message: &Bytes) -> Result<Self, DecodeError> {
        let mut sections = Self::default();
        let mut decoder = Decoder::new(message);
        while !decoder.is_at_end() {
            let start = decoder.position();
            let found = decoder.descriptor()?;
            decoder.skip()?;
            let range = start..decoder.position();
            let slot = match found {
                section::HEADER => &mut sections.header,
                section::DELIVERY_ANNOTATIONS => &mut sections.delivery_annotations,
                section::MESSAGE_ANNOTATIONS => &mut sections.message_annotations,
                section::PROPERTIES => &mut sections.properties,
                section::APPLICATION_PROPERTIES => &mut sections.application_properties,
                section::DATA | section::SEQUENCE | section::VALUE if sections.body.end == start => {
                    sections.body.end = range.end;
                    continue;
                }
                section::DATA | section::SEQUENCE | section::VALUE => &mut sections.body,
                section::FOOTER => &mut sections.footer,
                _ => return Err(DecodeError::UnexpectedDescriptor { expected: "message section", found }),
            };
            if slot.start < slot.end {
                return Err(DecodeError::UnexpectedDescriptor { expected: "another section", found });
            }
            *slot = range;
        }
        Ok(sections)
    }

    /// Decodes the header; an absent one has its defaults.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn header(&self, message: &Bytes) -> Result<Header, DecodeError> {
        Self::composite(message, &self.header).map(Option::unwrap_or_default)
    }

    /// Decodes the properties; absent ones have their defaults.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn properties(&self, message: &Bytes) -> Result<Properties, DecodeError> {
        Self::composite(message, &self.properties).map(Option::unwrap_or_default)
    }

    fn composite<T: Decode>(message: &Bytes, range: &Range<usize>) -> Result<Option<T>, DecodeError> {
        if range.is_empty() {
            return Ok(None);
        }
        let bytes = message.slice(range.clone());
        T::decode(&mut Decoder::new(&bytes)).map(Some)
    }

    /// Decodes the message annotations; absent ones are empty.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn message_annotations(&self, message: &Bytes) -> Result<Map, DecodeError> {
        Self::map(message, &self.message_annotations)
    }

    /// Decodes the application properties; absent ones are empty.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn application_properties(&self, message: &Bytes) -> Result<Map, DecodeError> {
        Self::map(message, &self.application_properties)
    }

    fn map(message: &Bytes, range: &Range<usize>) -> Result<Map, DecodeError> {
        if range.is_empty() {
            return Ok(Map::new());
        }
        let bytes = message.slice(range.clone());
        let mut decoder = Decoder::new(&bytes);
        decoder.descriptor()?;
        Option::<Map>::decode(&mut decoder).map(Option::unwrap_or_default)
    }

    /// The data sections' contents, in order; none of a body that is a value or a sequence.
    ///
    /// # Errors
    /// When a section is malformed.
    pub fn data(&self, message: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
        let bytes = message.slice(self.body.clone());
        let mut decoder = Decoder::new(&bytes);
        let mut data = Vec::new();
        while !decoder.is_at_end() {
            match decoder.descriptor()? {
                section::DATA => data.push(Bytes::decode(&mut decoder)?),
                _ => decoder.skip()?,
            }
        }
        Ok(data)
    }

    /// The value of a body that is one.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn value(&self, message: &Bytes) -> Result<Option<Value>, DecodeError> {
        let bytes = message.slice(self.body.clone());
        let mut decoder = Decoder::new(&bytes);
        if decoder.is_at_end() || decoder.descriptor()? != section::VALUE {
            return Ok(None);
        }
        Value::decode(&mut decoder).map(Some)
    }
}

/// Appends an annotations section for the whole way.
pub fn put_message_annotations(out: &mut BytesMut, annotations: &Map) {
    put_section(out, section::MESSAGE_ANNOTATIONS, annotations);
}

/// Appends an annotations section for the next hop.
pub fn put_delivery_annotations(out: &mut BytesMut, annotations: &Map) {
    put_section(out, section::DELIVERY_ANNOTATIONS, annotations);
}

/// Appends an application properties section; keys must be strings.
pub fn put_application_properties(out: &mut BytesMut, properties: &Map) {
    put_section(out, section::APPLICATION_PROPERTIES, properties);
}

/// Appends a data section.
pub fn put_data(out: &mut BytesMut, data: &Bytes) {
    put_section(out, section::DATA, data);
}

/// Appends a body that is one value.
pub fn put_value(out: &mut BytesMut, value: &Value) {
    put_section(out, section::VALUE, value);
}

fn put_section(out: &mut BytesMut, descriptor: u64, content: &impl Encode) {
    #[expect(clippy::cast_possible_truncation, reason = "section descriptors are below 0x80")]
    encode::descriptor(out, descriptor as u8);
    content.encode(out);
}

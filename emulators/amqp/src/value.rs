//! AMQP values of which nothing is known in advance: properties, filters, management bodies (part 1, §1.6).
//!
//! It must not be on the path of a message's body; that stays bytes.

use bytes::Bytes;

/// A symbolic value: ASCII by the standard, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub String);

impl Symbol {
    /// The symbol's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Symbol {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Any AMQP value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `boolean`
    Bool(bool),
    /// `ubyte`
    Ubyte(u8),
    /// `ushort`
    Ushort(u16),
    /// `uint`
    Uint(u32),
    /// `ulong`
    Ulong(u64),
    /// `byte`
    Byte(i8),
    /// `short`
    Short(i16),
    /// `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// `decimal32`, `decimal64` or `decimal128`: the bytes as they came (4, 8 or 16).
    Decimal(Bytes),
    /// `char`
    Char(char),
    /// `timestamp`: milliseconds since the Unix epoch.
    Timestamp(i64),
    /// `uuid`, in RFC 4122 byte order.
    Uuid([u8; 16]),
    /// `binary`
    Binary(Bytes),
    /// `string`
    String(String),
    /// `symbol`
    Symbol(Symbol),
    /// `list`
    List(Vec<Value>),
    /// `map`
    Map(Map),
    /// `array`: elements of one type.
    Array(Array),
    /// A described value: descriptor and value.
    Described(Box<(Value, Value)>),
}

/// An array: elements of one type, so that an empty one still has a constructor on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The format code that an empty array carries (part 1, §1.6.24); that of the elements otherwise.
    pub element_code: u8,
    /// The elements.
    pub elements: Vec<Value>,
}

/// A map in the order in which it came; keys are few, so look-up is a scan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map(pub Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under `key`, whether the key is a symbol or a string.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// Puts `value` under a symbol key, replacing what was there.
    pub fn set_symbol(&mut self, key: &str, value: Value) {
        self.set(Value::Symbol(key.into()), value);
    }

    /// Puts `value` under a string key, replacing what was there.
    pub fn set_string(&mut self, key: &str, value: Value) {
        self.set(Value::String(key.to_owned()), value);
    }

    /// Puts `value` under `key`, replacing what was there.
    pub fn set(&mut self, key: Value, value: Value) {
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Adds an entry and returns the map, for building one in an expression; keys are strings.
    #[must_use]
    pub fn with_string(mut self, key: &str, value: Value) -> Self {
        self.set_string(key, value);
        self
    }

    /// Adds an entry and returns the map, for building one in an expression; keys are symbols.
    #[must_use]
    pub fn with_symbol(mut self, key: &str, value: Value) -> Self {
        self.set_symbol(key, value);
        self
    }

    /// Whether the map has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value {
    /// The text of a string or a symbol.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        }
    }

    /// Any whole number, if it fits: clients differ in the integer type that they choose.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(n) => Some(n.into()),
            Self::Ushort(n) => Some(n.into()),
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => n.try_into().ok(),
            Self::Byte(n) => Some(n.into()),
            Self::Short(n) => Some(n.into()),
            Self::Int(n) => Some(n.into()),
            Self::Long(n) | Self::Timestamp(n) => Some(n),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The elements of a list or an array: clients differ in which they send.
    pub fn as_elements(&self) -> Option<&[Value]> {
        match self {
            Self::List(elements) => Some(elements),
            Self::Array(array) => Some(&array.elements),
            _ => None,
        }
    }

    /// An array of timestamps (milliseconds since the Unix epoch).
    pub fn timestamps(instants: impl IntoIterator<Item = i64>) -> Self {
        Self::array(crate::encode::code::TIMESTAMP, instants.into_iter().map(Self::Timestamp).collect())
    }

    /// An array of longs.
    pub fn longs(numbers: impl IntoIterator<Item = i64>) -> Self {
        Self::array(crate::encode::code::LONG, numbers.into_iter().map(Self::Long).collect())
    }

    /// An array of UUIDs in RFC 4122 byte order.
    pub fn uuids(uuids: impl IntoIterator<Item = [u8; 16]>) -> Self {
        Self::array(crate::encode::code::UUID, uuids.into_iter().map(Self::Uuid).collect())
    }

    fn array(element_code: u8, elements: Vec<Self>) -> Self {
        Self::Array(Array { element_code, elements })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

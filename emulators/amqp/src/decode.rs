//! Bytes to values (part 1, §1.6), without trusting a single length in them.
//!
//! A [`Decoder`] reads one value after the other from a slice of [`Bytes`]; what it returns shares those bytes.

use bytes::Bytes;

use crate::encode::code;
use crate::limits::{NESTING_DEPTH_MAX, PREALLOCATED_ELEMENTS_MAX, ZERO_WIDTH_ELEMENTS_MAX};
use crate::value::{Array, Map, Symbol, Value};

/// Why bytes are not the value that was asked for. Goes to the peer as `amqp:decode-error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the encoding ends inside a value")]
    Truncated,
    /// A format code that the standard does not define.
    #[error("unknown format code 0x{0:02x}")]
    UnknownCode(u8),
    /// A value of another type than the field has.
    #[error("{expected} expected, found format code 0x{found:02x}")]
    WrongType {
        /// What the field is.
        expected: &'static str,
        /// The format code that was found.
        found: u8,
    },
    /// A string or symbol that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A char that is not a Unicode scalar value.
    #[error("a char is not a Unicode scalar value")]
    NotAChar,
    /// A map with a key without a value.
    #[error("a map has an odd number of elements")]
    OddMap,
    /// A count that the bytes cannot hold.
    #[error("a count of {0} elements is more than the bytes can hold")]
    CountTooLarge(u32),
    /// Values nested deeper than [`NESTING_DEPTH_MAX`].
    #[error("values are nested deeper than {NESTING_DEPTH_MAX}")]
    TooDeep,
    /// A mandatory field that is null or absent.
    #[error("mandatory field {0} is missing")]
    Missing(&'static str),
    /// A composite type with another descriptor than the place allows.
    #[error("{expected} expected, found descriptor {found:#x}")]
    UnexpectedDescriptor {
        /// What may stand here.
        expected: &'static str,
        /// The descriptor that was found; `u64::MAX` for one that is no number.
        found: u64,
    },
    /// A number outside its field's values.
    #[error("{field} has no value {found}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number that was found.
        found: u64,
    },
}

/// A type that can be read from the wire.
pub trait Decode: Sized {
    /// Reads one value.
    ///
    /// # Errors
    /// When the bytes are not a value of this type.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// Reads values from a part of some bytes.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    source: &'a Bytes,
    position: usize,
    end: usize,
}

/// The head of a list, map or array: how many elements follow, and where they end.
struct Compound {
    count: u32,
    end: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder over all of `source`.
    pub fn new(source: &'a Bytes) -> Self {
        Self { source, position: 0, end: source.len() }
    }

    /// Where in the source the next value starts.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Whether all was read.
    pub const fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next byte, left in place.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    pub fn peek(&self) -> Result<u8, DecodeError> {
        if self.is_at_end() {
            return Err(DecodeError::Truncated);
        }
        self.source.get(self.position).copied().ok_or(DecodeError::Truncated)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.position.checked_add(count).filter(|end| *end <= self.end);
        let taken = end.and_then(|end| self.source.get(self.position..end)).ok_or(DecodeError::Truncated)?;
        self.position += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.position += 1;
        Ok(byte)
    }

    fn length_32(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(u32::from_be_bytes(self.fixed()?)).map_err(|_| DecodeError::Truncated)
    }

    fn shared(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(count)?;
        Ok(self.source.slice(start..start + count))
    }

    /// Reads a null if one is next.
    pub fn null(&mut self) -> bool {
        let is_null = self.peek() == Ok(code::NULL);
        self.position += usize::from(is_null);
        is_null
    }

    /// Reads the descriptor of a composite type: a number. Another kind of descriptor is read over and answered with
    /// `u64::MAX`, which no type has.
    ///
    /// # Errors
    /// When the next value is not described.
    pub fn descriptor(&mut self) -> Result<u64, DecodeError> {
        match self.byte()? {
            code::DESCRIBED => {}
            found => return Err(DecodeError::WrongType { expected: "described type", found }),
        }
        match self.peek()? {
            code::SMALL_ULONG | code::ULONG | code::ULONG_0 => u64::decode(self),
            _ => self.skip().map(|()| u64::MAX),
        }
    }

    fn compound(&mut self, short: bool) -> Result<Compound, DecodeError> {
        let (size, width) = if short { (usize::from(self.byte()?), 1) } else { (self.length_32()?, 4) };
        let end =
            self.position.checked_add(size).filter(|end| *end <= self.end).ok_or(DecodeError::Truncated)?;
        if size < width {
            return Err(DecodeError::Truncated);
        }
        let count = if short { self.byte()?.into() } else { u32::from_be_bytes(self.fixed()?) };
        Ok(Compound { count, end })
    }

    /// Reads the head of a list and returns a decoder over its fields; this decoder then stands behind the list.
    ///
    /// # Errors
    /// When the next value is not a list.
    pub fn list(&mut self) -> Result<Self, DecodeError> {
        let compound = match self.byte()? {
            code::LIST_0 => Compound { count: 0, end: self.position },
            code::LIST_8 => self.compound(true)?,
            code::LIST_32 => self.compound(false)?,
            found => return Err(DecodeError::WrongType { expected: "list", found }),
        };
        let fields = Self { source: self.source, position: self.position, end: compound.end };
        self.position = compound.end;
        Ok(fields)
    }

    /// Reads over one value, whatever it is.
    ///
    /// # Errors
    /// When it is cut short or of no known format.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let (mut values_left, mut described) = (1, 0);
        while values_left > 0 {
            let format = self.byte()?;
            if format == code::DESCRIBED {
                // A descriptor and a value stand where one value was expected.
                values_left += 1;
                described += 1;
                if described > NESTING_DEPTH_MAX {
                    return Err(DecodeError::TooDeep);
                }
                continue;
            }
            let count = self.content_bytes(format)?;
            self.take(count)?;
            values_left -= 1;
        }
        Ok(())
    }

    /// How many bytes follow a format code, after its size field if it has one (part 1, §1.2: the code's high nibble).
    fn content_bytes(&mut self, format: u8) -> Result<usize, DecodeError> {
        match format >> 4 {
            0x4 => Ok(0),
            0x5 => Ok(1),
            0x6 => Ok(2),
            0x7 => Ok(4),
            0x8 => Ok(8),
            0x9 => Ok(16),
            0xa | 0xc | 0xe => self.byte().map(usize::from),
            0xb | 0xd | 0xf => self.length_32(),
            _ => Err(DecodeError::UnknownCode(format)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let format = self.byte()?;
        self.value_of(format, depth)
    }

    fn value_of(&mut self, format: u8, depth: usize) -> Result<Value, DecodeError> {
        if depth > NESTING_DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        Ok(match format {
            code::DESCRIBED => {
                let descriptor = self.value(depth + 1)?;
                Value::Described(Box::new((descriptor, self.value(depth + 1)?)))
            }
            code::LIST_0 => Value::List(Vec::new()),
            code::LIST_8 | code::LIST_32 => {
                let compound = self.compound(format == code::LIST_8)?;
                Value::List(self.elements(&compound, depth)?)
            }
            code::MAP_8 | code::MAP_32 => {
                let compound = self.compound(format == code::MAP_8)?;
                Value::Map(self.entries(&compound, depth)?)
            }
            code::ARRAY_8 | code::ARRAY_32 => {
                let compound = self.compound(format == code::ARRAY_8)?;
                Value::Array(self.array(&compound, depth)?)
            }
            scalar => self.scalar(scalar)?,
        })
    }

    fn scalar(&mut self, format: u8) -> Result<Value, DecodeError> {
        Ok(match format {
            code::NULL => Value::Null,
            code::TRUE => Value::Bool(true),
            code::FALSE => Value::Bool(false),
            code::BOOLEAN => Value::Bool(self.byte()? != 0),
            code::UBYTE => Value::Ubyte(self.byte()?),
            code::USHORT => Value::Ushort(u16::from_be_bytes(self.fixed()?)),
            code::UINT_0 | code::SMALL_UINT | code::UINT => Value::Uint(self.uint(format)?),
            code::ULONG_0 | code::SMALL_ULONG | code::ULONG => Value::Ulong(self.ulong(format)?),
            code::BYTE => Value::Byte(i8::from_be_bytes(self.fixed()?)),
            code::SHORT => Value::Short(i16::from_be_bytes(self.fixed()?)),
            code::SMALL_INT => Value::Int(i8::from_be_bytes(self.fixed()?).into()),
            code::INT => Value::Int(i32::from_be_bytes(self.fixed()?)),
            code::SMALL_LONG => Value::Long(i8::from_be_bytes(self.fixed()?).into()),
            code::LONG => Value::Long(i64::from_be_bytes(self.fixed()?)),
            code::FLOAT => Value::Float(f32::from_be_bytes(self.fixed()?)),
            code::DOUBLE => Value::Double(f64::from_be_bytes(self.fixed()?)),
            code::DECIMAL_32 => Value::Decimal(self.shared(4)?),
            code::DECIMAL_64 => Value::Decimal(self.shared(8)?),
            code::DECIMAL_128 => Value::Decimal(self.shared(16)?),
            code::CHAR => {
                let number = u32::from_be_bytes(self.fixed()?);
                Value::Char(char::from_u32(number).ok_or(DecodeError::NotAChar)?)
            }
            code::TIMESTAMP => Value::Timestamp(i64::from_be_bytes(self.fixed()?)),
            code::UUID => Value::Uuid(self.fixed()?),
            code::BINARY_8 | code::BINARY_32 => {
                let length = self.content_bytes(format)?;
                Value::Binary(self.shared(length)?)
            }
            code::STRING_8 | code::STRING_32 => Value::String(self.text(format)?),
            code::SYMBOL_8 | code::SYMBOL_32 => Value::Symbol(Symbol(self.text(format)?)),
            unknown => return Err(DecodeError::UnknownCode(unknown)),
        })
    }

    fn uint(&mut self, format: u8) -> Result<u32, DecodeError> {
        match format {
            code::UINT_0 => Ok(0),
            code::SMALL_UINT => Ok(self.byte()?.into()),
            code::UINT => Ok(u32::from_be_bytes(self.fixed()?)),
            found => Err(DecodeError::WrongType { expected: "uint", found }),
        }
    }

    fn ulong(&mut self, format: u8) -> Result<u64, DecodeError> {
        match format {
            code::ULONG_0 => Ok(0),
            code::SMALL_ULONG => Ok(self.byte()?.into()),
            code::ULONG => Ok(u64::from_be_bytes(self.fixed()?)),
            found => Err(DecodeError::WrongType { expected: "ulong", found }),
        }
    }

    fn text(&mut self, format: u8) -> Result<String, DecodeError> {
        let length = self.content_bytes(format)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::NotUtf8)?;
        Ok(text.to_owned())
    }

    /// A decoder over a compound value's elements; this one then stands behind them.
    fn inside(&mut self, compound: &Compound) -> Self {
        let inner = Self { source: self.source, position: self.position, end: compound.end };
        self.position = compound.end;
        inner
    }

    fn elements(&mut self, compound: &Compound, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let mut inner = self.inside(compound);
        let mut elements = inner.room(compound.count)?;
        for _ in 0..compound.count {
            elements.push(inner.value(depth + 1)?);
        }
        Ok(elements)
    }

    fn entries(&mut self, compound: &Compound, depth: usize) -> Result<Map, DecodeError> {
        if !compound.count.is_multiple_of(2) {
            return Err(DecodeError::OddMap);
        }
        let mut inner = self.inside(compound);
        let mut entries = inner.room(compound.count)?;
        for _ in 0..compound.count / 2 {
            let key = inner.value(depth + 1)?;
            entries.push((key, inner.value(depth + 1)?));
        }
        Ok(Map(entries))
    }

    /// Room for `count` elements of at least one byte each, if the bytes can hold them at all.
    fn room<T>(&self, count: u32) -> Result<Vec<T>, DecodeError> {
        match usize::try_from(count) {
            Ok(elements) if elements <= self.end.saturating_sub(self.position) => {
                Ok(Vec::with_capacity(elements.min(PREALLOCATED_ELEMENTS_MAX)))
            }
            _ => Err(DecodeError::CountTooLarge(count)),
        }
    }

    fn array(&mut self, compound: &Compound, depth: usize) -> Result<Array, DecodeError> {
        let mut inner = self.inside(compound);
        let descriptor = if inner.peek()? == code::DESCRIBED {
            inner.position += 1;
            Some(inner.value(depth + 1)?)
        } else {
            None
        };
        let element_code = inner.byte()?;
        if element_code == code::DESCRIBED {
            return Err(DecodeError::TooDeep);
        }
        let zero_width = element_code >> 4 == 0x4;
        let mut elements = if zero_width {
            let fits = usize::try_from(compound.count).is_ok_and(|count| count <= ZERO_WIDTH_ELEMENTS_MAX);
            if !fits {
                return Err(DecodeError::CountTooLarge(compound.count));
            }
            Vec::new()
        } else {
            inner.room(compound.count)?
        };
        for _ in 0..compound.count {
            let element = inner.value_of(element_code, depth + 1)?;
            elements.push(match &descriptor {
                Some(descriptor) => Value::Described(Box::new((descriptor.clone(), element))),
                None => element,
            });
        }
        Ok(Array { element_code, elements })
    }
}

impl Decode for Value {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.value(0)
    }
}

impl Decode for bool {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            code::TRUE => Ok(true),
            code::FALSE => Ok(false),
            code::BOOLEAN => Ok(decoder.byte()? != 0),
            found => Err(DecodeError::WrongType { expected: "boolean", found }),
        }
    }
}

impl Decode for u8 {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            code::UBYTE => decoder.byte(),
            found => Err(DecodeError::WrongType { expected: "ubyte", found }),
        }
    }
}

impl Decode for u16 {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            code::USHORT => Ok(Self::from_be_bytes(decoder.fixed()?)),
            found => Err(DecodeError::WrongType { expected: "ushort", found }),
        }
    }
}

impl Decode for u32 {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let format = decoder.byte()?;
        decoder.uint(format)
    }
}

impl Decode for u64 {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let format = decoder.byte()?;
        decoder.ulong(format)
    }
}

/// A timestamp (milliseconds since the Unix epoch) or any signed number.
impl Decode for i64 {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let found = decoder.peek()?;
        Value::decode(decoder)?.as_i64().ok_or(DecodeError::WrongType { expected: "timestamp", found })
    }
}

impl Decode for String {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            format @ (code::STRING_8 | code::STRING_32) => decoder.text(format),
            found => Err(DecodeError::WrongType { expected: "string", found }),
        }
    }
}

impl Decode for Symbol {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            format @ (code::SYMBOL_8 | code::SYMBOL_32) => decoder.text(format).map(Self),
            found => Err(DecodeError::WrongType { expected: "symbol", found }),
        }
    }
}

impl Decode for Bytes {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            format @ (code::BINARY_8 | code::BINARY_32) => {
                let length = decoder.content_bytes(format)?;
                decoder.shared(length)
            }
            found => Err(DecodeError::WrongType { expected: "binary", found }),
        }
    }
}

/// A field that may hold several symbols holds one, or an array of them (part 1, §1.4: `multiple`).
impl Decode for Vec<Symbol> {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let found = decoder.peek()?;
        let wrong = || DecodeError::WrongType { expected: "symbols", found };
        match Value::decode(decoder)? {
            Value::Symbol(symbol) => Ok(vec![symbol]),
            Value::Array(array) => array
                .elements
                .into_iter()
                .map(|element| match element {
                    Value::Symbol(symbol) => Ok(symbol),
                    _ => Err(wrong()),
                })
                .collect(),
            _ => Err(wrong()),
        }
    }
}

impl Decode for Map {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            format @ (code::MAP_8 | code::MAP_32) => {
                let compound = decoder.compound(format == code::MAP_8)?;
                decoder.entries(&compound, 0)
            }
            found => Err(DecodeError::WrongType { expected: "map", found }),
        }
    }
}

/// Null is nothing, and so is a field that a sender left off at the end of its list (part 1, §1.4).
impl<T: Decode> Decode for Option<T> {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if decoder.is_at_end() || decoder.null() { Ok(None) } else { T::decode(decoder).map(Some) }
    }
}

//! Values to bytes (part 1, §1.6): the shortest form of each type.
//!
//! Arrays are the exception: all elements share one constructor, so they take the full-width form.

use bytes::{BufMut, BytesMut};

use crate::value::{Array, Map, Symbol, Value};

/// Format codes of part 1, §1.6.
#[allow(missing_docs, reason = "the names are the standard's")]
pub mod code {
    pub const DESCRIBED: u8 = 0x00;
    pub const NULL: u8 = 0x40;
    pub const TRUE: u8 = 0x41;
    pub const FALSE: u8 = 0x42;
    pub const UINT_0: u8 = 0x43;
    pub const ULONG_0: u8 = 0x44;
    pub const LIST_0: u8 = 0x45;
    pub const UBYTE: u8 = 0x50;
    pub const BYTE: u8 = 0x51;
    pub const SMALL_UINT: u8 = 0x52;
    pub const SMALL_ULONG: u8 = 0x53;
    pub const SMALL_INT: u8 = 0x54;
    pub const SMALL_LONG: u8 = 0x55;
    pub const BOOLEAN: u8 = 0x56;
    pub const USHORT: u8 = 0x60;
    pub const SHORT: u8 = 0x61;
    pub const UINT: u8 = 0x70;
    pub const INT: u8 = 0x71;
    pub const FLOAT: u8 = 0x72;
    pub const CHAR: u8 = 0x73;
    pub const DECIMAL_32: u8 = 0x74;
    pub const ULONG: u8 = 0x80;
    pub const LONG: u8 = 0x81;
    pub const DOUBLE: u8 = 0x82;
    pub const TIMESTAMP: u8 = 0x83;
    pub const DECIMAL_64: u8 = 0x84;
    pub const DECIMAL_128: u8 = 0x94;
    pub const UUID: u8 = 0x98;
    pub const BINARY_8: u8 = 0xa0;
    pub const STRING_8: u8 = 0xa1;
    pub const SYMBOL_8: u8 = 0xa3;
    pub const BINARY_32: u8 = 0xb0;
    pub const STRING_32: u8 = 0xb1;
    pub const SYMBOL_32: u8 = 0xb3;
    pub const LIST_8: u8 = 0xc0;
    pub const MAP_8: u8 = 0xc1;
    pub const LIST_32: u8 = 0xd0;
    pub const MAP_32: u8 = 0xd1;
    pub const ARRAY_8: u8 = 0xe0;
    pub const ARRAY_32: u8 = 0xf0;
}

/// Something that can stand as a value on the wire.
pub trait Encode {
    /// Appends the value, constructor first.
    fn encode(&self, out: &mut BytesMut);
}

/// Appends the descriptor of a composite type: always the one-byte form, which every client understands.
pub fn descriptor(out: &mut BytesMut, descriptor: u8) {
    out.put_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor]);
}

/// Appends a list of `count` values that `fields` writes.
pub fn list(out: &mut BytesMut, count: u32, fields: impl FnOnce(&mut BytesMut)) {
    compound(out, code::LIST_8, code::LIST_32, count, fields);
}

/// Appends a map of `count` keys and values together that `entries` writes.
pub fn map(out: &mut BytesMut, count: u32, entries: impl FnOnce(&mut BytesMut)) {
    compound(out, code::MAP_8, code::MAP_32, count, entries);
}

/// Writes the short header first, for nearly everything fits it, and makes room for the long one when it does not.
fn compound(out: &mut BytesMut, short: u8, long: u8, count: u32, content: impl FnOnce(&mut BytesMut)) {
    const SHORT_HEADER_BYTES: usize = 3;
    const LONG_HEADER_BYTES: usize = 9;
    let start = out.len();
    out.put_slice(&[short, 0, 0]);
    content(out);
    let content_bytes = out.len() - start - SHORT_HEADER_BYTES;
    let header = &mut out[start..];
    match (u8::try_from(content_bytes + 1), u8::try_from(count)) {
        (Ok(size), Ok(count)) => {
            header[1] = size;
            header[2] = count;
        }
        _ => {
            out.put_bytes(0, LONG_HEADER_BYTES - SHORT_HEADER_BYTES);
            let content_start = start + SHORT_HEADER_BYTES;
            out.copy_within(content_start..content_start + content_bytes, start + LONG_HEADER_BYTES);
            out[start] = long;
            out[start + 1..start + 5].copy_from_slice(&length_u32(content_bytes + 4).to_be_bytes());
            out[start + 5..start + 9].copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// A length on the wire. Nothing here is larger than a frame, and frames are counted in 32 bits.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn variable(out: &mut BytesMut, short: u8, long: u8, content: &[u8]) {
    match u8::try_from(content.len()) {
        Ok(length) => out.put_slice(&[short, length]),
        Err(_) => {
            out.put_u8(long);
            out.put_u32(length_u32(content.len()));
        }
    }
    out.put_slice(content);
}

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(if *self { code::TRUE } else { code::FALSE });
    }
}

impl Encode for u8 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[code::UBYTE, *self]);
    }
}

impl Encode for u16 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::USHORT);
        out.put_u16(*self);
    }
}

impl Encode for u32 {
    fn encode(&self, out: &mut BytesMut) {
        match (*self, u8::try_from(*self)) {
            (0, _) => out.put_u8(code::UINT_0),
            (_, Ok(small)) => out.put_slice(&[code::SMALL_UINT, small]),
            (number, Err(_)) => {
                out.put_u8(code::UINT);
                out.put_u32(number);
            }
        }
    }
}

impl Encode for u64 {
    fn encode(&self, out: &mut BytesMut) {
        match (*self, u8::try_from(*self)) {
            (0, _) => out.put_u8(code::ULONG_0),
            (_, Ok(small)) => out.put_slice(&[code::SMALL_ULONG, small]),
            (number, Err(_)) => {
                out.put_u8(code::ULONG);
                out.put_u64(number);
            }
        }
    }
}

impl Encode for i32 {
    fn encode(&self, out: &mut BytesMut) {
        match i8::try_from(*self) {
            Ok(small) => {
                out.put_u8(code::SMALL_INT);
                out.put_i8(small);
            }
            Err(_) => {
                out.put_u8(code::INT);
                out.put_i32(*self);
            }
        }
    }
}

/// Longs keep their eight bytes: the JavaScript client takes the ticks of a lock from the raw eight bytes.
impl Encode for i64 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(code::LONG);
        out.put_i64(*self);
    }
}

impl Encode for str {
    fn encode(&self, out: &mut BytesMut) {
        variable(out, code::STRING_8, code::STRING_32, self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut BytesMut) {
        self.as_str().encode(out);
    }
}

impl Encode for Symbol {
    fn encode(&self, out: &mut BytesMut) {
        variable(out, code::SYMBOL_8, code::SYMBOL_32, self.0.as_bytes());
    }
}

impl Encode for bytes::Bytes {
    fn encode(&self, out: &mut BytesMut) {
        variable(out, code::BINARY_8, code::BINARY_32, self);
    }
}

/// A field that may hold several symbols is an array, also of one (part 1, §1.4: `multiple`).
impl Encode for Vec<Symbol> {
    fn encode(&self, out: &mut BytesMut) {
        let elements = self.iter().cloned().map(Value::Symbol).collect();
        Array { element_code: code::SYMBOL_8, elements }.encode(out);
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(value) => value.encode(out),
            None => out.put_u8(code::NULL),
        }
    }
}

impl Encode for Map {
    fn encode(&self, out: &mut BytesMut) {
        map(out, length_u32(self.0.len() * 2), |out| {
            for (key, value) in &self.0 {
                key.encode(out);
                value.encode(out);
            }
        });
    }
}

impl Encode for Array {
    fn encode(&self, out: &mut BytesMut) {
        let code = self.elements.first().map_or(self.element_code, full_width_code);
        compound(out, code::ARRAY_8, code::ARRAY_32, length_u32(self.elements.len()), |out| {
            if let Some(Value::Described(first)) = self.elements.first() {
                out.put_u8(code::DESCRIBED);
                first.0.encode(out);
                out.put_u8(full_width_code(&first.1));
            } else {
                out.put_u8(code);
            }
            for element in &self.elements {
                match element {
                    Value::Described(described) => full_width(&described.1, out),
                    plain => full_width(plain, out),
                }
            }
        });
    }
}

impl Encode for Value {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Null => out.put_u8(code::NULL),
            Self::Bool(value) => value.encode(out),
            Self::Uint(value) => value.encode(out),
            Self::Ulong(value) => value.encode(out),
            Self::Int(value) => value.encode(out),
            Self::String(value) => value.encode(out),
            Self::Symbol(value) => value.encode(out),
            Self::Binary(value) => value.encode(out),
            Self::List(elements) if elements.is_empty() => out.put_u8(code::LIST_0),
            Self::List(elements) => list(out, length_u32(elements.len()), |out| {
                elements.iter().for_each(|element| element.encode(out));
            }),
            Self::Map(map) => map.encode(out),
            Self::Array(array) => array.encode(out),
            Self::Described(described) => {
                out.put_u8(code::DESCRIBED);
                described.0.encode(out);
                described.1.encode(out);
            }
            fixed => {
                out.put_u8(full_width_code(fixed));
                full_width(fixed, out);
            }
        }
    }
}

/// The constructor under which [`full_width`] writes a value.
fn full_width_code(value: &Value) -> u8 {
    match value {
        Value::Null => code::NULL,
        Value::Bool(_) => code::BOOLEAN,
        Value::Ubyte(_) => code::UBYTE,
        Value::Ushort(_) => code::USHORT,
        Value::Uint(_) => code::UINT,
        Value::Ulong(_) => code::ULONG,
        Value::Byte(_) => code::BYTE,
        Value::Short(_) => code::SHORT,
        Value::Int(_) => code::INT,
        Value::Long(_) => code::LONG,
        Value::Float(_) => code::FLOAT,
        Value::Double(_) => code::DOUBLE,
        Value::Decimal(bytes) if bytes.len() == 4 => code::DECIMAL_32,
        Value::Decimal(bytes) if bytes.len() == 8 => code::DECIMAL_64,
        Value::Decimal(_) => code::DECIMAL_128,
        Value::Char(_) => code::CHAR,
        Value::Timestamp(_) => code::TIMESTAMP,
        Value::Uuid(_) => code::UUID,
        Value::Binary(_) => code::BINARY_32,
        Value::String(_) => code::STRING_32,
        Value::Symbol(_) => code::SYMBOL_32,
        Value::List(_) => code::LIST_32,
        Value::Map(_) => code::MAP_32,
        Value::Array(_) => code::ARRAY_32,
        Value::Described(_) => code::DESCRIBED,
    }
}

/// A value without its constructor, in the width that [`full_width_code`] names.
fn full_width(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.put_u8((*value).into()),
        Value::Ubyte(value) => out.put_u8(*value),
        Value::Ushort(value) => out.put_u16(*value),
        Value::Uint(value) => out.put_u32(*value),
        Value::Ulong(value) => out.put_u64(*value),
        Value::Byte(value) => out.put_i8(*value),
        Value::Short(value) => out.put_i16(*value),
        Value::Int(value) => out.put_i32(*value),
        Value::Long(value) | Value::Timestamp(value) => out.put_i64(*value),
        Value::Float(value) => out.put_f32(*value),
        Value::Double(value) => out.put_f64(*value),
        Value::Decimal(bytes) => out.put_slice(bytes),
        Value::Char(value) => out.put_u32((*value).into()),
        Value::Uuid(bytes) => out.put_slice(bytes),
        Value::Binary(bytes) => long_content(bytes, out),
        Value::String(text) => long_content(text.as_bytes(), out),
        Value::Symbol(symbol) => long_content(symbol.0.as_bytes(), out),
        Value::List(elements) => {
            long_compound(length_u32(elements.len()), out, |out| elements.iter().for_each(|e| e.encode(out)));
        }
        Value::Map(map) => long_compound(length_u32(map.0.len() * 2), out, |out| {
            map.0.iter().for_each(|(key, value)| {
                key.encode(out);
                value.encode(out);
            });
        }),
        Value::Array(array) => long_compound(length_u32(array.elements.len()), out, |out| {
            out.put_u8(array.elements.first().map_or(array.element_code, full_width_code));
            array.elements.iter().for_each(|element| full_width(element, out));
        }),
        Value::Described(described) => described.1.encode(out),
    }
}

fn long_content(content: &[u8], out: &mut BytesMut) {
    out.put_u32(length_u32(content.len()));
    out.put_slice(content);
}

fn long_compound(count: u32, out: &mut BytesMut, content: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(count);
    content(out);
    let size = length_u32(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

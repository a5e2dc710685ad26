//! One macro that turns a composite type's definition, in the order and with the defaults of the standard's tables,
//! into a struct with [`Decode`](crate::decode::Decode) and [`Encode`](crate::encode::Encode).
//!
//! Every field is written, the absent ones as null: clients index performatives by position and the real broker
//! never leaves trailing fields off.

/// Defines composite types. A field is `name: Type` (optional: `Option<…>`), `name: Type = default`, or
/// `name: Type!` for a mandatory one.
macro_rules! composite {
    ($(
        $(#[$meta:meta])*
        $name:ident = $descriptor:literal {
            $( $(#[$field_meta:meta])* $field:ident : $type:ty $(= $default:expr)? $(, !$mandatory:literal)? ; )*
        }
    )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $name {
            /// The type's descriptor.
            pub const DESCRIPTOR: u8 = $descriptor;

            /// Reads the list behind the descriptor.
            ///
            /// # Errors
            /// When a field is of another type, or a mandatory one is missing.
            pub fn decode_fields(decoder: &mut crate::decode::Decoder<'_>) -> Result<Self, crate::decode::DecodeError> {
                #[allow(unused_mut, unused_variables, reason = "some composites have no field")]
                let mut fields = decoder.list()?;
                $( let $field = composite!(@read fields, $type $(, = $default)? $(, ! $mandatory)?); )*
                Ok(Self { $($field),* })
            }
        }

        impl crate::encode::Encode for $name {
            fn encode(&self, out: &mut bytes::BytesMut) {
                const FIELDS: u32 = 0 $( + { let _ = stringify!($field); 1 } )*;
                crate::encode::descriptor(out, $descriptor);
                if FIELDS == 0 {
                    bytes::BufMut::put_u8(out, crate::encode::code::LIST_0);
                    return;
                }
                crate::encode::list(out, FIELDS, |out| { let _ = &out; $( self.$field.encode(out); )* });
            }
        }

        impl crate::decode::Decode for $name {
            fn decode(decoder: &mut crate::decode::Decoder<'_>) -> Result<Self, crate::decode::DecodeError> {
                match decoder.descriptor()? {
                    $descriptor => Self::decode_fields(decoder),
                    found => Err(crate::decode::DecodeError::UnexpectedDescriptor { expected: stringify!($name), found }),
                }
            }
        }
    )+ };
    (@read $fields:ident, $type:ty) => { <$type as crate::decode::Decode>::decode(&mut $fields)? };
    (@read $fields:ident, $type:ty, = $default:expr) => {
        <Option<$type> as crate::decode::Decode>::decode(&mut $fields)?.unwrap_or($default)
    };
    (@read $fields:ident, $type:ty, ! $mandatory:literal) => {
        <Option<$type> as crate::decode::Decode>::decode(&mut $fields)?
            .ok_or(crate::decode::DecodeError::Missing($mandatory))?
    };
}

pub(crate) use composite;

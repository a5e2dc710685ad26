//! The SASL frames (part 5, §5.3.3).

use bytes::{Bytes, BytesMut};

use crate::composite::composite;
use crate::decode::{Decode, DecodeError, Decoder};
use crate::encode::Encode;
use crate::value::Symbol;

composite! {
    /// The mechanisms that the server offers: always an array, also of one.
    Mechanisms = 0x40 {
        /// Their names, the preferred first.
        sasl_server_mechanisms: Vec<Symbol>, !"sasl-server-mechanisms";
    }

    /// The mechanism that the client chose.
    Init = 0x41 {
        /// Its name.
        mechanism: Symbol, !"mechanism of sasl-init";
        /// What it sends first.
        initial_response: Option<Bytes>;
        /// Host that the client wants to reach.
        hostname: Option<String>;
    }

    /// A challenge of the server.
    Challenge = 0x42 {
        /// Its data.
        challenge: Bytes, !"challenge of sasl-challenge";
    }

    /// The client's answer to a challenge.
    Response = 0x43 {
        /// Its data.
        response: Bytes, !"response of sasl-response";
    }

    /// The end of the negotiation.
    Outcome = 0x44 {
        /// 0 ok, 1 authentication failed, 2 system error, 3 permanent, 4 temporary.
        code: u8, !"code of sasl-outcome";
        /// Additional data.
        additional_data: Option<Bytes>;
    }
}

/// Any SASL frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Sasl {
    /// See [`Mechanisms`].
    Mechanisms(Mechanisms),
    /// See [`Init`].
    Init(Init),
    /// See [`Challenge`].
    Challenge(Challenge),
    /// See [`Response`].
    Response(Response),
    /// See [`Outcome`].
    Outcome(Outcome),
}

impl Decode for Sasl {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match decoder.descriptor()? {
            0x40 => Self::Mechanisms(Mechanisms::decode_fields(decoder)?),
            0x41 => Self::Init(Init::decode_fields(decoder)?),
            0x42 => Self::Challenge(Challenge::decode_fields(decoder)?),
            0x43 => Self::Response(Response::decode_fields(decoder)?),
            0x44 => Self::Outcome(Outcome::decode_fields(decoder)?),
            found => return Err(DecodeError::UnexpectedDescriptor { expected: "SASL frame", found }),
        })
    }
}

impl Encode for Sasl {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Mechanisms(frame) => frame.encode(out),
            Self::Init(frame) => frame.encode(out),
            Self::Challenge(frame) => frame.encode(out),
            Self::Response(frame) => frame.encode(out),
            Self::Outcome(frame) => frame.encode(out),
        }
    }
}

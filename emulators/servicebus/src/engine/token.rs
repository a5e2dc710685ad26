//! Lock tokens: which message, which of its locks, of which entity, in the sixteen bytes of a UUID.
//!
//! A token carries all that is needed to find its lock, so there is no table of tokens to keep or to clean.

/// The name of one lock on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken {
    /// The entity that gave the lock; never zero, so that no token is the nil UUID, which .NET reads as "not locked".
    pub entity: u32,
    /// Which of the message's locks it is.
    pub generation: u32,
    /// The message.
    pub sequence_number: u64,
}

impl LockToken {
    /// The token as a UUID in RFC 4122 byte order.
    pub fn to_uuid(self) -> [u8; 16] {
        let mut uuid = [0; 16];
        let (head, tail) = uuid.split_at_mut(8);
        head.copy_from_slice(&((u64::from(self.entity) << 32) | u64::from(self.generation)).to_be_bytes());
        tail.copy_from_slice(&self.sequence_number.to_be_bytes());
        uuid
    }

    /// The token that a UUID in RFC 4122 byte order stands for.
    pub fn from_uuid(uuid: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(uuid);
        #[expect(clippy::cast_possible_truncation, reason = "each part is cut to its width on purpose")]
        let token = Self {
            entity: (number >> 96) as u32,
            generation: (number >> 64) as u32,
            sequence_number: number as u64,
        };
        token
    }

    /// The token as a delivery tag: a UUID in the byte order of .NET, of whose first three groups the bytes are
    /// reversed (`Guid.ToByteArray`).
    pub fn to_delivery_tag(self) -> [u8; 16] {
        swap_groups(self.to_uuid())
    }

    /// The token that a delivery tag stands for.
    pub fn from_delivery_tag(tag: [u8; 16]) -> Self {
        Self::from_uuid(swap_groups(tag))
    }
}

fn swap_groups(bytes: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_uuid_in_the_byte_order_of_dotnet() {
        let uuid = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        let tag = 0x3322_1100_5544_7766_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        let token = LockToken::from_uuid(uuid);
        assert_eq!(token.to_delivery_tag(), tag);
        assert_eq!(LockToken::from_delivery_tag(tag), token);
        assert_eq!(token.to_uuid(), uuid);
    }
}

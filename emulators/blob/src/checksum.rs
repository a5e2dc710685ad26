//! MD5 and CRC64 of a body while it passes, and how headers write them. It keeps no byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc::{CRC_64_NVME, Crc, Table};
use md5::{Digest as _, Md5};

/// The polynomial of Azure's checksum (0x9A6C9329AC4BC9B5, reflected) is that of NVMe.
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_NVME);

/// What was computed of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// MD5.
    pub md5: [u8; 16],
    /// CRC64, as Azure Storage has it.
    pub crc64: u64,
}

/// Both checksums, computed part by part.
pub struct Hasher {
    md5: Md5,
    crc64: crc::Digest<'static, u64, Table<16>>,
}

impl Hasher {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { md5: Md5::new(), crc64: CRC64.digest() }
    }

    /// Takes the next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc64.update(bytes);
    }

    /// The checksums of all parts.
    #[must_use]
    pub fn finish(self) -> Checksums {
        Checksums { md5: self.md5.finalize().into(), crc64: self.crc64.finalize() }
    }
}

/// The CRC64 of these bytes, one behind the other.
#[must_use]
pub fn crc64_of(parts: &[&[u8]]) -> u64 {
    let mut digest = CRC64.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// An MD5 as headers write it.
#[must_use]
pub fn md5_text(md5: &[u8; 16]) -> String {
    BASE64.encode(md5)
}

/// A CRC64 as headers write it: base64 of its eight bytes, the least significant first.
#[must_use]
pub fn crc64_text(crc64: u64) -> String {
    BASE64.encode(crc64.to_le_bytes())
}

/// The bytes of a checksum that a header has; `None` when it is no base64 of so many bytes.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones_however_the_body_is_cut() {
        // The check value of CRC-64/NVME, and the MD5 of the same digits.
        for cut in 0..=9 {
            let mut hasher = Hasher::new();
            let (first, rest) = b"123456789".split_at(cut);
            hasher.update(first);
            hasher.update(rest);
            let found = hasher.finish();
            assert_eq!(found.crc64, 0xae8b_1486_0a79_9888);
            assert_eq!(md5_text(&found.md5), "JfnnlDI7RTiF9RgfG2JNCw==");
        }
        assert_eq!(decode(&crc64_text(0x0102)), Some(0x0102_u64.to_le_bytes()));
        assert_eq!(decode::<16>("AAAA"), None);
        assert_eq!(decode::<8>("no base64"), None);
    }
}

//! Content with the digest that names it. It knows no image.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The digest of content: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Of this content.
    pub fn of(content: &[u8]) -> Self {
        let hash = Sha256::digest(content);
        Self(hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
    }

    /// From its text; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && hex.len() == 64).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Content, what it is, and its digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// The digest of its content.
    pub digest: Digest,
    /// The content.
    pub content: Vec<u8>,
}

impl Blob {
    /// This content under its digest.
    pub fn new(media_type: impl Into<String>, content: Vec<u8>) -> Self {
        Self { media_type: media_type.into(), digest: Digest::of(&content), content }
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} ({} bytes)", self.media_type, self.digest, self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_in_no_other_form() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty), Some(Digest::of(b"")));
        for bad in ["", "sha256:", &empty[..70], &empty.to_uppercase(), &empty.replace("sha256", "sha512")] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
        assert_eq!(Digest::parse(&format!("sha256:../{}", "0".repeat(61))), None, "no path");
    }
}

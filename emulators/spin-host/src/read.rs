//! Reading files with a bound on their size. It must not interpret what it reads.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::path::Path;

/// Reads a whole file of at most `limit_bytes`.
///
/// # Errors
/// As [`File::open`]; [`ErrorKind::FileTooLarge`] over the limit.
pub fn bytes(path: &Path, limit_bytes: u64) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut content =
        Vec::with_capacity(usize::try_from(file.metadata()?.len().min(limit_bytes)).unwrap_or(0));
    // One byte more than the limit shows that there is more, without trusting the size that the system reports.
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit_bytes {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {limit_bytes} bytes")));
    }
    Ok(content)
}

/// Reads a whole UTF-8 file of at most `limit_bytes`.
///
/// # Errors
/// As [`bytes`]; [`ErrorKind::InvalidData`] when it is not UTF-8.
pub fn text(path: &Path, limit_bytes: u64) -> std::io::Result<String> {
    String::from_utf8(bytes(path, limit_bytes)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8 text"))
}

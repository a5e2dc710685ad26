//! Where the bytes of a blob are, how they come in and how they go out, always in parts of at most
//! [`limits::PART_BYTES`]: neither a body nor an answer is ever in memory as a whole on its way. It knows no name and
//! no header.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::checksum::{Checksums, Hasher};
use crate::disk::{ContentFile, Disk, FileWriter, InRecord};
use crate::error::StorageError;
use crate::limits;
use crate::store::Reservation;

/// A piece of content. None is ever changed.
#[derive(Debug, Clone)]
pub enum Part {
    /// In memory. The bytes own exactly their length: no network buffer is kept alive by them.
    Memory(Bytes),
    /// In a record of the log.
    Record(InRecord),
    /// A file of its own.
    File(Arc<ContentFile>),
}

impl Part {
    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Record(part) => part.size_bytes(),
            Self::File(file) => file.size_bytes(),
        }
    }
}

/// The bytes of a blob or a block, in order.
#[derive(Debug, Clone, Default)]
pub struct Content {
    parts: Box<[Part]>,
    size_bytes: u64,
}

impl Content {
    /// These parts, one behind the other.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        let size_bytes = parts.iter().map(Part::size_bytes).sum();
        Self { parts: parts.into_boxed_slice(), size_bytes }
    }

    /// Bytes altogether.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes that are in memory, with what it takes to know where the others are.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let of = |part: &Part| match part {
            Part::Memory(bytes) => bytes.len() as u64,
            Part::Record(_) | Part::File(_) => 0,
        };
        self.bytes_of_parts() + self.parts.iter().map(of).sum::<u64>()
    }

    /// Bytes that it takes to know where the content is; all that is in memory of content on the disk.
    #[must_use]
    pub fn bytes_of_parts(&self) -> u64 {
        (self.parts.len() * size_of::<Part>()) as u64
    }
}

impl AsRef<Self> for Content {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Gives a range of content part by part. It keeps the content alive, whatever becomes of the blob.
#[derive(Debug)]
pub struct Reader<C> {
    content: C,
    part: usize,
    offset: u64,
    left_bytes: u64,
    file: Option<File>,
}

impl<C: AsRef<Content>> Reader<C> {
    /// A reader of `range`, which must lie within the content.
    #[must_use]
    pub fn new(content: C, range: Range<u64>) -> Self {
        let (mut part, mut offset) = (0, range.start);
        for known in content.as_ref().parts() {
            if offset < known.size_bytes() {
                break;
            }
            offset -= known.size_bytes();
            part += 1;
        }
        Self { content, part, offset, left_bytes: range.end - range.start, file: None }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// The next bytes, never none of them; `None` at the end.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next_part(&mut self) -> Option<io::Result<Bytes>> {
        if self.left_bytes == 0 {
            return None;
        }
        let part = self.content.as_ref().parts().get(self.part)?;
        let in_part = (part.size_bytes() - self.offset).min(self.left_bytes);
        let bytes = match part {
            Part::Memory(bytes) => {
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(at(self.offset)..at(self.offset + in_part)))
            }
            Part::Record(record) => {
                read(record.file(), record.offset() + self.offset, in_part.min(limits::PART_BYTES as u64))
            }
            Part::File(file) => {
                let opened = match self.file.take() {
                    Some(opened) => Ok(opened),
                    None => file.open(),
                };
                opened.and_then(|opened| {
                    let bytes = read(&opened, self.offset, in_part.min(limits::PART_BYTES as u64));
                    self.file = Some(opened);
                    bytes
                })
            }
        };
        if let Ok(bytes) = &bytes {
            self.advance(bytes.len() as u64, part.size_bytes());
        }
        Some(bytes)
    }

    fn advance(&mut self, bytes: u64, of_part: u64) {
        self.left_bytes -= bytes;
        self.offset += bytes;
        if self.offset >= of_part {
            (self.part, self.offset, self.file) = (self.part + 1, 0, None);
        }
    }
}

fn read(file: &File, offset: u64, bytes: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(limits::PART_BYTES)];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

/// A body on its way in. What is dropped before [`Upload::finish`] leaves nothing behind.
pub struct Upload {
    hasher: Hasher,
    /// Less than a part; never more than that is held beyond what is kept.
    buffer: Vec<u8>,
    parts: Vec<Part>,
    file: Option<FileWriter>,
    room: Reservation,
    disk: Option<Arc<Disk>>,
    whole_in_file: bool,
    expected_bytes: u64,
}

/// A body that is whole.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub content: Content,
    /// What was computed of them.
    pub checksums: Checksums,
    /// What was reserved for those that are in memory.
    pub room: Reservation,
}

impl Upload {
    /// A body of which `expected_bytes` are announced; they are believed for one part only. With a disk, what is
    /// larger than a part goes to a file, and with `whole_in_file` everything does.
    #[must_use]
    pub fn new(room: Reservation, disk: Option<Arc<Disk>>, expected_bytes: u64, whole_in_file: bool) -> Self {
        let (hasher, parts) = (Hasher::new(), Vec::new());
        Self { hasher, buffer: Vec::new(), parts, file: None, room, disk, whole_in_file, expected_bytes }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `MemoryLimit` or `DiskRefuses`.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.hasher.update(bytes);
        self.room.grow(bytes.len() as u64)?;
        while !bytes.is_empty() {
            if self.buffer.len() >= limits::PART_BYTES {
                self.put_away()?;
            }
            if self.buffer.is_empty() {
                let expected = usize::try_from(self.expected_bytes).unwrap_or(usize::MAX);
                self.buffer
                    .reserve_exact(expected.clamp(bytes.len().min(limits::PART_BYTES), limits::PART_BYTES));
            }
            let (now, later) = bytes.split_at(bytes.len().min(limits::PART_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            self.expected_bytes = self.expected_bytes.saturating_sub(now.len() as u64);
            bytes = later;
        }
        Ok(())
    }

    /// The content, once every byte was pushed. What is in files is on the disk when this returns.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub async fn finish(mut self) -> Result<Received, StorageError> {
        if self.file.is_some() || (self.whole_in_file && self.disk.is_some()) {
            self.put_away()?;
        } else if !self.buffer.is_empty() {
            self.parts.push(Part::Memory(std::mem::take(&mut self.buffer).into_boxed_slice().into()));
        }
        if let Some(file) = self.file.take() {
            self.parts.push(Part::File(file.finish().await?));
        }
        Ok(Received { content: Content::new(self.parts), checksums: self.hasher.finish(), room: self.room })
    }

    fn put_away(&mut self) -> Result<(), StorageError> {
        let Some(disk) = &self.disk else {
            self.parts.push(Part::Memory(std::mem::take(&mut self.buffer).into_boxed_slice().into()));
            return Ok(());
        };
        if self.file.is_none() {
            self.file = Some(disk.new_file()?);
        }
        if let Some(file) = &mut self.file {
            file.write(&self.buffer)?;
        }
        self.room.shrink(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }
}

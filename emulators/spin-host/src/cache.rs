//! Compiled components on disk, so that only the first start of an application compiles it.
//!
//! An entry is two files: the compiled code, and its digest. An entry is named after the module's SHA-256 and
//! everything in the engine that the code depends on. It must not trust what it reads: a file of another user, one that others
//! may write, or one with another digest is compiled anew and replaced.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::{self, hex};
use crate::limits;

/// Changes when entries of an older build of this host may not be used though module and engine are the same.
const FORMAT: &str = "spin-host-2";

/// What one thread takes at a time when it checks compiled code.
const PIECE_BYTES: usize = 2 << 20;

const CODE_EXTENSION: &str = "cwasm";
const DIGEST_EXTENSION: &str = "sha256";

/// A directory of compiled components.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Uses this directory; it is made, for the user alone, when the first entry is written.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The user's own cache directory: `$XDG_CACHE_HOME/spin-host`, else `~/.cache/spin-host`; none without a home.
    pub fn default_directory(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("spin-host"))
    }

    /// The compiled form of the module with this digest, if there is a sound one.
    pub fn get(&self, engine: &Engine, wasm: digest::Digest) -> Option<Component> {
        let entry = self.entry(engine, wasm);
        match self.read(engine, &entry) {
            Ok(component) => Some(component),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = entry.code.display().to_string();
                tracing::warn!(
                    path,
                    error = error.to_string(),
                    "compiled code is not used and will be replaced"
                );
                None
            }
        }
    }

    /// Writes the compiled form of the module with this digest. That it could not be written is logged and no more: it is needed for speed only.
    pub fn put(&self, engine: &Engine, wasm: digest::Digest, code: &[u8]) {
        let entry = self.entry(engine, wasm);
        if let Err(error) = self.write(&entry, code).and_then(|()| self.prune()) {
            let path = entry.code.display().to_string();
            tracing::warn!(
                path,
                error = error.to_string(),
                "compiled code is not kept; the next start compiles again"
            );
        }
    }

    fn entry(&self, engine: &Engine, wasm: digest::Digest) -> Entry {
        let mut key = DigestHasher(Sha256::new());
        FORMAT.hash(&mut key);
        engine.precompile_compatibility_hash().hash(&mut key);
        let name = format!("{}-{}", wasm.hex(), hex(&key.0.finalize()).get(..16).unwrap_or_default());
        Entry {
            code: self.directory.join(format!("{name}.{CODE_EXTENSION}")),
            digest: self.directory.join(format!("{name}.{DIGEST_EXTENSION}")),
        }
    }

    fn read(&self, engine: &Engine, entry: &Entry) -> io::Result<Component> {
        let mut expected = String::new();
        own(&entry.digest)?.take(65).read_to_string(&mut expected)?;
        if digest_of_file(&own(&entry.code)?)? != expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its digest is another one"));
        }
        deserialize(engine, &entry.code)
    }

    fn write(&self, entry: &Entry, code: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // The digest goes last: an entry without one is no entry.
        self.replace(&entry.code, code)?;
        let pieces = code.chunks(PIECE_BYTES).map(|piece| Sha256::digest(piece).into());
        self.replace(&entry.digest, digest_of_pieces(pieces).as_bytes())
    }

    /// Removes the entries that were written longest ago, until the others are within the limit.
    fn prune(&self) -> io::Result<()> {
        let mut codes = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == CODE_EXTENSION) {
                // Another start may have removed it just now.
                let Ok(metadata) = fs::metadata(&path) else { continue };
                codes.push((metadata.modified()?, metadata.len(), path));
            }
        }
        codes.sort_unstable_by(|one, other| other.cmp(one));
        let mut kept_bytes = 0_u64;
        for (_, bytes, code) in codes {
            kept_bytes = kept_bytes.saturating_add(bytes);
            if kept_bytes > limits::CACHE_BYTES {
                // The digest goes first: an entry without one is no entry.
                let _ = fs::remove_file(code.with_extension(DIGEST_EXTENSION));
                let _ = fs::remove_file(code);
            }
        }
        Ok(())
    }

    /// Writes a file under a name of its own, then gives it its real name, so that nobody ever sees half of it.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let draft = path.with_added_extension(format!("{}.new", std::process::id()));
        // One that a killed process of the same id left.
        let _ = fs::remove_file(&draft);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

struct Entry {
    code: PathBuf,
    digest: PathBuf,
}

/// Opens a file that belongs to this user and that no other may write.
fn own(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "other users may write it"));
    }
    Ok(file)
}

/// The digest of compiled code: the SHA-256 of the SHA-256s of its pieces, which several threads can take.
fn digest_of_pieces(pieces: impl Iterator<Item = [u8; 32]>) -> String {
    let mut digest = Sha256::new();
    pieces.for_each(|piece| digest.update(piece));
    hex(&digest.finalize())
}

/// The digest of a file. Of a TypeScript component's 50 MB, one thread would take 25 ms of its start.
fn digest_of_file(file: &File) -> io::Result<String> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let count = length.div_ceil(PIECE_BYTES);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count.max(1));
    let read = |first: usize| {
        let mut content = vec![0; PIECE_BYTES.min(length)];
        let each = (first..count).step_by(threads).map(|piece| {
            let start = piece * PIECE_BYTES;
            let content = content.get_mut(..PIECE_BYTES.min(length - start)).unwrap_or_default();
            file.read_exact_at(content, start as u64)?;
            Ok((piece, Sha256::digest(content).into()))
        });
        each.collect::<io::Result<Vec<(usize, [u8; 32])>>>()
    };
    let mut pieces = Vec::with_capacity(count);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|first| scope.spawn(move || read(first))).collect();
        pieces.extend(read(0)?);
        for other in others {
            pieces.extend(other.join().map_err(|_| io::Error::other("a thread that reads it ended"))??);
        }
        Ok::<_, io::Error>(())
    })?;
    pieces.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(digest_of_pieces(pieces.into_iter().map(|(_, digest)| digest)))
}

#[expect(unsafe_code, reason = "wasmtime cannot check that compiled code is what a compiler made")]
fn deserialize(engine: &Engine, path: &Path) -> io::Result<Component> {
    // SAFETY: the file was written by this program as this user (`replace`), nobody else could have changed it (`own`),
    // and its content is what was written (the digest). Files are replaced by renaming, never changed in place, so the
    // mapping stays what it is.
    unsafe { Component::deserialize_file(engine, path) }
        .map_err(|error| io::Error::other(format!("{error:#}")))
}

/// Collects what is hashed into a digest that two programs agree on.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the whole digest is taken.
        0
    }
}

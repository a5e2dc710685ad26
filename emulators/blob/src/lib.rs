//! Azure Blob Storage in one process, fast enough not to be what is measured.
//!
//! Containers and block blobs over plain HTTP in path style, with Shared Key and shared access signatures checked and
//! Azure's errors; in memory, or in a data directory that outlives the program. A recorder says when each blob was
//! written. It knows nothing of who uses it.
//!
//! From outside in: [`serve`] has the connections, `http` reads a request and writes the answer, `auth` decides who
//! may, `store` holds the blobs, `content` has their bytes, `disk` writes down what must not be lost. `store` is told
//! the time.

mod account;
mod auth;
mod checksum;
mod content;
mod disk;
mod error;
mod http;
/// Every bound, in one place.
pub mod limits;
mod recorder;
mod server;
mod store;
mod time;

pub use account::{Account, AccountsError, DEFAULT_ACCOUNT, DEFAULT_KEY, default_accounts, parse_accounts};
pub use disk::OpenError;
pub use server::{BlobStore, Config, DiskFailed, listen, serve};

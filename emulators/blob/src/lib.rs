//! Azure Blob Storage in memory, fast enough not to be what is measured.
//!
//! Containers and block blobs over plain HTTP in path style, with Shared Key and account SAS checked and Azure's
//! errors. A recorder says when each blob was written. It knows nothing of who uses it.
//!
//! From outside in: [`serve`] has the connections, `http` reads a request and writes the answer, `auth` decides who
//! may, `store` holds the blobs. `store` does no I/O and is told the time, so that a store on disk can take its place
//! and block lists can come beside it.

mod account;
mod auth;
mod error;
mod http;
/// Every bound, in one place.
pub mod limits;
mod recorder;
mod server;
mod store;
mod time;

pub use account::{Account, AccountsError, DEFAULT_ACCOUNT, DEFAULT_KEY, default_accounts, parse_accounts};
pub use server::{Config, listen, serve};

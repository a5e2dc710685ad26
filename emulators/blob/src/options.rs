//! The flags: ours, and those of Azurite that mean something here. One that cannot be honoured is refused by name, with
//! what to do.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use blob_emulator::Config;
use clap::Parser;

/// Where it listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10000);

/// Azure Blob Storage for development and benchmarks: containers and block blobs over plain HTTP, path style.
///
/// Prints one JSON line with its address on stdout when it answers; logs go to stderr (RUST_LOG, LOG_FORMAT=json).
/// SIGTERM and SIGINT end it with 0 after what is in flight is finished; a wrong flag or account list ends it with 2,
/// anything else that fails with 1. Blobs are in memory unless --data names a directory.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address to listen on; port 0 means any free port. 127.0.0.1:10000 unless given.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["blob_host", "blob_port"])]
    listen: Option<SocketAddr>,

    /// Directory in which blobs outlive the program: what was answered is on the disk. Azurite's --location.
    #[arg(long, value_name = "DIR", visible_alias = "location", short_alias = 'l')]
    data: Option<PathBuf>,

    /// Accounts instead of devstoreaccount1: name:key1[:key2];name:key1[:key2];… with keys in base64. Prefer the
    /// environment: arguments can be read by everybody on the machine.
    #[arg(long, value_name = "LIST", env = "AZURITE_ACCOUNTS", hide_env_values = true)]
    accounts: Option<String>,

    /// Most MiB that all blobs together may take in memory. Azurite's --extentMemoryLimit.
    #[arg(
        long,
        value_name = "MIB",
        visible_alias = "extentMemoryLimit",
        default_value_t = blob_emulator::limits::DEFAULT_MEMORY_LIMIT_MIB,
    )]
    memory_limit_mib: u64,

    /// Stop when stdin ends, as a supervisor's death makes it end.
    #[arg(long)]
    pub stop_on_stdin_eof: bool,

    #[command(flatten)]
    azurite: Azurite,
}

/// Azurite's own flags, by its names.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "As Azurite has them")]
struct Azurite {
    /// Host to listen on, an address.
    #[arg(long = "blobHost", value_name = "HOST")]
    blob_host: Option<IpAddr>,

    /// Port to listen on.
    #[arg(long = "blobPort", value_name = "PORT")]
    blob_port: Option<u16>,

    /// Keep blobs in memory, which is what happens without --data.
    #[arg(long = "inMemoryPersistence", conflicts_with = "data")]
    in_memory_persistence: bool,

    /// Taken and true anyway: no access log is ever written.
    #[arg(long, short)]
    silent: bool,

    /// Taken and true anyway: headers and parameters that nobody here knows are not looked at.
    #[arg(long, short = 'L')]
    loose: bool,

    /// Taken and true anyway: any version that looks like one is served.
    #[arg(long = "skipApiVersionCheck")]
    skip_api_version_check: bool,

    /// Taken and true anyway: the account is always the first part of the path.
    #[arg(long = "disableProductStyleUrl")]
    disable_product_style_url: bool,

    /// Taken and true anyway: nothing is ever sent anywhere.
    #[arg(long = "disableTelemetry")]
    disable_telemetry: bool,

    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    cert: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    key: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    pwd: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    oauth: Option<String>,
    #[arg(long, short, hide = true, num_args = 0..=1, default_missing_value = "")]
    debug: Option<String>,
    #[arg(long = "blobKeepAliveTimeout", hide = true, num_args = 0..=1, default_missing_value = "")]
    blob_keep_alive_timeout: Option<String>,
}

/// Why the flags are not usable together with what there is.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The account list.
    #[error("cannot use --accounts or AZURITE_ACCOUNTS: {0}")]
    Accounts(blob_emulator::AccountsError),
    /// A flag of Azurite's.
    #[error("cannot take Azurite's {flag}: {instead}")]
    NotHere {
        /// The flag.
        flag: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl Args {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        let host = self.azurite.blob_host.unwrap_or(DEFAULT_LISTEN.ip());
        let port = self.azurite.blob_port.unwrap_or(DEFAULT_LISTEN.port());
        self.listen.unwrap_or(SocketAddr::new(host, port))
    }

    /// What the library is told.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn config(&self) -> Result<Config, OptionsError> {
        self.azurite.refuse_what_is_not_here()?;
        let accounts = self.accounts.as_deref().map(blob_emulator::parse_accounts).transpose();
        Ok(Config {
            accounts: accounts
                .map_err(OptionsError::Accounts)?
                .unwrap_or_else(blob_emulator::default_accounts),
            memory_limit_bytes: self.memory_limit_mib.saturating_mul(1 << 20),
            data: self.data.clone(),
        })
    }
}

impl Azurite {
    fn refuse_what_is_not_here(&self) -> Result<(), OptionsError> {
        let https = "there is no HTTPS here; use http, or put a proxy that speaks it in front";
        for (given, flag, instead) in [
            (&self.cert, "--cert", https),
            (&self.key, "--key", https),
            (&self.pwd, "--pwd", https),
            (&self.oauth, "--oauth", "there is no OAuth here; sign with the account's key, or use a SAS"),
            (&self.debug, "--debug", "set RUST_LOG=debug, and send stderr to a file"),
            (
                &self.blob_keep_alive_timeout,
                "--blobKeepAliveTimeout",
                "an idle connection is kept for ten minutes; leave the flag away",
            ),
        ] {
            if given.is_some() {
                return Err(OptionsError::NotHere { flag, instead });
            }
        }
        Ok(())
    }
}

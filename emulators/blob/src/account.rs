//! The accounts that may use the store, with their keys. It compares no signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

/// Name of the account that every storage emulator has.
pub const DEFAULT_ACCOUNT: &str = "devstoreaccount1";

/// Its key: public, documented by Microsoft ("Use Azurite emulator", well-known storage account and key).
pub const DEFAULT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A key, ready to sign: the key's own two compressions are done once here and not for every request.
pub type SigningKey = Hmac<Sha256>;

/// A name and one or two keys.
#[derive(Debug, Clone)]
pub struct Account {
    /// The first segment of every path.
    pub name: String,
    /// Either one is accepted.
    pub keys: Vec<SigningKey>,
}

/// Why a list of accounts is not usable. No key is ever part of the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountsError {
    /// Not `name:key` or `name:key:key`.
    #[error(
        "account {position} is not of the form name:key or name:key1:key2 (accounts are separated by ';')"
    )]
    Form {
        /// Place in the list, from 1.
        position: usize,
    },
    /// A name with other characters.
    #[error("the name of account {position} must be 3 to 24 lower-case letters and digits")]
    Name {
        /// Place in the list, from 1.
        position: usize,
    },
    /// A key that is no base64.
    #[error("a key of account {position} is not base64")]
    Key {
        /// Place in the list, from 1.
        position: usize,
    },
    /// Nothing there.
    #[error("the list of accounts is empty; give at least one name:key")]
    Empty,
}

/// The default account alone.
#[must_use]
pub fn default_accounts() -> Vec<Account> {
    parse_accounts(&format!("{DEFAULT_ACCOUNT}:{DEFAULT_KEY}")).unwrap_or_default()
}

/// Reads Azurite's `AZURITE_ACCOUNTS`: `name:key1[:key2];name:key1[:key2];…`, keys in base64.
///
/// # Errors
/// See [`AccountsError`].
pub fn parse_accounts(text: &str) -> Result<Vec<Account>, AccountsError> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let accounts = parts.enumerate().map(|(index, part)| parse_account(part, index + 1));
    let accounts = accounts.collect::<Result<Vec<_>, _>>()?;
    if accounts.is_empty() { Err(AccountsError::Empty) } else { Ok(accounts) }
}

fn parse_account(text: &str, position: usize) -> Result<Account, AccountsError> {
    let mut fields = text.split(':');
    let name = fields.next().unwrap_or_default();
    let keys: Vec<&str> = fields.collect();
    if keys.is_empty() || keys.len() > 2 {
        return Err(AccountsError::Form { position });
    }
    let well_formed = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !well_formed || !(3..=24).contains(&name.len()) {
        return Err(AccountsError::Name { position });
    }
    let keys = keys.into_iter().map(signing_key).collect::<Option<Vec<_>>>();
    Ok(Account { name: name.to_owned(), keys: keys.ok_or(AccountsError::Key { position })? })
}

fn signing_key(base64: &str) -> Option<SigningKey> {
    let bytes = BASE64.decode(base64).ok().filter(|bytes| !bytes.is_empty())?;
    SigningKey::new_from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_account_is_there() {
        let accounts = default_accounts();
        assert_eq!(
            accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(),
            [DEFAULT_ACCOUNT]
        );
    }

    #[test]
    fn several_accounts_and_second_keys_are_read() {
        let accounts = parse_accounts("one:a2V5;two1:a2V5:b3RoZXI=;").expect("well-formed");
        assert_eq!(accounts.iter().map(|account| account.keys.len()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place_and_never_shows_a_key() {
        for (text, error) in [
            ("", AccountsError::Empty),
            ("one", AccountsError::Form { position: 1 }),
            ("one:a2V5;two1:a:b:c", AccountsError::Form { position: 2 }),
            ("UPPER:a2V5", AccountsError::Name { position: 1 }),
            ("one:not*base64", AccountsError::Key { position: 1 }),
            ("one:", AccountsError::Key { position: 1 }),
        ] {
            assert_eq!(parse_accounts(text).map(drop).expect_err(text), error);
            assert!(!error.to_string().contains("base64*"));
        }
    }
}

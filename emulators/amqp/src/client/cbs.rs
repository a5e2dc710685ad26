//! Claims-based security: a token put at `$cbs` opens a node for the connection.

use super::{ClientError, Connection};
use crate::value::{Map, Value};

/// Puts a token for `audience` (such as `amqp://host/queue`) at `$cbs`. `token_type` says what it is, as in
/// `servicebus.windows.net:sastoken`; `expires_unix_ms` is when it ends.
///
/// # Errors
/// When the peer refuses the token or the connection is lost.
pub async fn put_token(
    connection: &Connection,
    audience: &str,
    token_type: &str,
    token: &str,
    expires_unix_ms: i64,
) -> Result<(), ClientError> {
    let cbs = connection.requester("$cbs").await?;
    let properties = Map::new()
        .with_string("operation", "put-token".into())
        .with_string("type", token_type.into())
        .with_string("name", audience.into())
        .with_string("expiration", Value::Timestamp(expires_unix_ms));
    cbs.request_ok(&properties, &token.into()).await.map(|_| ())
}

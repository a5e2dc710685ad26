//! The connection to one broker: made when first needed, shared by all components of one connection string, made again
//! when it broke.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amqp::client::{self, ClientError, ConnectOptions, Connection};
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::settings::Endpoint;
use crate::go::text::query_escape;
use crate::limits::BROKER_CONNECT_TIMEOUT;

/// How long a token is good for. Service Bus looks at it when a link is opened; a connection seldom lives longer.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A broker and the connection to it.
#[derive(Debug)]
pub struct Broker {
    endpoint: Endpoint,
    container_id: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// Queues that a token was put for on this connection.
    authorized: HashSet<String>,
}

impl Broker {
    /// A broker that is not connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, app_id: &str) -> Self {
        let container_id = format!("dapr-{app_id}-{}", uuid::Uuid::new_v4());
        Self { endpoint, container_id, state: Mutex::default() }
    }

    /// A connection on which links to `queue` may be opened. Callers that come while one is made wait for it.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub async fn connection(&self, queue: &str) -> Result<Connection, ClientError> {
        let mut state = self.state.lock().await;
        let connection = match &state.connection {
            Some(connection) if connection.is_open() => connection.clone(),
            _ => {
                let mut options = ConnectOptions::new(&self.endpoint.address, &self.container_id);
                options.connect_timeout = BROKER_CONNECT_TIMEOUT;
                let connection = client::connect(options).await?;
                *state = State { connection: Some(connection.clone()), authorized: HashSet::new() };
                connection
            }
        };
        if !state.authorized.contains(queue) {
            let host = self.endpoint.address.rsplit_once(':').map_or("", |(host, _)| host);
            let audience = format!("amqp://{host}/{queue}");
            let expires = SystemTime::now() + TOKEN_LIFE;
            let expires_unix_s = expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let token = sas_token(&self.endpoint, &audience, expires_unix_s);
            let expires_unix_ms = expires_unix_s.cast_signed() * 1000;
            let token_type = "servicebus.windows.net:sastoken";
            client::put_token(&connection, &audience, token_type, &token, expires_unix_ms).await?;
            state.authorized.insert(queue.to_owned());
        }
        Ok(connection)
    }

    /// Closes the connection, if there is one.
    pub async fn close(&self) {
        let connection = self.state.lock().await.connection.take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }
}

/// A shared access signature: HMAC-SHA256 over the escaped resource and the expiry.
fn sas_token(endpoint: &Endpoint, resource: &str, expires_unix_s: u64) -> String {
    let resource = query_escape(resource);
    // HMAC takes keys of any length, so this cannot fail; a signature over nothing would be refused by the broker.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(endpoint.key.as_bytes()) else { return String::new() };
    mac.update(format!("{resource}\n{expires_unix_s}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let signature = query_escape(&signature);
    format!(
        "SharedAccessSignature sr={resource}&sig={signature}&se={expires_unix_s}&skn={}",
        endpoint.key_name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_known_one() {
        let endpoint = Endpoint {
            address: "localhost:5672".to_owned(),
            key_name: "RootManageSharedAccessKey".to_owned(),
            key: "SAS_KEY_VALUE".to_owned(),
        };
        let token = sas_token(&endpoint, "sb://localhost/queue.1", 1_767_225_600);
        // Computed by the Python SDK's own generator for the same key, resource and expiry.
        assert!(token.contains("sig=xXrbaW58go79HC40fE3NndgYRaAHO3%2BFM5br0BD4ybo%3D"), "{token}");
        assert!(token.starts_with("SharedAccessSignature sr=sb%3A%2F%2Flocalhost%2Fqueue.1&"));
        assert!(token.ends_with("&se=1767225600&skn=RootManageSharedAccessKey"));
    }
}

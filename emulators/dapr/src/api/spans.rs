//! What a call's span tells (dapr, `pkg/diagnostics/http_tracing.go`).

use std::net::SocketAddr;

use http::StatusCode;
use http::header::HeaderMap;
use http::request::Parts;

use super::invoke::Target;
use crate::trace::Description;

/// What a call was, before it is carried out.
pub(super) struct Request(Description);

impl Request {
    /// The call with this head and these decoded parts of its path, from `peer`.
    pub(super) fn of(head: &Parts, segments: &[&str], peer: Option<SocketAddr>) -> Self {
        let path = head.uri.path();
        let mut description = Description { name: path.to_owned(), ..Description::default() };
        user_defined(&head.headers, &mut description);
        let api = format!("{} {path}", head.method);
        description.tag("dapr.api", api.clone());
        description.tag("dapr.protocol", "http");
        description.tag("http.request.method", head.method.as_str());
        description.tag("url.full", head.uri.to_string());
        if let Some(peer) = peer {
            description.remote = peer.ip().to_string();
            description.tag("server.address", peer.ip().to_string());
            description.tag("server.port", peer.port().to_string());
        }
        if let ["v1.0", "bindings", name] = segments {
            description.tag("db.name", *name);
            description.tag("db.system", "bindings");
            description.tag("db.connection_string", "bindings");
            description.tag("db.statement", api);
        } else if let Some(target) = Target::of(path, &head.headers) {
            description.name = format!("CallLocal/{}/{}", target.id, target.method);
            description.tag("rpc.service", "ServiceInvocation");
            description.tag("net.peer.name", target.id);
        }
        Self(description)
    }

    /// With what came of it.
    pub(super) fn answered(self, status: StatusCode) -> Description {
        let Self(mut description) = self;
        description.tag("dapr.status_code", status.as_str());
        description.fail_from(status);
        description
    }
}

/// Headers that begin with `dapr-` are tags.
fn user_defined(headers: &HeaderMap, description: &mut Description) {
    for (name, value) in headers {
        let is_told = name.as_str().starts_with("dapr-");
        if let (true, Ok(value)) = (is_told && name != crate::app::API_TOKEN, value.to_str()) {
            description.tag(name.as_str(), value);
        }
    }
}

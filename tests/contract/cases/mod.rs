//! The contract as data: every exchange that it says something about, and what has to come of it.

mod dapr;
mod refused;
mod routes;
mod taken;

use crate::case::{Answer, Asked, Body, Case, Order, Outcome, Request};
use crate::dapr::Conduct;

/// The largest body that an application takes, bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The three routes that take orders.
pub const ORDER_ROUTES: [&str; 3] = [INGRESS, EXPRESS, STANDARD];

pub const INGRESS: &str = "/q-order-ingress";
pub const EXPRESS: &str = "/q-order-express-in";
pub const STANDARD: &str = "/q-order-standard-in";

/// An order like any other.
pub const PLAIN: &str = r#"{"orderId":17,"delivery":"Express","description":"plain"}"#;

/// Every case, in the order of the table.
pub fn all() -> Vec<Case> {
    [routes::cases(), taken::cases(), refused::cases(), dapr::cases()].concat()
}

/// A POST of JSON.
fn post(path: &'static str, body: impl Into<Vec<u8>>) -> Request {
    Request { method: "POST", path, content_type: Some("application/json"), body: Body::Whole(body.into()) }
}

/// A request without a body.
fn bare(method: &'static str, path: &'static str) -> Request {
    Request { method, path, content_type: None, body: Body::None }
}

/// A case whose Dapr answers well.
fn case(group: &'static str, name: impl Into<String>, request: Request, outcome: Outcome) -> Case {
    Case { group, name: name.into(), request, conduct: Conduct::WELL, allowed: vec![outcome] }
}

/// Answered so, and nothing is sent on.
const fn nothing(statuses: &'static [u16]) -> Outcome {
    Outcome { answer: Answer::Status(statuses), asked: Asked::Nothing }
}

/// The order goes to this binding; answered so.
fn creates(answer: Answer, binding: &'static str, order: Order, blob_name: Option<&'static str>) -> Outcome {
    Outcome { answer, asked: Asked::Order { binding, order, blob_name } }
}

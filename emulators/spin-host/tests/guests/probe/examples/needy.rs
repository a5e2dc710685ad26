//! A guest that imports what not every host has: `/redis` calls it, any other path does not.

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;

#[http_component]
fn handle(request: Request) -> Response {
    let said = match request.path() {
        "/redis" => match spin_sdk::redis::Connection::open("redis://localhost") {
            Ok(_) => "connected".to_owned(),
            Err(error) => format!("{error:?}"),
        },
        _ => "there was no need".to_owned(),
    };
    Response::new(200, said)
}

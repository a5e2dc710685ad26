//! Which routes there are, and what they take.

use super::{EXPRESS, INGRESS, ORDER_ROUTES, PLAIN, STANDARD, bare, case, nothing, post};
use crate::case::{Answer, Asked, Case, Outcome};
use crate::dapr::Conduct;

const GROUP: &str = "Routes";

/// What Dapr says of itself; the spaces show that it is passed through as it is.
const METADATA: &str = r#"{"id": "distributor",  "runtimeVersion":"1.18.3","components":[]}"#;

/// What it says where it cannot.
const NO_METADATA: &str = r#"{"errorCode":"ERR_METADATA","message":"<&> ü"}"#;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(GROUP, "`GET /healthz`", bare("GET", "/healthz"), nothing(&[200])),
        case(GROUP, "`GET /healthz` with a query", bare("GET", "/healthz?probe=1"), nothing(&[200])),
    ];
    cases.extend(metadata());
    for path in ORDER_ROUTES {
        // Dapr's subscription probe: 2xx and 405 mean "yes", 404 means "no".
        let (name, request) = (format!("`OPTIONS {path}`"), bare("OPTIONS", path));
        cases.push(case(GROUP, name, request, nothing(&[200, 204, 405])));
    }
    for path in ["/q-order-overnight-in", "/q-order-express-out", "/"] {
        cases.push(case(GROUP, format!("`OPTIONS {path}`"), bare("OPTIONS", path), nothing(&[404])));
    }
    for path in [
        "/q-order-overnight-in",
        "/q-order-express-out",
        "/",
        "/q-order-ingress/",
        "//q-order-ingress",
        "/q-order-ingress/1",
        "/q-order-ingressed",
        "/Q-ORDER-INGRESS",
        "/api/q-order-ingress",
    ] {
        cases.push(case(GROUP, format!("`POST {path}`"), post(path, PLAIN), nothing(&[404])));
    }
    for path in ["/healthz/", "/HEALTHZ", "/health", "/dapr-metadata/", "/v1.0/metadata"] {
        cases.push(case(GROUP, format!("`GET {path}`"), bare("GET", path), nothing(&[404])));
    }
    for (method, path) in [("GET", INGRESS), ("GET", EXPRESS), ("GET", STANDARD), ("DELETE", INGRESS)] {
        cases.push(case(GROUP, format!("`{method} {path}`"), bare(method, path), nothing(&[405])));
    }
    for (method, path) in
        [("PUT", INGRESS), ("PATCH", STANDARD), ("POST", "/healthz"), ("POST", "/dapr-metadata")]
    {
        let mut request = post(path, PLAIN);
        request.method = method;
        cases.push(case(GROUP, format!("`{method} {path}` with an order"), request, nothing(&[405])));
    }
    cases
}

fn metadata() -> Vec<Case> {
    let ask = |name: &str, conduct: Conduct, allowed: &[Answer]| Case {
        conduct,
        allowed: allowed
            .iter()
            .map(|answer| Outcome { answer: answer.clone(), asked: Asked::Metadata })
            .collect(),
        ..case(
            GROUP,
            format!("`GET /dapr-metadata`, and Dapr {name}"),
            bare("GET", "/dapr-metadata"),
            nothing(&[]),
        )
    };
    let answers = |status, body| Conduct::Answers { status, body };
    let passed_on = |status, body| vec![Answer::PassedOn(status, body)];
    vec![
        ask("answers", answers(200, METADATA), &passed_on(200, METADATA)),
        ask("answers 500", answers(500, NO_METADATA), &passed_on(500, NO_METADATA)),
        ask("answers 403", answers(403, NO_METADATA), &passed_on(403, NO_METADATA)),
        ask("closes the connection", Conduct::Writes(""), &[Answer::ServerError]),
        ask("answers with what is no HTTP", Conduct::Writes("garbage\r\n\r\n"), &[Answer::ServerError]),
        ask(
            "breaks off within its answer",
            Conduct::Writes("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":"),
            &[Answer::ServerError, Answer::BreaksOff],
        ),
        Case {
            allowed: vec![Outcome { answer: Answer::ServerError, asked: Asked::Nothing }],
            ..ask("is not there", Conduct::Gone, &[])
        },
    ]
}

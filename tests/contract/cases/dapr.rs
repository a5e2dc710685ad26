//! What Dapr may do with an order, and that a 2xx is a promise that Dapr has it.

use super::{EXPRESS, INGRESS, PLAIN, STANDARD, case, creates, nothing, post};
use crate::case::{Answer, Asked, Case, Order, Outcome};
use crate::dapr::Conduct;

const GROUP: &str = "What Dapr does";

/// Dapr's own words.
const REFUSAL: &str = r#"{"errorCode":"ERR_INVOKE_OUTPUT_BINDING","message":"it <is> \"so\""}"#;

pub fn cases() -> Vec<Case> {
    let answers = |status, body| Conduct::Answers { status, body };
    let taken = Answer::Status(&[200]);
    let given_back = Answer::ServerError;
    let mut cases = Vec::new();
    let mut add = |name: &str, conduct: &Conduct, answer: &Answer| {
        cases.push(sent(name, conduct.clone(), answer.clone()));
    };
    add("answers 200 with a body", &answers(200, r#"{"blobURL":"http://blob/17"}"#), &taken);
    add("answers 200 without a body", &answers(200, ""), &taken);
    add("answers 201", &answers(201, "{}"), &taken);
    add("answers 204", &answers(204, ""), &taken);
    let last = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    add("answers 204 and closes the connection", &Conduct::Writes(last), &taken);
    let chunks =
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    add("answers 200 in chunks", &Conduct::Writes(chunks), &taken);
    let until_the_end = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}";
    add("answers 200 until the connection ends", &Conduct::Writes(until_the_end), &taken);
    let early = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    add("answers 103, then 204", &Conduct::Writes(early), &taken);
    for status in [400, 401, 403, 404, 413, 429, 500, 502, 503] {
        add(&format!("answers {status}"), &answers(status, REFUSAL), &given_back);
    }
    add("answers 500 without a body", &answers(500, ""), &given_back);
    for status in [301, 302, 303, 307, 308] {
        add(&format!("answers {status} to elsewhere"), &Conduct::Redirects(status), &given_back);
    }
    add("closes the connection", &Conduct::Writes(""), &given_back);
    add("closes the connection within its head", &Conduct::Writes("HTTP/1.1 2"), &given_back);
    add("answers with what is no HTTP", &Conduct::Writes("garbage\r\n\r\n"), &given_back);
    add("answers with what is not HTTP/1.1", &Conduct::Writes("HTTP/9.9 200 OK\r\n\r\n"), &given_back);
    add("answers with a status that is none", &Conduct::Writes("HTTP/1.1 2OO OK\r\n\r\n"), &given_back);
    let broken_error = "HTTP/1.1 500 Oh\r\ncontent-length: 99\r\n\r\n{";
    add("breaks off within a 500", &Conduct::Writes(broken_error), &given_back);
    cases.extend(breaks_off_when_it_has_the_order());
    cases.extend(is_not_there());
    cases.extend(receivers());
    cases
}

/// The distributor sends an order on once, whatever Dapr does.
fn sent(name: &str, conduct: Conduct, answer: Answer) -> Case {
    let outcome = creates(answer, "q-order-express-out", Order::Value(PLAIN.to_owned()), None);
    Case { conduct, ..case(GROUP, format!("Dapr {name}"), post(INGRESS, PLAIN), outcome) }
}

/// Dapr has it and says so before it breaks off: both answers keep the promise.
fn breaks_off_when_it_has_the_order() -> Vec<Case> {
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    let garbled = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let either = |name: &str, bytes| {
        let mut case = sent(name, Conduct::Writes(bytes), Answer::Status(&[200]));
        let gives_back = Outcome { answer: Answer::ServerError, ..case.allowed[0].clone() };
        case.allowed.push(gives_back);
        case
    };
    vec![either("breaks off within a 200", broken), either("garbles the chunks of a 200", garbled)]
}

fn is_not_there() -> Vec<Case> {
    let routes = [INGRESS, EXPRESS, STANDARD].into_iter();
    let mut cases: Vec<_> = routes
        .map(|path| Case {
            conduct: Conduct::Gone,
            allowed: vec![Outcome { answer: Answer::ServerError, asked: Asked::Nothing }],
            ..case(GROUP, format!("`{path}`: Dapr is not there"), post(path, PLAIN), nothing(&[]))
        })
        .collect();
    // An application without Dapr is well, and what is no order is the sender's fault all the same.
    let well = super::bare("GET", "/healthz");
    cases.push(Case {
        conduct: Conduct::Gone,
        ..case(GROUP, "`GET /healthz`: Dapr is not there", well, nothing(&[200]))
    });
    cases.push(Case {
        conduct: Conduct::Gone,
        ..case(GROUP, "no order: Dapr is not there", post(INGRESS, "{}"), nothing(&[400]))
    });
    cases.push(sent("is there again", Conduct::WELL, Answer::Status(&[200])));
    cases
}

fn receivers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, outbox) in [(EXPRESS, "express-outbox"), (STANDARD, "standard-outbox")] {
        for (name, conduct, answer) in [
            ("answers 200", Conduct::Answers { status: 200, body: "{}" }, Answer::Status(&[200])),
            ("answers 500", Conduct::Answers { status: 500, body: REFUSAL }, Answer::ServerError),
            ("answers 404", Conduct::Answers { status: 404, body: "" }, Answer::ServerError),
            ("closes the connection", Conduct::Writes(""), Answer::ServerError),
        ] {
            let outcome = creates(answer, outbox, Order::Value(PLAIN.to_owned()), Some("17"));
            let name = format!("`{path}`: Dapr {name}");
            cases.push(Case { conduct, ..case(GROUP, name, post(path, PLAIN), outcome) });
        }
    }
    cases
}

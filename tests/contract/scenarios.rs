//! What takes more than one exchange to be seen: many at once, many on one connection, a Dapr that is slow or comes and
//! goes, a sender that goes away.

use std::collections::BTreeMap;
use std::pin::Pin;

use tokio::task::JoinSet;

use crate::case::{Asked, Order};
use crate::cases::{EXPRESS, INGRESS, PLAIN, STANDARD};
use crate::dapr::Conduct;
use crate::stage::Stage;
use crate::wire::{Connection, Message};

/// Orders that are under way at the same time.
const AT_ONCE: usize = 64;

/// Requests on one connection.
const IN_A_ROW: usize = 100;

/// Attempts, one after the other, within which an order passes once Dapr is back.
const ATTEMPTS: usize = 5;

/// What stands in the table.
type Cell = &'static str;

type Run = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Result<Cell, String>> + Send + 'a>>;

/// Something that is done with an application, and what has to come of it.
pub struct Scenario {
    pub name: &'static str,
    pub expected: &'static str,
    pub run: Run,
}

/// Every one, in the order of the table.
pub const ALL: [Scenario; 7] = [
    Scenario {
        name: "64 orders at once, none answered before Dapr has all",
        expected: "64 × 200; each arrives once and unaltered",
        run: |stage| Box::pin(at_once(stage)),
    },
    Scenario {
        name: "100 requests on one connection, orders and others in turn",
        expected: "each its own answer; the connection stays",
        run: |stage| Box::pin(in_a_row(stage)),
    },
    Scenario {
        name: "a Dapr that takes its time",
        expected: "no answer before Dapr's; `GET /healthz` is 200 meanwhile; then 200",
        run: |stage| Box::pin(slow_dapr(stage)),
    },
    Scenario {
        name: "Dapr restarts between two orders",
        expected: "200, after 5xx at most a few times; what is answered 200 Dapr has",
        run: |stage| Box::pin(dapr_restarts(stage)),
    },
    Scenario {
        name: "a sender that closes behind an order, within the length it named",
        expected: "Dapr gets nothing; the next order is 200",
        run: |stage| Box::pin(body_breaks_off(stage, "content-length: 200\r\n\r\n", PLAIN.to_owned())),
    },
    Scenario {
        name: "a sender that closes behind an order, before the last chunk",
        expected: "Dapr gets nothing; the next order is 200",
        run: |stage| {
            let chunk = format!("{:x}\r\n{PLAIN}\r\n", PLAIN.len());
            Box::pin(body_breaks_off(stage, "transfer-encoding: chunked\r\n\r\n", chunk))
        },
    },
    Scenario {
        name: "a sender that goes away while Dapr has its order",
        expected: "the next order is 200",
        run: |stage| Box::pin(sender_goes_away(stage)),
    },
];

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: application\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: application\r\n\r\n";

fn expect(answer: &Message, status: u16, what: &str) -> Result<(), String> {
    if answer.status() == status {
        return Ok(());
    }
    Err(format!("{what}: expected {status}, got {} '{}'", answer.status(), answer.text()))
}

/// A request on a connection of its own.
async fn once(stage: &Stage, bytes: &[u8]) -> Result<Message, String> {
    let mut connection = Connection::open(stage.app).await.map_err(|error| error.to_string())?;
    connection.exchange(bytes).await.map_err(|error| error.to_string())
}

/// An order is taken and sent on once: the application lives, and nothing else is still on its way.
async fn takes_an_order(stage: &Stage) -> Result<(), String> {
    let already = stage.dapr.calls().len();
    expect(&once(stage, &post(INGRESS, PLAIN)).await?, 200, "the next order")?;
    let calls = stage.dapr.calls();
    sent_on("q-order-express-out", PLAIN, None).matches(&calls[already..])
}

fn sent_on(binding: &'static str, order: &str, blob_name: Option<&'static str>) -> Asked {
    Asked::Order { binding, order: Order::Value(order.to_owned()), blob_name }
}

async fn at_once(stage: &mut Stage) -> Result<Cell, String> {
    stage.dapr.behave(Conduct::Holds).await;
    let order = |id: usize| {
        let delivery = if id.is_multiple_of(2) { "Express" } else { "Standard" };
        format!(r#"{{"orderId":{id},"delivery":"{delivery}","description":"order {id}","x":[{id}.5]}}"#)
    };
    let mut answers = JoinSet::new();
    for id in 0..AT_ONCE {
        let (app, bytes) = (stage.app, post(INGRESS, &order(id)));
        answers.spawn(async move { Connection::open(app).await?.exchange(&bytes).await });
    }
    tokio::select! {
        () = stage.dapr.called(AT_ONCE) => {}
        Some(answer) = answers.join_next() => {
            let calls = stage.dapr.calls().len();
            return Err(format!("answered when Dapr had {calls} of them and had answered none: {answer:?}"));
        }
    }
    stage.dapr.let_through(AT_ONCE);
    for answer in answers.join_all().await {
        expect(&answer.map_err(|error| error.to_string())?, 200, "one of the orders")?;
    }
    let mut arrived: BTreeMap<String, Message> = BTreeMap::new();
    for call in stage.dapr.calls() {
        let request: serde_json::Value =
            serde_json::from_slice(&call.body).map_err(|error| error.to_string())?;
        arrived.insert(request["data"]["orderId"].to_string(), call);
    }
    for id in 0..AT_ONCE {
        let call = arrived.remove(&id.to_string()).ok_or_else(|| format!("order {id} did not arrive"))?;
        let binding = if id.is_multiple_of(2) { "q-order-express-out" } else { "q-order-standard-out" };
        sent_on(binding, &order(id), None).matches(&[call]).map_err(|why| format!("order {id}: {why}"))?;
    }
    Ok("64 × 200")
}

async fn in_a_row(stage: &mut Stage) -> Result<Cell, String> {
    let mut connection = Connection::open(stage.app).await.map_err(|error| error.to_string())?;
    let express = r#"{"orderId":1,"delivery":"Express"}"#;
    let requests = [
        (post(INGRESS, PLAIN), 200, Some(("q-order-express-out", PLAIN, None))),
        (post(INGRESS, "{}"), 400, None),
        (post(EXPRESS, express), 200, Some(("express-outbox", express, Some("1")))),
        (HEALTH.to_vec(), 200, None),
        (post(STANDARD, PLAIN), 200, Some(("standard-outbox", PLAIN, Some("17")))),
    ];
    for number in 0..IN_A_ROW {
        let (bytes, status, sent) = &requests[number % requests.len()];
        let answer = connection.exchange(bytes).await;
        let what = format!("request {number} on the connection");
        let answer = answer.map_err(|error| format!("{what}: {error}"))?;
        expect(&answer, *status, &what)?;
        let calls = stage.dapr.calls();
        let asked = sent.map_or(Asked::Nothing, |(binding, order, blob)| sent_on(binding, order, blob));
        asked.matches(&calls).map_err(|why| format!("{what}: {why}"))?;
        stage.dapr.behave(Conduct::WELL).await;
    }
    Ok("100 answers")
}

async fn slow_dapr(stage: &mut Stage) -> Result<Cell, String> {
    stage.dapr.behave(Conduct::Holds).await;
    let bytes = post(STANDARD, PLAIN);
    let held = once(stage, &bytes);
    tokio::pin!(held);
    tokio::select! {
        () = stage.dapr.called(1) => {}
        answer = &mut held => return Err(format!("answered before Dapr: {answer:?}")),
    }
    tokio::select! {
        health = once(stage, HEALTH) => expect(&health?, 200, "health meanwhile")?,
        answer = &mut held => return Err(format!("answered before Dapr: {answer:?}")),
    }
    stage.dapr.let_through(1);
    expect(&held.await?, 200, "the order")?;
    sent_on("standard-outbox", PLAIN, Some("17")).matches(&stage.dapr.calls())?;
    Ok("200")
}

async fn dapr_restarts(stage: &mut Stage) -> Result<Cell, String> {
    takes_an_order(stage).await?;
    stage.dapr.behave(Conduct::Gone).await;
    stage.dapr.behave(Conduct::WELL).await;
    for _ in 0..ATTEMPTS {
        let answer = once(stage, &post(INGRESS, PLAIN)).await?;
        match answer.status() {
            200 if stage.dapr.calls().is_empty() => return Err("200, and Dapr does not have it".to_owned()),
            200 => {
                stage.dapr.behave(Conduct::WELL).await;
                return takes_an_order(stage).await.map(|()| "200");
            }
            500..600 => {}
            _ => expect(&answer, 200, "an order after Dapr's restart")?,
        }
    }
    Err(format!("{ATTEMPTS} × 5xx, and Dapr is back"))
}

/// Half of the connection is closed, so that an answer could still come; whatever it is, it takes no order.
async fn body_breaks_off(stage: &mut Stage, rest_of_head: &str, body: String) -> Result<Cell, String> {
    let bytes = format!("POST {INGRESS} HTTP/1.1\r\nhost: application\r\n{rest_of_head}{body}");
    let mut connection = Connection::open(stage.app).await.map_err(|error| error.to_string())?;
    if let Ok(answer) = connection.exchange_and_close(bytes.as_bytes()).await
        && !(400..500).contains(&answer.status())
    {
        return Err(format!("half an order is answered {}", answer.status()));
    }
    takes_an_order(stage).await?;
    match stage.dapr.calls().len() {
        1 => Ok("200"),
        calls => Err(format!("Dapr got {calls} orders instead of the last one")),
    }
}

async fn sender_goes_away(stage: &mut Stage) -> Result<Cell, String> {
    stage.dapr.behave(Conduct::Holds).await;
    let bytes = post(INGRESS, PLAIN);
    let held = once(stage, &bytes);
    tokio::select! {
        () = stage.dapr.called(1) => {}
        answer = held => return Err(format!("answered before Dapr: {answer:?}")),
    }
    // What was held is let go: the sender's connection is closed by now, and the application may notice either first.
    stage.dapr.let_through(1);
    stage.dapr.behave(Conduct::WELL).await;
    takes_an_order(stage).await?;
    Ok("200")
}

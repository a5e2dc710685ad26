//! What a case is, and whether what was seen is what it allows: plain data, no I/O.

use std::fmt;

use serde_json::{Value, json};

use crate::dapr::Conduct;
use crate::wire::Message;

/// One exchange with an application.
#[derive(Debug, Clone)]
pub struct Case {
    pub group: &'static str,
    pub name: String,
    pub request: Request,
    /// What Dapr does meanwhile.
    pub conduct: Conduct,
    /// What may come of it; nearly always one thing.
    pub allowed: Vec<Outcome>,
}

/// What the application is sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: &'static str,
    pub content_type: Option<&'static str>,
    pub body: Body,
}

/// A request's body, and how its end is told.
#[derive(Debug, Clone)]
pub enum Body {
    /// There is none, and nothing says so.
    None,
    /// Behind its length.
    Whole(Vec<u8>),
    /// In chunks, without its length.
    Chunked(Vec<u8>),
    /// This chunk for ever.
    Endless(Vec<u8>),
}

/// What the application answered, and what it asked of Dapr.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Or why there is no whole answer.
    pub answer: Result<Message, String>,
    pub calls: Vec<Message>,
}

/// What may come of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub answer: Answer,
    pub asked: Asked,
}

/// What the application answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// One of these statuses.
    Status(&'static [u16]),
    /// 5xx: the message comes back.
    ServerError,
    /// A status and a body, both Dapr's own.
    PassedOn(u16, &'static str),
    /// It breaks off, as Dapr did.
    BreaksOff,
}

/// What the application asks of Dapr.
#[derive(Debug, Clone)]
pub enum Asked {
    Nothing,
    /// `GET /v1.0/metadata`, once.
    Metadata,
    /// To create this order by a binding, once.
    Order {
        binding: &'static str,
        order: Order,
        blob_name: Option<&'static str>,
    },
}

/// An order as it was sent.
#[derive(Debug, Clone)]
pub enum Order {
    /// It has to arrive as the same JSON value.
    Value(String),
    /// It has to arrive letter for letter: no JSON value of this program could hold it.
    Text(String),
}

impl Request {
    /// What goes over the connection; of an endless body, what comes before it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nhost: application\r\n", self.method, self.path).into_bytes();
        if let Some(content_type) = self.content_type {
            bytes.extend(format!("content-type: {content_type}\r\n").bytes());
        }
        match &self.body {
            Body::None => bytes.extend(b"\r\n"),
            Body::Whole(body) => {
                bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            }
            Body::Chunked(body) => {
                bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
                body.chunks(body.len() / 5 + 1).for_each(|piece| bytes.extend(chunk(piece)));
                bytes.extend(b"0\r\n\r\n");
            }
            Body::Endless(_) => bytes.extend(b"transfer-encoding: chunked\r\n\r\n"),
        }
        bytes
    }
}

/// One chunk of a body.
pub fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

impl Case {
    /// Whether what was seen is allowed: then what stands in the table, else what was expected and what was seen.
    ///
    /// # Errors
    /// Names both, for a person.
    pub fn judge(&self, seen: &Seen) -> Result<String, String> {
        let mut why = Vec::new();
        for outcome in &self.allowed {
            match outcome.matches(seen) {
                Ok(()) => return Ok(seen.cell()),
                Err(reason) => why.push(format!("expected {outcome}: {reason}")),
            }
        }
        Err(format!("{}; got {seen}", why.join("; or ")))
    }

    /// What is allowed, in words.
    pub fn expected(&self) -> String {
        let outcomes: Vec<_> = self.allowed.iter().map(Outcome::to_string).collect();
        outcomes.join(", or ")
    }
}

impl Outcome {
    fn matches(&self, seen: &Seen) -> Result<(), String> {
        self.answer.matches(&seen.answer)?;
        self.asked.matches(&seen.calls)
    }
}

impl Answer {
    fn matches(&self, answer: &Result<Message, String>) -> Result<(), String> {
        let status = answer.as_ref().map(Message::status);
        let is_right = match (self, status) {
            (Self::Status(allowed), Ok(status)) => allowed.contains(&status),
            (Self::ServerError, Ok(status)) => status / 100 == 5,
            (Self::PassedOn(wanted, body), Ok(status)) => {
                *wanted == status && answer.as_ref().is_ok_and(|answer| answer.body == body.as_bytes())
            }
            (Self::BreaksOff, Err(_)) => true,
            _ => false,
        };
        if is_right { Ok(()) } else { Err("another answer".to_owned()) }
    }
}

impl Asked {
    /// Whether these are the calls.
    ///
    /// # Errors
    /// Says what is different.
    pub fn matches(&self, calls: &[Message]) -> Result<(), String> {
        let asks = |call: &&Message| call.start == "GET /v1.0/metadata HTTP/1.1";
        // A question sends nothing on: Dapr's SDK asks one before its first order.
        let orders: Vec<_> = calls.iter().filter(|call| !asks(call)).collect();
        match (self, orders.as_slice()) {
            (Self::Nothing, []) => Ok(()),
            (Self::Nothing, _) => Err("Dapr was called".to_owned()),
            (Self::Metadata, []) if calls.len() == 1 => Ok(()),
            (Self::Order { binding, order, blob_name }, [call]) => {
                is_create(call, binding, order, *blob_name)
            }
            (_, []) => Err("Dapr was not called".to_owned()),
            _ => Err("Dapr was called otherwise".to_owned()),
        }
    }
}

fn is_create(call: &Message, binding: &str, order: &Order, blob_name: Option<&str>) -> Result<(), String> {
    let start = format!("POST /v1.0/bindings/{binding} HTTP/1.1");
    if call.start != start {
        return Err(format!("Dapr was not called with {start}"));
    }
    if !call.header("content-type").is_some_and(|value| value.starts_with("application/json")) {
        return Err("the call is not said to be JSON".to_owned());
    }
    match order {
        Order::Text(order) => {
            let (text, data) = (call.text(), format!("\"data\":{order}"));
            if text.contains(&data) { Ok(()) } else { Err("the order is another text".to_owned()) }
        }
        Order::Value(order) => {
            let request: Value =
                serde_json::from_slice(&call.body).map_err(|error| format!("no JSON: {error}"))?;
            let order: Value =
                serde_json::from_str(order).map_err(|error| format!("a wrong case: {error}"))?;
            let named = json!({ "blobName": blob_name });
            let metadata = match (&request["metadata"], blob_name) {
                (Value::Null, None) => true,
                (Value::Object(none), None) => none.is_empty(),
                (metadata, _) => *metadata == named,
            };
            match &request {
                _ if request["operation"] != "create" => Err("the operation is not create".to_owned()),
                _ if !metadata => Err(format!("the metadata is not {named}")),
                _ if !is_same(&request["data"], &order) => Err("the order has another value".to_owned()),
                _ => Ok(()),
            }
        }
    }
}

/// Whether two values are the same to Dapr, whose numbers are all float64.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other = |(name, value)| other.get(name).is_some_and(|found| is_same(value, found));
            one.len() == other.len() && one.iter().all(in_other)
        }
        _ => one == other,
    }
}

impl Seen {
    /// What stands in the table.
    fn cell(&self) -> String {
        self.answer.as_ref().map_or_else(|_| "breaks off".to_owned(), |answer| answer.status().to_string())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(answer) => write!(formatter, "{} '{}'", answer.status(), excerpt(&answer.text()))?,
            Err(why) => write!(formatter, "no answer: {why}")?,
        }
        for call in &self.calls {
            write!(formatter, "; Dapr got {} '{}'", call.start, excerpt(&call.text()))?;
        }
        Ok(())
    }
}

/// As much of a text as a person wants to see.
fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 200;
    let mut excerpt: String = text.chars().take(CHARACTERS).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Status(statuses) => {
                let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
                formatter.write_str(&statuses.join(" or "))?;
            }
            Answer::ServerError => formatter.write_str("5xx")?,
            Answer::PassedOn(status, _) => write!(formatter, "{status} and Dapr's body")?,
            Answer::BreaksOff => formatter.write_str("an answer that breaks off")?,
        }
        match &self.asked {
            Asked::Nothing => formatter.write_str("; Dapr gets nothing"),
            Asked::Metadata => formatter.write_str("; Dapr is asked once"),
            Asked::Order { binding, .. } => write!(formatter, "; `{binding}` gets it once"),
        }
    }
}

//! Requests to `$cbs` and to management nodes, and the shape of their answers.
//!
//! The two differ: `$cbs` answers with `status-code`, a management node with `statusCode`. It must not know links.

use amqp::encode::Encode;
use amqp::message::{Properties, Sections, put_application_properties, put_value};
use amqp::{DecodeError, Map, Value};
use bytes::{Bytes, BytesMut};

use super::inbound::Request;
use super::link::Responder;
use super::management;
use crate::engine::Micros;

/// A request, read.
#[derive(Debug)]
pub struct Question {
    /// What it is called by, for the answer.
    pub message_id: Option<Value>,
    /// Where the answer goes.
    pub reply_to: Option<String>,
    /// What is asked.
    pub operation: String,
    /// With what.
    pub body: Map,
}

impl Question {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is no AMQP message.
    pub fn read(message: &Bytes) -> Result<Self, DecodeError> {
        let sections = Sections::scan(message)?;
        let properties = sections.properties(message)?;
        let application = sections.application_properties(message)?;
        let body = match sections.value(message)? {
            Some(Value::Map(map)) => map,
            _ => Map::new(),
        };
        Ok(Self {
            message_id: properties.message_id,
            reply_to: properties.reply_to.as_ref().and_then(Value::as_str).map(str::to_owned),
            operation: application.get("operation").and_then(Value::as_str).unwrap_or_default().to_owned(),
            body,
        })
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status, in the manner of HTTP.
    pub status: i32,
    /// The status in words.
    pub description: String,
    /// The AMQP condition of a failure.
    pub condition: Option<String>,
    /// What was asked for.
    pub body: Map,
}

impl Answer {
    /// Success, with what was asked for.
    pub fn ok(body: Map) -> Self {
        Self { status: 200, description: "OK".to_owned(), condition: None, body }
    }

    /// Nothing found, or a failure.
    pub fn failed(status: i32, condition: &str, description: impl Into<String>) -> Self {
        Self {
            status,
            description: description.into(),
            condition: Some(condition.to_owned()),
            body: Map::new(),
        }
    }

    /// A failure that a link would be told as an error.
    pub fn refused(status: i32, error: amqp::performative::Error) -> Self {
        Self::failed(status, error.condition.as_str(), error.description.unwrap_or_default())
    }
}

/// Answers a request. Returns where the answer goes and the answer as a message.
///
/// # Errors
/// When the request is no AMQP message.
pub fn answer(request: &Request, now_us: Micros) -> Result<(Option<String>, Bytes), DecodeError> {
    let question = Question::read(&request.message)?;
    let (answer, names) = match &request.responder {
        Responder::Cbs => (token_accepted(&question), &CBS_NAMES),
        Responder::Management(entity) => (management::answer(entity, &question, now_us), &MANAGEMENT_NAMES),
    };
    let message = encode(&question, answer, names);
    Ok((question.reply_to, message))
}

/// Every token is accepted: there is nothing here that a secret would protect.
fn token_accepted(question: &Question) -> Answer {
    match question.operation.as_str() {
        "put-token" => {
            Answer { status: 202, description: "Accepted".to_owned(), condition: None, body: Map::new() }
        }
        other => {
            let words = format!("The operation '{other}' is not one of $cbs; it knows put-token.");
            Answer::failed(400, super::error::condition::NOT_IMPLEMENTED, words)
        }
    }
}

/// How a node calls status, description and condition.
struct Names {
    status: &'static str,
    description: &'static str,
    condition: &'static str,
}

const CBS_NAMES: Names =
    Names { status: "status-code", description: "status-description", condition: "error-condition" };
const MANAGEMENT_NAMES: Names =
    Names { status: "statusCode", description: "statusDescription", condition: "errorCondition" };

fn encode(question: &Question, answer: Answer, names: &Names) -> Bytes {
    let mut out = BytesMut::new();
    let properties = Properties {
        // The id goes back as it came, type and all: clients look for the very value.
        correlation_id: question.message_id.clone(),
        to: question.reply_to.as_deref().map(Value::from),
        ..Properties::default()
    };
    properties.encode(&mut out);
    let mut application = Map::new()
        .with_string(names.status, Value::Int(answer.status))
        .with_string(names.description, Value::String(answer.description));
    if let Some(condition) = answer.condition {
        application.set_string(names.condition, Value::Symbol(amqp::value::Symbol(condition)));
    }
    put_application_properties(&mut out, &application);
    put_value(&mut out, &Value::Map(answer.body));
    out.freeze()
}

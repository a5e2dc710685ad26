//! `POST|PUT /v1.0/bindings/{name}` (dapr, `onOutputBindingMessage`): the order of its checks is part of it.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::reply::{data, empty, error};
use super::{Call, Reply};
use crate::bindings::Answer;
use crate::go::json::{self, Document, JsonError, Node};
use crate::resiliency::policy::Failed;
use crate::runtime::Runtime;
use crate::trace::{TRACEPARENT, TRACESTATE};

/// What a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct BindingRequest {
    /// The data, re-marshalled.
    data: Vec<u8>,
    metadata: BTreeMap<String, String>,
    operation: String,
}

pub(super) async fn invoke(runtime: &Runtime, name: &str, call: Call, baggage: Option<&str>) -> Reply {
    let span = call.span;
    let tracestate = call.tracestate.as_ref().and_then(|state| state.to_str().ok().map(str::to_owned));
    let body = call.body(runtime.options.body_bytes_max()).await;
    let request = body
        .map_err(|error| error.to_string())
        .and_then(|body| BindingRequest::parse(&body).map_err(|error| error.to_string()));
    let mut request = match request {
        Ok(request) => request,
        Err(cause) => {
            let message = format!("failed deserializing HTTP body: {cause}");
            return error(StatusCode::BAD_REQUEST, "ERR_MALFORMED_REQUEST", &message);
        }
    };
    if let Some(span) = span {
        request.metadata.insert(TRACEPARENT.to_owned(), span.traceparent());
        if let Some(state) = tracestate {
            request.metadata.insert(TRACESTATE.to_owned(), state);
        }
    }
    if let Some(baggage) = baggage {
        request.metadata.insert("baggage".to_owned(), baggage.to_owned());
    }
    let begun = Instant::now();
    let outcome = carry_out(runtime, name, &request.operation, request.data, &request.metadata).await;
    if let Some(metrics) = &runtime.metrics {
        metrics.output_called(name, &request.operation, outcome.is_ok(), begun.elapsed());
    }
    match outcome {
        Ok(None) => empty(),
        Ok(Some(answer)) => {
            let mut reply = data(StatusCode::OK, answer.data);
            for (key, value) in answer.metadata {
                let name = HeaderName::from_bytes(format!("metadata.{key}").as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                    reply.headers_mut().append(name, value);
                }
            }
            reply
        }
        Err(cause) => {
            let message = format!("error invoking output binding {name}: {cause}");
            error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_INVOKE_OUTPUT_BINDING", &message)
        }
    }
}

/// Carries an operation out, with the binding's policy around it (dapr, `SendToOutputBinding`).
async fn carry_out(
    runtime: &Runtime,
    name: &str,
    operation: &str,
    data: Vec<u8>,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<Answer>, String> {
    if operation.is_empty() {
        return Err("operation field is missing from request".to_owned());
    }
    let Some(output) = runtime.outputs.get(name) else {
        return Err(format!("couldn't find output binding {name}"));
    };
    let data = Bytes::from(data);
    match &output.policy {
        Some(policy) if output.binding.operations().contains(&operation) => {
            let once = || async {
                let answer = output.binding.invoke(name, operation, data.clone(), metadata).await;
                answer.map_err(Failed::plain)
            };
            policy.run(once).await.map_err(|failed| failed.error)
        }
        _ => output.binding.invoke(name, operation, data, metadata).await,
    }
}

impl BindingRequest {
    /// Reads a request as Go reads its struct: names without regard to case, unknown ones passed over, maps merged.
    fn parse(body: &[u8]) -> Result<Self, JsonError> {
        let document = json::parse(body)?;
        let mut request = Self { data: b"null".to_vec(), ..Self::default() };
        let root = document.root();
        let Some(members) = document.object(root) else {
            if document.is_null(root) {
                return Ok(request);
            }
            return Err(JsonError::Type {
                found: document.type_name(root).to_owned(),
                target: "value of type http.OutputBindingRequest".to_owned(),
            });
        };
        for (key, value) in members {
            if key.eq_ignore_ascii_case(b"data") {
                request.data.clear();
                document.write(value, "struct field OutputBindingRequest.data", &mut request.data)?;
            } else if key.eq_ignore_ascii_case(b"metadata") {
                request.read_metadata(&document, value)?;
            } else if key.eq_ignore_ascii_case(b"operation") && !document.is_null(value) {
                let text = document.string(value);
                let text = text.ok_or_else(|| wrong_type(&document, value, "operation", "string"))?;
                request.operation = text.into_owned();
            }
        }
        Ok(request)
    }

    fn read_metadata(&mut self, document: &Document<'_>, value: Node) -> Result<(), JsonError> {
        if document.is_null(value) {
            self.metadata.clear();
            return Ok(());
        }
        let members = document.object(value);
        let members = members.ok_or_else(|| wrong_type(document, value, "metadata", "map[string]string"))?;
        for (key, value) in members {
            let text = if document.is_null(value) {
                String::new()
            } else {
                let text = document.string(value);
                text.ok_or_else(|| wrong_type(document, value, "metadata", "string"))?.into_owned()
            };
            self.metadata.insert(String::from_utf8_lossy(key).into_owned(), text);
        }
        Ok(())
    }
}

fn wrong_type(document: &Document<'_>, value: Node, field: &str, expected: &str) -> JsonError {
    JsonError::Type {
        found: document.type_name(value).to_owned(),
        target: format!("struct field OutputBindingRequest.{field} of type {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> BindingRequest {
        BindingRequest::parse(body.as_bytes()).expect("valid")
    }

    #[test]
    fn fields_are_read_as_go_reads_them() {
        let request =
            parsed(r#"{"DATA":{"b":1,"a":2},"Operation":"create","METADATA":{"k":"v","n":null},"x":1} rest"#);
        assert_eq!(request.data, br#"{"a":2,"b":1}"#);
        assert_eq!(request.operation, "create");
        let expected = BTreeMap::from([("k".to_owned(), "v".to_owned()), ("n".to_owned(), String::new())]);
        assert_eq!(request.metadata, expected);
    }

    #[test]
    fn what_is_missing_or_null_is_empty() {
        for body in ["{}", "null", r#"{"data":null,"metadata":null,"operation":null}"#] {
            let request = parsed(body);
            assert_eq!(request.data, b"null", "{body}");
            assert!(request.operation.is_empty() && request.metadata.is_empty());
        }
    }

    #[test]
    fn metadata_given_twice_is_merged_and_data_given_twice_is_the_last() {
        let request = parsed(r#"{"metadata":{"a":"1"},"data":1,"metadata":{"b":"2"},"data":2}"#);
        assert_eq!(request.metadata.len(), 2);
        assert_eq!(request.data, b"2");
    }

    #[test]
    fn wrong_types_are_told_in_gos_words() {
        for (body, message) in [
            (
                r#"{"metadata":{"k":1}}"#,
                "json: cannot unmarshal number into Go struct field OutputBindingRequest.metadata of type string",
            ),
            (
                r#"{"metadata":[]}"#,
                "json: cannot unmarshal array into Go struct field OutputBindingRequest.metadata of type map[string]string",
            ),
            (
                r#"{"operation":true}"#,
                "json: cannot unmarshal bool into Go struct field OutputBindingRequest.operation of type string",
            ),
            ("[]", "json: cannot unmarshal array into Go value of type http.OutputBindingRequest"),
            ("", "EOF"),
        ] {
            let error = BindingRequest::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.to_string(), message);
        }
    }
}

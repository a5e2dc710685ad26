//! Names, help texts and labels of what is counted, as daprd has them (dapr, `pkg/diagnostics`).

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, Result};

const KIB: f64 = 1024.0;
/// dapr, `pkg/diagnostics/metrics.go`, `defaultSizeDistribution`: 1 KiB to 4 GiB.
const SIZE_BUCKETS_KIB: [f64; 13] = [
    1.0,
    2.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

const CALL: &[&str] = &["app_id", "method", "path", "status"];
const INPUT: &[&str] = &["app_id", "component", "namespace", "success"];
const OUTPUT: &[&str] = &["app_id", "component", "namespace", "operation", "success"];
const POLICY: &[&str] = &["app_id", "flow_direction", "name", "namespace", "policy", "status", "target"];

/// What callers of the API see.
#[derive(Debug)]
pub(super) struct Server {
    pub requests: IntCounterVec,
    pub responses: IntCounterVec,
    pub latency_ms: HistogramVec,
    pub request_bytes: HistogramVec,
    pub response_bytes: HistogramVec,
}

/// Calls to the application, and probes of its health.
#[derive(Debug)]
pub(super) struct Client {
    pub sent_bytes: HistogramVec,
    pub received_bytes: HistogramVec,
    pub latency_ms: HistogramVec,
    pub completed: IntCounterVec,
    pub probe_latency_ms: HistogramVec,
    pub probes: IntCounterVec,
}

/// Components, and what goes through bindings.
#[derive(Debug)]
pub(super) struct Components {
    pub inputs: IntCounterVec,
    pub input_latency_ms: HistogramVec,
    pub outputs: IntCounterVec,
    pub output_latency_ms: HistogramVec,
    pub loaded: IntCounterVec,
    pub initialized: IntCounterVec,
    pub init_failed: IntCounterVec,
}

/// Calls from application to application.
#[derive(Debug)]
pub(super) struct Invocations {
    pub sent: IntCounterVec,
    pub answered: IntCounterVec,
    pub latency_ms: HistogramVec,
    pub received: IntCounterVec,
    pub answers_sent: IntCounterVec,
}

/// Resiliency.
#[derive(Debug)]
pub(super) struct Policies {
    pub loaded: IntCounterVec,
    pub executed: IntCounterVec,
    pub activated: IntCounterVec,
    pub breaker_states: IntGaugeVec,
}

/// Makes and registers what is counted.
pub(super) struct Maker<'a> {
    pub registry: &'a Registry,
    pub latency_buckets_ms: &'a [f64],
}

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let counter = IntCounterVec::new(Opts::new(format!("dapr_{name}"), help), labels)?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(format!("dapr_{name}"), help), labels)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> Result<HistogramVec> {
        let options = HistogramOpts::new(format!("dapr_{name}"), help).buckets(buckets);
        let histogram = HistogramVec::new(options, labels)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    fn latency_ms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        self.histogram(name, help, labels, self.latency_buckets_ms.to_vec())
    }

    fn bytes(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        self.histogram(name, help, labels, SIZE_BUCKETS_KIB.map(|kib| kib * KIB).to_vec())
    }

    pub fn server(&self) -> Result<Server> {
        Ok(Server {
            requests: self.counter("http_server_request_count", HELP_HTTP_SERVER_REQUEST_COUNT, CALL)?,
            responses: self.counter("http_server_response_count", HELP_HTTP_SERVER_RESPONSE_COUNT, CALL)?,
            latency_ms: self.latency_ms("http_server_latency", HELP_HTTP_SERVER_LATENCY, CALL)?,
            request_bytes: self.bytes(
                "http_server_request_bytes",
                HELP_HTTP_SERVER_REQUEST_BYTES,
                &["app_id"],
            )?,
            response_bytes: self.bytes(
                "http_server_response_bytes",
                HELP_HTTP_SERVER_RESPONSE_BYTES,
                &["app_id"],
            )?,
        })
    }

    pub fn client(&self) -> Result<Client> {
        Ok(Client {
            sent_bytes: self.bytes("http_client_sent_bytes", HELP_HTTP_CLIENT_SENT_BYTES, CALL)?,
            received_bytes: self.bytes(
                "http_client_received_bytes",
                HELP_HTTP_CLIENT_RECEIVED_BYTES,
                &["app_id"],
            )?,
            latency_ms: self.latency_ms(
                "http_client_roundtrip_latency",
                HELP_HTTP_CLIENT_ROUNDTRIP_LATENCY,
                CALL,
            )?,
            completed: self.counter("http_client_completed_count", HELP_HTTP_CLIENT_COMPLETED_COUNT, CALL)?,
            probe_latency_ms: self.latency_ms(
                "http_healthprobes_roundtrip_latency",
                HELP_HTTP_HEALTHPROBES_ROUNDTRIP_LATENCY,
                &["app_id", "status"],
            )?,
            probes: self.counter(
                "http_healthprobes_completed_count",
                HELP_HTTP_HEALTHPROBES_COMPLETED_COUNT,
                &["app_id", "status"],
            )?,
        })
    }

    pub fn components(&self) -> Result<Components> {
        Ok(Components {
            inputs: self.counter(
                "component_input_binding_count",
                HELP_COMPONENT_INPUT_BINDING_COUNT,
                INPUT,
            )?,
            input_latency_ms: self.latency_ms(
                "component_input_binding_latencies",
                HELP_COMPONENT_INPUT_BINDING_LATENCIES,
                INPUT,
            )?,
            outputs: self.counter(
                "component_output_binding_count",
                HELP_COMPONENT_OUTPUT_BINDING_COUNT,
                OUTPUT,
            )?,
            output_latency_ms: self.latency_ms(
                "component_output_binding_latencies",
                HELP_COMPONENT_OUTPUT_BINDING_LATENCIES,
                OUTPUT,
            )?,
            loaded: self.counter("runtime_component_loaded", HELP_RUNTIME_COMPONENT_LOADED, &["app_id"])?,
            initialized: self.counter(
                "runtime_component_init_total",
                HELP_RUNTIME_COMPONENT_INIT_TOTAL,
                &["app_id", "component"],
            )?,
            init_failed: self.counter(
                "runtime_component_init_fail_total",
                HELP_RUNTIME_COMPONENT_INIT_FAIL_TOTAL,
                &["app_id", "component", "componentName", "reason"],
            )?,
        })
    }

    pub fn invocations(&self) -> Result<Invocations> {
        Ok(Invocations {
            sent: self.counter(
                "runtime_service_invocation_req_sent_total",
                HELP_RUNTIME_SERVICE_INVOCATION_REQ_SENT_TOTAL,
                &["app_id", "dst_app_id", "type"],
            )?,
            answered: self.counter(
                "runtime_service_invocation_res_recv_total",
                HELP_RUNTIME_SERVICE_INVOCATION_RES_RECV_TOTAL,
                &["app_id", "src_app_id", "status", "type"],
            )?,
            latency_ms: self.latency_ms(
                "runtime_service_invocation_res_recv_latency_ms",
                HELP_RUNTIME_SERVICE_INVOCATION_RES_RECV_LATENCY_MS,
                &["app_id", "src_app_id", "status"],
            )?,
            received: self.counter(
                "runtime_service_invocation_req_recv_total",
                HELP_RUNTIME_SERVICE_INVOCATION_REQ_RECV_TOTAL,
                &["app_id", "src_app_id"],
            )?,
            answers_sent: self.counter(
                "runtime_service_invocation_res_sent_total",
                HELP_RUNTIME_SERVICE_INVOCATION_RES_SENT_TOTAL,
                &["app_id", "dst_app_id", "status"],
            )?,
        })
    }

    pub fn policies(&self) -> Result<Policies> {
        Ok(Policies {
            loaded: self.counter(
                "resiliency_loaded",
                HELP_RESILIENCY_LOADED,
                &["app_id", "name", "namespace"],
            )?,
            executed: self.counter("resiliency_count", HELP_RESILIENCY_COUNT, POLICY)?,
            activated: self.counter(
                "resiliency_activations_total",
                HELP_RESILIENCY_ACTIVATIONS_TOTAL,
                POLICY,
            )?,
            breaker_states: self.gauge("resiliency_cb_state", HELP_RESILIENCY_CB_STATE, POLICY)?,
        })
    }
}

const HELP_HTTP_SERVER_REQUEST_COUNT: &str = "Count of HTTP requests processed by the server.";
const HELP_HTTP_SERVER_RESPONSE_COUNT: &str = "The number of HTTP responses";
const HELP_HTTP_SERVER_LATENCY: &str = "HTTP request end-to-end latency in server.";
const HELP_HTTP_SERVER_REQUEST_BYTES: &str =
    "HTTP request body size if set as ContentLength (uncompressed) in server.";
const HELP_HTTP_SERVER_RESPONSE_BYTES: &str = "HTTP response body size (uncompressed) in server.";
const HELP_HTTP_CLIENT_SENT_BYTES: &str = "Total bytes sent in request body (not including headers)";
const HELP_HTTP_CLIENT_RECEIVED_BYTES: &str = "Total bytes received in response bodies (not including headers but including error responses with bodies)";
const HELP_HTTP_CLIENT_ROUNDTRIP_LATENCY: &str =
    "Time between first byte of request headers sent to last byte of response received, or terminal error";
const HELP_HTTP_CLIENT_COMPLETED_COUNT: &str = "Count of completed requests";
const HELP_HTTP_HEALTHPROBES_ROUNDTRIP_LATENCY: &str = "Time between first byte of health probes headers sent to last byte of response received, or terminal error";
const HELP_HTTP_HEALTHPROBES_COMPLETED_COUNT: &str = "Count of completed health probes";
const HELP_COMPONENT_INPUT_BINDING_COUNT: &str =
    "The number of incoming events arriving from the input binding component.";
const HELP_COMPONENT_INPUT_BINDING_LATENCIES: &str = "The triggered app event processing latency.";
const HELP_COMPONENT_OUTPUT_BINDING_COUNT: &str =
    "The number of operations invoked on the output binding component.";
const HELP_COMPONENT_OUTPUT_BINDING_LATENCIES: &str =
    "The latency of the response from the output binding component.";
const HELP_RUNTIME_COMPONENT_LOADED: &str = "The number of successfully loaded components.";
const HELP_RUNTIME_COMPONENT_INIT_TOTAL: &str = "The number of initialized components.";
const HELP_RUNTIME_COMPONENT_INIT_FAIL_TOTAL: &str = "The number of component initialization failures.";
const HELP_RUNTIME_SERVICE_INVOCATION_REQ_SENT_TOTAL: &str =
    "The number of requests sent via service invocation.";
const HELP_RUNTIME_SERVICE_INVOCATION_RES_RECV_TOTAL: &str =
    "The number of responses received via service invocation.";
const HELP_RUNTIME_SERVICE_INVOCATION_RES_RECV_LATENCY_MS: &str =
    "The latency of service invocation response.";
const HELP_RUNTIME_SERVICE_INVOCATION_REQ_RECV_TOTAL: &str =
    "The number of requests received via service invocation.";
const HELP_RUNTIME_SERVICE_INVOCATION_RES_SENT_TOTAL: &str =
    "The number of responses sent via service invocation.";
const HELP_RESILIENCY_LOADED: &str = "Number of resiliency policies loaded.";
const HELP_RESILIENCY_COUNT: &str =
    "Number of times a resiliency policyKey has been applied to a building block.";
const HELP_RESILIENCY_ACTIVATIONS_TOTAL: &str = "Number of times a resiliency policyKey has been activated in a building block after a failure or after a state change.";
const HELP_RESILIENCY_CB_STATE: &str = "A resiliency policy's current CircuitBreakerState state. 0 is closed, 1 is half-open, 2 is open, and -1 is unknown.";

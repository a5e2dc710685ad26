//! daprd's command line (dapr, `cmd/daprd/options/options.go`): the flags that mean something here, and those that are
//! accepted because they make no difference here.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::go::text::duration;
use crate::limits::{BODY_BYTES_DEFAULT, HEADER_BYTES_DEFAULT, SETTING_SECONDS_MAX};

/// Flags of daprd without effect here, and whether they take a value when none is glued on with `=`.
const WITHOUT_EFFECT: &[(&str, bool)] = &[
    ("allowed-origins", true),
    ("control-plane-address", true),
    ("control-plane-namespace", true),
    ("control-plane-trust-domain", true),
    ("dapr-grpc-port", true),
    ("dapr-internal-grpc-listen-address", true),
    ("dapr-internal-grpc-port", true),
    ("disable-builtin-k8s-secret-store", false),
    ("enable-api-logging", false),
    ("enable-mtls", false),
    ("enable-profiling", false),
    ("log-as-json", false),
    ("log-level", true),
    ("placement-host-address", true),
    ("profile-port", true),
    ("scheduler-host-address", true),
    ("scheduler-job-stream-count", true),
    ("sentry-address", true),
];

/// The part of Dapr's sidecar that HTTP applications with Azure Service Bus queues and Blob Storage use.
///
/// Flags are daprd's; one dash is as good as two. Flags of daprd that make no difference here are accepted:
/// --enable-profiling, --log-level (use RUST_LOG), --dapr-grpc-port, --placement-host-address and their like.
#[derive(Debug, Clone, Parser)]
#[command(name = "dapr-emulator", version, disable_help_subcommand = true, args_override_self = true)]
pub struct Options {
    /// Id of the application; component scopes and {appID} go by it
    #[arg(long, value_parser = app_id)]
    pub app_id: String,

    /// Port that the application listens on; without it nothing is delivered
    #[arg(long, value_parser = clap::value_parser!(u16))]
    pub app_port: Option<u16>,

    /// Host of the application
    #[arg(long, default_value = "127.0.0.1")]
    pub app_channel_address: String,

    /// Protocol of the application: http is the only one here
    #[arg(long, default_value = "http", value_parser = ["http"])]
    pub app_protocol: String,

    /// Calls to the application at a time; -1 or 0 means any number
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub app_max_concurrency: i64,

    /// Port of the HTTP API; 0 picks a free one, which the line on stdout tells
    #[arg(long, default_value_t = 3500)]
    pub dapr_http_port: u16,

    /// Addresses of the HTTP API, separated by commas. Default: loopback
    #[arg(long, default_value = "", hide_default_value = true, value_parser = ip_addresses)]
    pub dapr_listen_addresses: IpAddresses,

    /// Folder with component files; may be given several times or as a list with commas
    #[arg(long, alias = "components-path", value_delimiter = ',')]
    pub resources_path: Vec<PathBuf>,

    /// File with a Configuration (tracing and metric are used); may be given several times
    #[arg(long, value_delimiter = ',')]
    pub config: Vec<PathBuf>,

    /// Largest request body, as 4Mi, 16M, 500Ki or bytes; 0 or less means any
    #[arg(long, allow_hyphen_values = true, value_parser = byte_size)]
    pub max_body_size: Option<i64>,

    /// Largest request body in MB (deprecated in favour of --max-body-size)
    #[arg(long, allow_hyphen_values = true)]
    pub dapr_http_max_request_size: Option<i64>,

    /// Largest request header block
    #[arg(long, allow_hyphen_values = true, value_parser = byte_size)]
    pub read_buffer_size: Option<i64>,

    /// Largest request header block in KB (deprecated in favour of --read-buffer-size)
    #[arg(long, allow_hyphen_values = true)]
    pub dapr_http_read_buffer_size: Option<i64>,

    /// Seconds that calls in flight may take when the program stops; less than 0 means 5
    #[arg(long, default_value_t = 5, allow_hyphen_values = true)]
    pub dapr_graceful_shutdown_seconds: i64,

    /// How long the application may take to answer whether it wants a binding
    #[arg(long, default_value = "3s", value_parser = go_duration)]
    pub app_binding_options_timeout: Duration,

    /// Probe the application's health and deliver only while it is healthy
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub enable_app_health_check: bool,

    /// Path of the health probe
    #[arg(long, default_value = "/healthz")]
    pub app_health_check_path: String,

    /// Seconds between two health probes; 0 or less means 5
    #[arg(long, default_value_t = 5, allow_hyphen_values = true)]
    pub app_health_probe_interval: i64,

    /// Milliseconds that a health probe may take; 0 or less means 500
    #[arg(long, default_value_t = 500, allow_hyphen_values = true)]
    pub app_health_probe_timeout: i64,

    /// Failed probes after which the application counts as unhealthy; 0 or less means 3
    #[arg(long, default_value_t = 3, allow_hyphen_values = true)]
    pub app_health_threshold: i32,

    /// Count what happens, and tell Prometheus at --metrics-port
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_metrics: bool,

    /// Port of the metrics; 0 picks a free one, which the line on stdout tells
    #[arg(long, default_value_t = 9090)]
    pub metrics_port: u16,

    /// Address of the metrics. Default: loopback
    #[arg(long, default_value = "", hide_default_value = true, value_parser = ip_addresses)]
    pub metrics_listen_address: IpAddresses,

    /// Folder in which Daprs of one machine tell each other where they are, for calls from application to application
    #[arg(long)]
    pub name_resolution_path: Option<PathBuf>,

    /// Endpoints of the application that are not asked at the start: config, subscribe
    #[arg(long, value_delimiter = ',')]
    pub disable_init_endpoints: Vec<String>,

    /// standalone is the only mode here
    #[arg(long, default_value = "standalone", value_parser = ["standalone"])]
    pub mode: String,

    /// End when stdin ends, as at SIGTERM
    #[arg(long)]
    pub stop_on_stdin_eof: bool,
}

impl Options {
    /// Reads a command line as daprd would. The second value names the flags that were accepted without effect.
    ///
    /// # Errors
    /// What clap says about a flag that is unknown or has a wrong value.
    pub fn parse_daprd(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, Vec<String>), clap::Error> {
        let mut kept: Vec<OsString> = Vec::new();
        let mut without_effect = Vec::new();
        let mut arguments = arguments.into_iter();
        kept.extend(arguments.next());
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.to_str().and_then(long_name) else {
                kept.push(argument);
                continue;
            };
            let (name, has_value) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
            match WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
                Some((known, takes_value)) => {
                    without_effect.push((*known).to_owned());
                    if *takes_value && !has_value {
                        arguments.next();
                    }
                }
                None => kept.push(format!("--{flag}").into()),
            }
        }
        Self::try_parse_from(kept).map(|options| (options, without_effect))
    }

    /// Addresses of the HTTP API, in order.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let IpAddresses(asked) = &self.dapr_listen_addresses;
        let addresses = if asked.is_empty() { &LOOPBACK } else { asked.as_slice() };
        addresses.iter().map(|&address| SocketAddr::new(address, self.dapr_http_port)).collect()
    }

    /// Largest request body in bytes; `None` means any.
    #[must_use]
    pub fn body_bytes_max(&self) -> Option<usize> {
        let megabytes = self.dapr_http_max_request_size.map(|megabytes| megabytes.saturating_mul(1 << 20));
        let bytes = self.max_body_size.or(megabytes);
        bytes.map_or(Some(BODY_BYTES_DEFAULT), |bytes| usize::try_from(bytes).ok().filter(|&bytes| bytes > 0))
    }

    /// Largest block of request headers in bytes.
    #[must_use]
    pub fn header_bytes_max(&self) -> usize {
        let kilobytes = self.dapr_http_read_buffer_size.map(|kilobytes| kilobytes.saturating_mul(1 << 10));
        let bytes = self.read_buffer_size.or(kilobytes).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.filter(|&bytes| bytes > 0).unwrap_or(HEADER_BYTES_DEFAULT)
    }

    /// How long calls in flight may take when the program stops. 0 is without end, as in daprd; what is less, its default.
    #[must_use]
    pub fn grace(&self) -> Duration {
        let seconds = match u64::try_from(self.dapr_graceful_shutdown_seconds) {
            Ok(0) => SETTING_SECONDS_MAX,
            Ok(seconds) => seconds.min(SETTING_SECONDS_MAX),
            Err(_) => 5,
        };
        Duration::from_secs(seconds)
    }

    /// Pause between two health probes.
    #[must_use]
    pub fn health_interval(&self) -> Duration {
        let seconds = u64::try_from(self.app_health_probe_interval).ok().filter(|&seconds| seconds > 0);
        Duration::from_secs(seconds.unwrap_or(5).min(SETTING_SECONDS_MAX))
    }

    /// How long a health probe may take.
    #[must_use]
    pub fn health_timeout(&self) -> Duration {
        let ms = u64::try_from(self.app_health_probe_timeout).ok().filter(|&ms| ms > 0);
        Duration::from_millis(ms.unwrap_or(500).min(SETTING_SECONDS_MAX * 1_000))
    }

    /// Failed probes after which the application counts as unhealthy.
    #[must_use]
    pub fn health_threshold(&self) -> i32 {
        if self.app_health_threshold < 1 { 3 } else { self.app_health_threshold }
    }

    /// Where metrics are told.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        let IpAddresses(asked) = &self.metrics_listen_address;
        let address = asked.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        SocketAddr::new(address, self.metrics_port)
    }

    /// Whether the flags go together (dapr, `pkg/runtime/config.go`).
    ///
    /// # Errors
    /// Which do not, in daprd's words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.health_timeout() > self.health_interval() {
            return Err("value for 'health-probe-timeout' must be smaller than 'health-probe-interval'");
        }
        Ok(())
    }
}

/// The name of a flag with one dash or two; `-h` and `-V` are clap's.
fn long_name(argument: &str) -> Option<&str> {
    let name = argument.strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    (name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic())).then_some(name)
}

/// What `--dapr-listen-addresses` lists; none means loopback.
#[derive(Debug, Clone)]
pub struct IpAddresses(pub Vec<IpAddr>);

fn ip_addresses(text: &str) -> Result<IpAddresses, String> {
    let one = |address: &str| match address.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        other => other.parse().map_err(|_| format!("{address:?} is no IP address")),
    };
    let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty()).map(one);
    addresses.collect::<Result<_, _>>().map(IpAddresses)
}

/// dapr, `pkg/validation`, `ValidateSelfHostedAppID`.
fn app_id(text: &str) -> Result<String, String> {
    match text {
        "" => Err("parameter app-id cannot be empty".to_owned()),
        _ if text.contains('.') => Err("parameter app-id cannot contain a period (.)".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Quantities as Kubernetes writes them.
fn byte_size(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
        .unwrap_or((text, 1));
    let number: i64 = number.trim().parse().map_err(|_| "write it as 4Mi, 16M, 500Ki or bytes".to_owned())?;
    Ok(number.saturating_mul(factor))
}

fn go_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "write it as 3s, 500ms or 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Options, Vec<String>), clap::Error> {
        let line = format!("dapr-emulator --app-id test {line}");
        Options::parse_daprd(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn daprds_flags_are_read_with_one_dash_or_two() {
        let (options, ignored) = parse(
            "-app-port=3000 --app-max-concurrency -1 --resources-path a,b \
             --resources-path c --max-body-size 16Mi --metrics-port 9091 --enable-metrics=false --profile-port 7777 \
             -log-level debug",
        )
        .expect("daprd takes these");
        assert_eq!(options.app_id, "test");
        assert_eq!(options.app_port, Some(3000));
        assert_eq!(options.resources_path, [PathBuf::from("a"), "b".into(), "c".into()]);
        assert_eq!(options.body_bytes_max(), Some(16 << 20));
        assert_eq!((options.metrics_port, options.enable_metrics), (9091, false));
        assert_eq!(ignored, ["profile-port", "log-level"]);
    }

    #[test]
    fn defaults_are_daprds() {
        let (options, _) = parse("").expect("app-id is enough");
        assert_eq!(options.dapr_http_port, 3500);
        assert_eq!(options.body_bytes_max(), Some(4 << 20));
        assert_eq!(options.grace(), Duration::from_secs(5));
        assert_eq!(options.app_binding_options_timeout, Duration::from_secs(3));
        assert!(options.listen_addresses()[0].ip().is_loopback());
        assert!(options.enable_metrics && options.metrics_address().to_string() == "127.0.0.1:9090");
    }

    #[test]
    fn seconds_without_end_are_a_year() {
        let year = Duration::from_secs(SETTING_SECONDS_MAX);
        let (options, _) = parse(
            "--dapr-graceful-shutdown-seconds 9223372036854775807 \
             --app-health-probe-interval 9223372036854775807",
        )
        .expect("daprd takes these");
        assert_eq!((options.grace(), options.health_interval()), (year, year));
        assert_eq!(
            parse("--dapr-graceful-shutdown-seconds -1").expect("valid").0.grace(),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn unknown_flags_and_values_are_refused() {
        for line in ["--no-such-flag", "--mode kubernetes", "--app-protocol grpc", "--app-port x", "stray"] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in ["", "--app-id=", "--app-id=a.b", "--app-id a --dapr-listen-addresses nowhere"] {
            let line = format!("dapr-emulator {line}");
            assert!(Options::parse_daprd(line.split_whitespace().map(OsString::from)).is_err(), "{line}");
        }
    }

    #[test]
    fn health_settings_below_one_are_the_defaults_and_a_probe_ends_before_the_next() {
        let (options, _) =
            parse("--app-health-probe-interval 0 --app-health-probe-timeout -1 --app-health-threshold 0")
                .expect("daprd takes these");
        assert_eq!(options.health_interval(), Duration::from_secs(5));
        assert_eq!(options.health_timeout(), Duration::from_millis(500));
        assert_eq!((options.health_threshold(), options.check()), (3, Ok(())));
        let (options, _) =
            parse("--app-health-probe-interval 1 --app-health-probe-timeout 1001").expect("read");
        assert!(options.check().is_err());
    }

    #[test]
    fn a_body_limit_of_zero_is_none() {
        assert_eq!(parse("--max-body-size 0").expect("valid").0.body_bytes_max(), None);
        assert_eq!(parse("--max-body-size -1").expect("valid").0.body_bytes_max(), None);
        assert_eq!(
            parse("--dapr-http-max-request-size 16").expect("valid").0.body_bytes_max(),
            Some(16 << 20)
        );
    }

    #[test]
    fn listen_addresses_are_a_list() {
        let (options, _) = parse("--dapr-listen-addresses [::1],0.0.0.0 --dapr-http-port 0").expect("valid");
        let addresses: Vec<_> = options.listen_addresses().iter().map(SocketAddr::to_string).collect();
        assert_eq!(addresses, ["[::1]:0", "0.0.0.0:0"]);
    }
}

//! `allowed_outbound_hosts`: where a component may connect to.
//!
//! It must not connect to anything or resolve a name. Rules and edge cases: Spin 3.6.3,
//! `crates/outbound-networking-config/src/allowed_hosts.rs`.

use std::net::IpAddr;
use std::ops::Range;

use url::Host;

/// Names of components are hosts below this domain: `http://<component>.spin.internal`.
const CHAINING_DOMAIN: &str = "spin.internal";

/// Where the form of an entry is explained, for messages.
const FORM: &str = "write <scheme>://<host>[:<port>], where each part may be `*`";

/// Why an entry cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is not an allowed outbound host: {reason}; {FORM}")]
pub struct HostError {
    entry: String,
    reason: String,
}

impl HostError {
    /// The same for an entry whose text must not be shown.
    pub fn of_secret(self) -> Self {
        let reason = "with the values of its secret variables it has another form".to_owned();
        Self { entry: "(an entry with a secret variable)".to_owned(), reason }
    }
}

/// One entry of `allowed_outbound_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    scheme: Scheme,
    host: HostPattern,
    port: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Any,
    Exactly(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// Ends with this text, which begins with a dot.
    Below(String),
    /// The application itself.
    Own,
    Exactly(Host),
    Network {
        address: IpAddr,
        prefix_bits: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    One(u16),
    /// The end is not included.
    Span(Range<u16>),
}

impl AllowedHost {
    /// Reads one entry, its variables already filled in.
    ///
    /// # Errors
    /// [`HostError`], also for a missing scheme, a path, a list, and a port that has no default.
    pub fn parse(entry: &str) -> Result<Self, HostError> {
        Self::parts(entry.trim()).map_err(|reason| HostError { entry: entry.to_owned(), reason })
    }

    fn parts(entry: &str) -> Result<Self, String> {
        if entry == "insecure:allow-all" {
            return Err(
                "`insecure:allow-all` is not accepted any more, use `*://*:*` if that is really meant".into(),
            );
        }
        let (scheme, rest) = entry.split_once("://").ok_or("it has no scheme such as `http://` or `*://`")?;
        // The last colon divides host from port, as in Spin; an IPv6 address therefore needs a port.
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let port = match port.split_once('/') {
            Some((_, path)) if !path.is_empty() => return Err("it has a path".into()),
            Some((port, _)) => port,
            None => port,
        };
        Ok(Self {
            port: Ports::parse(port, scheme)?,
            scheme: Scheme::parse(scheme)?,
            host: HostPattern::parse(host)?,
        })
    }

    /// The components that this entry opens by name, if it is about components.
    fn expand(self, components: &[&str]) -> Vec<Self> {
        let all = format!(".{CHAINING_DOMAIN}");
        if self.host != HostPattern::Below(all.clone()) {
            return vec![self];
        }
        let exactly = |id: &&str| HostPattern::Exactly(Host::Domain(format!("{id}{all}")));
        components.iter().map(|id| Self { host: exactly(id), ..self.clone() }).collect()
    }

    fn allows(&self, target: &Target) -> bool {
        self.scheme.allows(&target.scheme) && self.host.allows(&target.host) && self.port.allows(target)
    }
}

impl Scheme {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if !text.chars().all(char::is_alphabetic) {
            return Err(format!("the scheme {text:?} has other characters than letters"));
        }
        Ok(Self::Exactly(text.to_owned()))
    }

    fn allows(&self, scheme: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(allowed) => allowed == scheme,
        }
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Own),
            _ if text.starts_with('{') => return Err("lists of hosts are not supported".into()),
            _ => {}
        }
        if let Some(network) = parse_network(text) {
            return Ok(network);
        }
        let text = text.trim_end_matches('/');
        if text.contains('/') {
            return Err("it has a path".into());
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |domain| (true, domain));
        if name.contains('*') {
            return Err("`*` stands for a whole host or for its first labels only".into());
        }
        if below {
            return Ok(Self::Below(format!(".{name}")));
        }
        Host::parse(name)
            .map(Self::Exactly)
            .map_err(|error| format!("the host {name:?} is not valid ({error})"))
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Below(suffix), Host::Domain(domain)) => domain.ends_with(suffix),
            (Self::Exactly(allowed), host) => allowed == host,
            (Self::Network { address, prefix_bits }, Host::Ipv4(ip)) => {
                in_network(*address, *prefix_bits, IpAddr::V4(*ip))
            }
            (Self::Network { address, prefix_bits }, Host::Ipv6(ip)) => {
                in_network(*address, *prefix_bits, IpAddr::V6(*ip))
            }
            // A request to the application itself is asked about by `allows_own`.
            (Self::Below(_) | Self::Own | Self::Network { .. }, _) => false,
        }
    }
}

/// Reads `address/bits`; a network with host bits set is cut to its prefix.
fn parse_network(text: &str) -> Option<HostPattern> {
    let (address, bits) = text.split_once('/')?;
    let (address, prefix_bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    let widest = if address.is_ipv4() { 32 } else { 128 };
    (prefix_bits <= widest).then_some(HostPattern::Network { address, prefix_bits })
}

fn in_network(network: IpAddr, prefix_bits: u32, ip: IpAddr) -> bool {
    // Equal prefixes: what is left after shifting the host bits out is equal. A shift by the full width is no shift
    // that the processor knows, so the empty prefix is a case of its own.
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            prefix_bits == 0 || (u32::from(network) ^ u32::from(ip)) >> (32 - prefix_bits) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            prefix_bits == 0 || (u128::from(network) ^ u128::from(ip)) >> (128 - prefix_bits) == 0
        }
        _ => false,
    }
}

impl Ports {
    fn parse(text: &str, scheme: &str) -> Result<Self, String> {
        if text.is_empty() {
            let known = default_port(scheme);
            return known.map(Self::One).ok_or(format!("it has no port, and {scheme:?} has no default port"));
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        let number =
            |text: &str| text.parse::<u16>().map_err(|_| format!("the port {text:?} is not a number"));
        match text.split_once("..") {
            Some((start, end)) => Ok(Self::Span(number(start)?..number(end)?)),
            None => number(text).map(Self::One),
        }
    }

    fn allows(&self, target: &Target) -> bool {
        let port = target.port.or_else(|| default_port(&target.scheme));
        match (self, port) {
            (Self::Any, _) => true,
            (Self::One(allowed), Some(port)) => *allowed == port,
            (Self::Span(allowed), Some(port)) => allowed.contains(&port),
            (_, None) => false,
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "redis" => Some(6379),
        "mqtt" => Some(1883),
        _ => None,
    }
}

/// Where a component wants to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

impl Target {
    /// Reads a URL, or `host:port`, which then has `default_scheme`. `None` when it has no valid host.
    ///
    /// User names and passwords before an `@` may hold characters that a URL would have escaped.
    pub fn parse(text: &str, default_scheme: &str) -> Option<Self> {
        let without_user = remove_user(text);
        let url = url::Url::parse(&without_user).ok().filter(url::Url::has_host).or_else(|| {
            // What has a scheme and is no URL does not become one by a second scheme.
            let schemeless = !without_user.contains("://");
            schemeless.then(|| url::Url::parse(&format!("{default_scheme}://{without_user}")).ok())?
        })?;
        // Schemes that the URL standard does not know keep their host as text, so it is read once more.
        let host = Host::parse(url.host_str()?).ok()?;
        Some(Self { scheme: url.scheme().to_owned(), host, port: url.port() })
    }
}

/// Cuts `user:password@` out of a URL; an `@` in the path stays.
fn remove_user(url: &str) -> std::borrow::Cow<'_, str> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest.find('@').filter(|at| *at < authority_end) {
        Some(at) => format!("{scheme}{}", rest.get(at + 1..).unwrap_or_default()).into(),
        None => url.into(),
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// All entries of one component.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    entries: Vec<AllowedHost>,
}

impl AllowedHosts {
    /// Takes all entries. `*.spin.internal` stands for the components of the application.
    pub fn new(entries: Vec<AllowedHost>, components: &[&str]) -> Self {
        Self { entries: entries.into_iter().flat_map(|entry| entry.expand(components)).collect() }
    }

    /// Whether the component may connect there.
    pub fn allows(&self, target: &Target) -> bool {
        self.entries.iter().any(|entry| entry.allows(target))
    }

    /// Whether the component may call its own application by a relative URL.
    pub fn allows_own(&self) -> bool {
        self.entries.iter().any(|entry| {
            let own = matches!(entry.host, HostPattern::Any | HostPattern::Own);
            own && (entry.scheme.allows("http") || entry.scheme.allows("https"))
        })
    }
}

/// The component that a host name below `spin.internal` stands for; a port after it is ignored.
pub fn chaining_component(host: &str) -> Option<&str> {
    let (component, domain) = host.rsplit_once(':').map_or(host, |(name, _)| name).split_once('.')?;
    (domain == CHAINING_DOMAIN).then_some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scheme: &str, host: HostPattern, port: Ports) -> AllowedHost {
        let scheme = if scheme == "*" { Scheme::Any } else { Scheme::Exactly(scheme.to_owned()) };
        AllowedHost { scheme, host, port }
    }

    fn named(host: &str) -> HostPattern {
        HostPattern::Exactly(Host::parse(host).expect("a host"))
    }

    fn allowed(entries: &[&str]) -> AllowedHosts {
        let entries = entries.iter().map(|entry| AllowedHost::parse(entry).expect("a valid entry"));
        AllowedHosts::new(entries.collect(), &["first", "second"])
    }

    fn target(url: &str, scheme: &str) -> Target {
        Target::parse(url, scheme).unwrap_or_else(|| panic!("{url} is a target"))
    }

    #[test]
    fn an_entry_has_scheme_host_and_port() {
        let parsed = |text: &str| AllowedHost::parse(text).expect("accepted");
        assert_eq!(parsed("http://a.dev"), entry("http", named("a.dev"), Ports::One(80)));
        assert_eq!(parsed("http://a.dev/"), entry("http", named("a.dev"), Ports::One(80)));
        assert_eq!(parsed("https://a.dev"), entry("https", named("a.dev"), Ports::One(443)));
        assert_eq!(parsed("http://a.dev:4444"), entry("http", named("a.dev"), Ports::One(4444)));
        assert_eq!(parsed("http://a.dev:4444/"), entry("http", named("a.dev"), Ports::One(4444)));
        assert_eq!(parsed("http://a.dev:4444..5555"), entry("http", named("a.dev"), Ports::Span(4444..5555)));
        assert_eq!(parsed("*://a.dev:7777"), entry("*", named("a.dev"), Ports::One(7777)));
        assert_eq!(parsed("*://*:*"), entry("*", HostPattern::Any, Ports::Any));
        assert_eq!(parsed(" redis://localhost "), entry("redis", named("localhost"), Ports::One(6379)));
        assert_eq!(parsed("http://self"), entry("http", HostPattern::Own, Ports::One(80)));
        assert_eq!(
            parsed("http://*.a.dev"),
            entry("http", HostPattern::Below(".a.dev".into()), Ports::One(80))
        );
    }

    #[test]
    fn addresses_and_networks_are_entries() {
        let parsed = |text: &str| AllowedHost::parse(text).expect("accepted");
        assert_eq!(parsed("http://192.168.1.1"), entry("http", named("192.168.1.1"), Ports::One(80)));
        assert_eq!(parsed("http://192.168.1.1:3002"), entry("http", named("192.168.1.1"), Ports::One(3002)));
        assert_eq!(parsed("http://[::1]:8001"), entry("http", named("[::1]"), Ports::One(8001)));
        assert!(AllowedHost::parse("http://[::1]").is_err(), "Spin refuses it too");
        let network =
            HostPattern::Network { address: "127.0.0.0".parse().expect("address"), prefix_bits: 24 };
        assert_eq!(parsed("*://127.0.0.0/24:80"), entry("*", network, Ports::One(80)));
        let network = HostPattern::Network { address: "ff00::".parse().expect("address"), prefix_bits: 8 };
        assert_eq!(parsed("*://ff00::/8:80"), entry("*", network, Ports::One(80)));
        assert!(AllowedHost::parse("*://127.0.0.0/24").is_err(), "no port, and `*` has no default");
    }

    #[test]
    fn other_forms_are_refused_with_a_reason() {
        let bad = [
            "",
            "*",
            "?",
            "a.dev",
            "a.dev:80",
            "localhost",
            "localhost:3001",
            "tcp://a.dev",
            "insecure:allow-all",
            "http://a.dev/a",
            "http://a.dev:6666/a/b",
            "http://*.a.dev/a",
            "ht-tp://a.dev:1",
            "{http,https}://a.dev:1",
            "http://a.dev:x",
            "http://a.dev:1..x",
            "http://a.dev:65536",
            "http://a.*.dev",
            "http://*a.dev",
            "http://*.*.dev",
            "http://{a,b}:80",
            "http://a b:80",
            "http://127.0.0.1/33:80",
        ];
        for text in bad {
            assert!(AllowedHost::parse(text).is_err(), "{text:?} must be refused");
        }
        let message = AllowedHost::parse("a.dev").expect_err("refused").to_string();
        assert!(
            message.contains("has no scheme") && message.contains("<scheme>://<host>[:<port>]"),
            "{message}"
        );
    }

    #[test]
    fn named_hosts_match_scheme_host_and_port() {
        let allowed = allowed(&["*://a.dev:443", "http://b.com:8383", "https://c.com/"]);
        for (url, scheme) in [
            ("http://b.com:8383/foo/bar", "http"),
            ("https://a.dev", "https"),
            ("https://a.dev/", "https"),
            ("a.dev:443", "https"),
            ("b.com:8383", "http"),
            ("https://c.com", "https"),
            ("https://A.DEV/x", "https"),
        ] {
            assert!(allowed.allows(&target(url, scheme)), "{url}");
        }
        for url in
            ["http://b.com/", "http://google.com/", "https://b.com:8383/", "http://a.dev/", "http://c.com/"]
        {
            assert!(!allowed.allows(&target(url, "http")), "{url}");
        }
        assert!(
            !AllowedHosts::default().allows(&target("http://a.dev", "http")),
            "an empty list allows nothing"
        );
    }

    #[test]
    fn subdomains_match_below_the_name_only() {
        let allowed = allowed(&["http://*.example.com", "http://*.example2.com:8383"]);
        for url in ["http://a.example.com/x", "http://a.b.example.com/x", "http://a.b.example2.com:8383/x"] {
            assert!(allowed.allows(&target(url, "http")), "{url}");
        }
        for url in [
            "http://a.b.example2.com/x",
            "http://example.com/x",
            "http://example.com:8383/x",
            "http://myexample.com/x",
            "http://a.example.com.evil.org/",
            "http://127.0.0.1/",
        ] {
            assert!(!allowed.allows(&target(url, "http")), "{url}");
        }
    }

    #[test]
    fn networks_match_addresses_only() {
        let allowed = allowed(&["*://127.0.0.1/24:63551", "http://fe80::/10:80", "tcp://10.0.0.0/0:1..3"]);
        assert!(allowed.allows(&target("tcp://127.0.0.1:63551", "tcp")));
        assert!(allowed.allows(&target("tcp://127.0.0.200:63551", "tcp")));
        assert!(!allowed.allows(&target("tcp://127.0.1.1:63551", "tcp")));
        assert!(!allowed.allows(&target("tcp://localhost:63551", "tcp")));
        assert!(allowed.allows(&target("http://[fe80::1]/", "http")));
        assert!(!allowed.allows(&target("http://[2001:db8::1]/", "http")));
        assert!(allowed.allows(&target("tcp://203.0.113.9:2", "tcp")));
        assert!(!allowed.allows(&target("tcp://203.0.113.9:3", "tcp")), "the end of a span is not included");
    }

    #[test]
    fn users_and_passwords_do_not_hide_the_host() {
        for url in [
            "https://example.com/file@0.1.0.json",
            "https://user:password@example.com/file@0.1.0.json",
            "https://user:pass#word@example.com/x",
            "https://user:password@example.com",
        ] {
            assert_eq!(target(url, "https").host, Host::Domain("example.com".to_owned()), "{url}");
        }
        let allowed = allowed(&["mysql://xyz.com"]);
        for url in
            ["mysql://user:pass#word@xyz.com", "mysql://user%3Apass%23word@xyz.com", "user%3Apass@xyz.com"]
        {
            assert!(allowed.allows(&target(url, "mysql")), "{url}");
        }
        assert!(!allowed.allows(&target("mysql://xyz.com@evil.org", "mysql")));
    }

    #[test]
    fn the_application_itself_is_asked_about_separately() {
        assert!(allowed(&["http://self"]).allows_own());
        assert!(allowed(&["*://*:*"]).allows_own());
        assert!(allowed(&["https://self.alt"]).allows_own());
        assert!(!allowed(&["redis://self"]).allows_own());
        assert!(!allowed(&["http://a.dev"]).allows_own());
        assert!(!allowed(&["http://self"]).allows(&target("http://self/", "http")));
    }

    #[test]
    fn the_wildcard_of_components_stands_for_those_that_exist() {
        let allowed = allowed(&["http://*.spin.internal", "https://a.dev"]);
        assert_eq!(allowed.entries.len(), 3);
        assert!(allowed.allows(&target("http://first.spin.internal/x", "http")));
        assert!(!allowed.allows(&target("http://third.spin.internal/x", "http")));
    }

    #[test]
    fn a_component_is_named_by_its_host() {
        assert_eq!(chaining_component("first.spin.internal"), Some("first"));
        assert_eq!(chaining_component("first.spin.internal:80"), Some("first"));
        for host in ["spin.internal", "a.b.spin.internal", "first.spin.internal.org", "first"] {
            assert_eq!(chaining_component(host), None, "{host}");
        }
    }

    #[test]
    fn what_is_no_url_is_no_target() {
        for text in ["", "http://", "://x", "http://a b/", "http://[::1"] {
            assert_eq!(Target::parse(text, "http"), None, "{text:?}");
        }
    }
}

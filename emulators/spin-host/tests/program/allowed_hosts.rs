//! `allowed_outbound_hosts` as data: the cases of Spin's own tests (3.6.3,
//! `crates/outbound-networking-config/src/allowed_hosts.rs`) and some at their edges. What only a database client could
//! ask (user names and passwords in URLs) is in the units of `src/hosts.rs`.

use crate::support::Setup;

/// Entries that are accepted.
const GOOD: &[&str] = &[
    "http://spin.fermyon.invalid",
    "http://spin.fermyon.invalid/",
    "https://spin.fermyon.invalid",
    "http://spin.fermyon.invalid:4444",
    "http://spin.fermyon.invalid:4444/",
    "https://spin.fermyon.invalid:5555",
    "http://spin.fermyon.invalid:4444..5555",
    "*://spin.fermyon.invalid:7777",
    "http://self",
    "https://self.alt",
    "http://localhost",
    "http://localhost:3001",
    "http://*.example.invalid",
    "http://192.168.1.1",
    "http://192.168.1.1:3002",
    "http://[::1]:8001",
    "*://127.0.0.0/24:80",
    "*://ff00::/8:80",
    "*://*:*",
    "http://*.spin.internal",
    "pg://localhost:5656",
    "postgres://a.invalid",
    "mysql://a.invalid",
    "redis://a.invalid",
    "mqtt://a.invalid",
    "tcp://10.0.0.1:1..3",
];

/// Entries that stop the start.
const BAD: &[&str] = &[
    "spin.fermyon.invalid",
    "spin.fermyon.invalid:80",
    "localhost",
    "localhost:3001",
    "http://[::1]",
    "*://127.0.0.0/24",
    "http://spin.fermyon.invalid/a",
    "http://spin.fermyon.invalid:6666/a/b",
    "http://*.fermyon.invalid/a",
    "insecure:allow-all",
    "tcp://a.invalid",
    "ht-tp://a.invalid:1",
    "{http,https}://a.invalid:1",
    "http://{a,b}:80",
    "http://a.invalid:x",
    "http://a.invalid:65536",
    "http://a.*.invalid",
    "http://*a.invalid",
];

#[test]
fn a18_entries_of_every_form_are_accepted() {
    let host = allowing(GOOD).start();
    assert_eq!(host.get("/counter").text(), "1");
}

#[test]
fn a18_entries_of_another_form_stop_the_start() {
    for entry in BAD {
        let words = format!("spin.toml:11: {entry:?} is not an allowed outbound host");
        allowing(&[entry]).refused_saying(&[&words]);
    }
}

fn allowing(entries: &[&str]) -> Setup {
    Setup::probe(&format!("allowed_outbound_hosts = {entries:?}"))
}

/// Entries, the URLs that they allow, and URLs that they do not.
type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);

const REQUESTS: &[Case<'_>] = &[
    (&[], &[], &["http://a.invalid/", "http://127.0.0.1:1/", "/request"]),
    (
        &["*://spin.invalid:443", "http://example.invalid:8383"],
        &[
            "http://example.invalid:8383/foo/bar",
            "https://spin.invalid",
            "https://spin.invalid/",
            "https://SPIN.invalid/",
        ],
        &[
            "http://example.invalid/",
            "http://other.invalid/",
            "http://spin.invalid/",
            "https://example.invalid:8383/",
        ],
    ),
    (
        &["https://my.api.invalid/"],
        &["https://my.api.invalid", "https://my.api.invalid/x"],
        &["http://my.api.invalid/"],
    ),
    (
        &["http://*.example.invalid", "http://*.example2.invalid:8383"],
        &[
            "http://a.example.invalid/foo/bar",
            "http://a.b.example.invalid/foo/bar",
            "http://a.b.example2.invalid:8383/foo/bar",
        ],
        &[
            "http://a.b.example2.invalid/foo/bar",
            "http://example.invalid/foo/bar",
            "http://example.invalid:8383/foo/bar",
            "http://myexample.invalid/foo/bar",
            "http://a.example.invalid.other.invalid/",
            "http://127.0.0.1:1/",
        ],
    ),
    (
        &["*://127.0.0.1/24:1"],
        &["http://127.0.0.1:1/", "http://127.0.0.200:1/"],
        &["http://127.0.1.1:1/", "http://127.0.0.1:2/", "http://localhost:1/", "http://[::1]:1/"],
    ),
    (&["http://127.0.0.1:1..3"], &["http://127.0.0.1:1/", "http://127.0.0.1:2/"], &["http://127.0.0.1:3/"]),
    (&["http://[::1]:1"], &["http://[::1]:1/"], &["http://[::2]:1/", "http://127.0.0.1:1/"]),
    (&["*://*:*"], &["http://127.0.0.1:1/", "https://a.invalid/", "/request"], &[]),
    (&["http://*:*"], &["http://127.0.0.1:1/", "/request"], &["https://a.invalid/"]),
    (&["http://self"], &["/request", "http://self.alt/request"], &["http://self/", "http://127.0.0.1:1/"]),
    (&["redis://self"], &[], &["/request"]),
    (
        &["http://probe.spin.internal"],
        &["http://probe.spin.internal/request"],
        &["/request", "http://other.spin.internal/"],
    ),
    (
        &["http://*.spin.internal"],
        &["http://probe.spin.internal/request"],
        &["http://none.spin.internal/", "/request"],
    ),
];

#[test]
fn a18_requests_are_allowed_and_refused_as_the_table_says() {
    for (entries, allowed, refused) in REQUESTS {
        let host = allowing(entries).start();
        for (urls, is_allowed) in [(allowed, true), (refused, false)] {
            for url in *urls {
                let outcome = host.get(&format!("/fetch?{url}")).text();
                let was_allowed = !outcome.contains("HttpRequestDenied");
                assert_eq!(was_allowed, is_allowed, "{url} with {entries:?}: {outcome}");
            }
        }
    }
}

//! `Config.json`: the official emulator's format as it is, and every mistake with file, line, key and remedy.

use std::path::Path;

use servicebus_emulator::config::{NamespaceConfig, QueueConfig};

use crate::support::SECOND_US;

fn parse(text: &str) -> Result<NamespaceConfig, String> {
    NamespaceConfig::parse(text, Path::new("Config.json")).map_err(|error| error.to_string())
}

/// A config with this as its list of queues, on line 3.
fn with_queues(queues: &str) -> String {
    format!(
        "{{ \"UserConfig\": {{ \"Namespaces\": [ {{\n\"Name\": \"sbemulatorns\", \"Topics\": [],\n\"Queues\": {queues}\n}} ] }} }}"
    )
}

/// Written in the style of the official file: comments, every key, a topic with rules.
const OFFICIAL: &str = r#"
// A namespace with a queue and a topic.
{
  "UserConfig": {
    "Namespaces": [
      {
        "Name": "sbemulatorns",
        "Queues": [
          {
            "Name": "queue.1",
            "Properties": {
              "DeadLetteringOnMessageExpiration": true,
              "DefaultMessageTimeToLive": "PT30M", /* half an hour */
              "DuplicateDetectionHistoryTimeWindow": "PT20S",
              "ForwardDeadLetteredMessagesTo": "",
              "ForwardTo": "",
              "LockDuration": "PT5S",
              "MaxDeliveryCount": 10,
              "RequiresDuplicateDetection": false,
              "RequiresSession": false
            }
          },
          { "Name": "bare" }
        ],
        "Topics": [
          {
            "Name": "topic.1",
            "Properties": { "DefaultMessageTimeToLive": "PT1H" },
            "Subscriptions": [
              { "Name": "subscription.1", "Rules": [ { "Name": "r", "Properties": { "FilterType": "Correlation" } } ] }
            ]
          }
        ]
      }
    ],
    "Logging": { "Type": "File" }
  }
}
"#;

#[test]
fn the_official_format_is_read_as_it_is() {
    let text = format!("\u{feff}{OFFICIAL}").replace('\n', "\r\n");
    let config = parse(&text).expect("it is the official format");
    let full = QueueConfig {
        name: "queue.1".to_owned(),
        lock_us: 5 * SECOND_US,
        time_to_live_us: 1800 * SECOND_US,
        max_delivery_count: 10,
        dead_letter_on_expiration: true,
    };
    // What is left out has the official emulator's defaults.
    let bare = QueueConfig {
        name: "bare".to_owned(),
        lock_us: 60 * SECOND_US,
        time_to_live_us: 3600 * SECOND_US,
        max_delivery_count: 3,
        dead_letter_on_expiration: false,
    };
    assert_eq!(config.queues, [full, bare]);
    assert_eq!(config.warnings, ["topics are not served yet and are left out: topic.1"]);
}

#[test]
fn quotas_of_the_official_emulator_are_not_copied() {
    let queues: Vec<String> = (0..60)
        .map(|number| {
            format!(r#"{{"Name":"q{number}","Properties":{{"MaxDeliveryCount":2147483647,"LockDuration":"PT1S","DefaultMessageTimeToLive":"P14D"}}}}"#)
        })
        .collect();
    let config = parse(&with_queues(&format!("[{}]", queues.join(",")))).expect("no quota");
    assert_eq!(config.queues.len(), 60);
    assert_eq!(config.queues[59].max_delivery_count, 2_147_483_647);
}

#[test]
fn what_is_asked_for_and_not_served_is_warned_of() {
    let text = with_queues(
        r#"[{"Name":"s","Properties":{"RequiresSession":true,"ForwardTo":"other","RequiresDuplicateDetection":true}}]"#,
    );
    let warnings = parse(&text).expect("a config").warnings;
    assert_eq!(
        warnings,
        [
            "queue s is served without what is not implemented yet: RequiresSession, RequiresDuplicateDetection, ForwardTo"
        ]
    );
}

/// One mistake: the text, and of the error the line, the key, the problem and the remedy.
type Mistake<'a> = (String, usize, &'a str, &'a str, &'a str);

fn assert_told(mistakes: impl IntoIterator<Item = Mistake<'static>>) {
    for (text, line, key, problem, remedy) in mistakes {
        let error = parse(&text).expect_err(&text);
        assert!(error.starts_with(&format!("Config.json:{line}: {key}: ")), "{error}\nfor {key}");
        assert!(error.contains(problem) && error.contains(remedy), "{error}\nwithout {problem}, {remedy}");
    }
}

#[test]
fn a_wrong_property_is_told_with_file_line_key_and_remedy() {
    const CORRECT: &str = "correct the value";
    let cases = [
        ("LockDurations", "\"PT1M\"", "unknown field", "correct its spelling"),
        ("LockDuration", "60", "invalid type", CORRECT),
        ("LockDuration", "\"1 minute\"", "ISO 8601", CORRECT),
        ("LockDuration", "\"PT0S\"", "longer than zero", CORRECT),
        ("MaxDeliveryCount", "0", "nonzero", CORRECT),
        ("MaxDeliveryCount", "\"ten\"", "invalid type", CORRECT),
        ("RequiresSession", "\"yes\"", "invalid type", CORRECT),
        ("DeadLetteringOnMessageExpiration", "1", "invalid type", CORRECT),
    ];
    for (key, value, problem, remedy) in cases {
        let queues = format!("[\n{{\"Name\": \"q\",\n\"Properties\": {{ \"{key}\": {value} }} }}]");
        let error = parse(&with_queues(&queues)).expect_err(key);
        let place = format!("Config.json:5: UserConfig.Namespaces[0].Queues[0].Properties.{key}: ");
        assert!(error.starts_with(&place), "{error}");
        assert!(error.contains(problem) && error.contains(remedy), "{error}\nwithout {problem}, {remedy}");
    }
}

#[test]
fn a_wrong_queue_is_told_with_file_line_key_and_remedy() {
    const QUEUE: &str = "UserConfig.Namespaces[0].Queues[0]";
    const NAME: &str = "UserConfig.Namespaces[0].Queues[0].Name";
    const SECOND: &str = "UserConfig.Namespaces[0].Queues[1].Name";
    const QUEUES: &str = "UserConfig.Namespaces[0].Queues";
    assert_told([
        (with_queues(r#"[{"Properties": {}}]"#), 3, QUEUE, "missing field `Name`", "add the key"),
        (with_queues(r#"[{"Name": "a", "Name": "b"}]"#), 3, QUEUE, "duplicate field", "keep one"),
        (with_queues(r#"[{"Name": ""}]"#), 3, NAME, "1 to 260", "correct the value"),
        (with_queues(r#"[{"Name": "a?b"}]"#), 3, NAME, "'?'", "correct the value"),
        (with_queues(r#"[{"Name": "/a"}]"#), 3, NAME, "slash", "correct the value"),
        (with_queues("[{\"Name\": \"a\"},\n{\"Name\": \"A\"}]"), 4, SECOND, "is taken", "another name"),
        (with_queues(r#"{"Name": "a"}"#), 3, QUEUES, "invalid type", "correct the value"),
    ]);
}

#[test]
fn a_file_of_another_shape_is_told_with_line_key_and_remedy() {
    const NAMESPACES: &str = "UserConfig.Namespaces";
    let no_namespace = "{ \"UserConfig\": { \"Namespaces\": [] } }".to_owned();
    let text_behind = format!("{} x", with_queues("[]"));
    assert_told([
        (no_namespace, 1, NAMESPACES, "0 namespaces", "one namespace"),
        ("{}".to_owned(), 1, "(top level)", "missing field `UserConfig`", "add the key"),
        (String::new(), 1, "(top level)", "EOF", "correct the JSON"),
        (text_behind, 4, "(end of file)", "text after", "remove it"),
    ]);
}

#[test]
fn broken_json_is_told_at_its_line() {
    let error = parse("{ \"UserConfig\":\n{ \"Namespaces\": [ } }").expect_err("no JSON");
    assert!(error.starts_with("Config.json:2: ") && error.ends_with("correct the JSON"), "{error}");
}

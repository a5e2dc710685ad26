//! `Config.json`: the official emulator's format as it is, and every mistake with file, line, key and remedy.

use std::path::Path;

use amqp::{Map, Value};
use servicebus_emulator::config::{EntityStatus, NamespaceConfig, QueueConfig, RuleConfig};
use servicebus_emulator::engine::NEVER;
use servicebus_emulator::filter::{CorrelationFilter, Filter, SqlAction, SqlFilter};

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
              {
                "Name": "subscription.1",
                "Properties": { "MaxDeliveryCount": 5, "RequiresSession": true },
                "Rules": [
                  {
                    "Name": "correlation",
                    "Properties": {
                      "FilterType": "Correlation",
                      "CorrelationFilter": { "ContentType": "text", "Properties": { "b": true, "d": 2.5, "n": 2, "prop1": "value1" } }
                    }
                  },
                  {
                    "Name": "sql",
                    "Properties": {
                      "FilterType": "Sql",
                      "SqlFilter": { "SqlExpression": "sys.MessageId = '123456'" },
                      "Action": { "SqlExpression": "SET sys.To = 'Entity'" }
                    }
                  }
                ]
              },
              { "Name": "all" }
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
        ..QueueConfig::default()
    };
    // What is left out has the official emulator's defaults.
    let bare = QueueConfig {
        name: "bare".to_owned(),
        lock_us: 60 * SECOND_US,
        time_to_live_us: 3600 * SECOND_US,
        max_delivery_count: 3,
        dead_letter_on_expiration: false,
        ..QueueConfig::default()
    };
    assert_eq!(config.queues, [full, bare]);
    let [topic] = config.topics.as_slice() else { panic!("one topic") };
    assert_eq!((topic.name.as_str(), topic.time_to_live_us), ("topic.1", 3600 * SECOND_US));
    let [first, all] = topic.subscriptions.as_slice() else { panic!("two subscriptions") };
    assert_eq!((first.queue.max_delivery_count, first.queue.requires_session), (5, true));
    let correlation = CorrelationFilter {
        content_type: Some("text".to_owned()),
        properties: Map::new()
            .with_string("b", Value::Bool(true))
            .with_string("d", Value::Double(2.5))
            .with_string("n", Value::Long(2))
            .with_string("prop1", "value1".into()),
        ..CorrelationFilter::default()
    };
    let sql = SqlFilter::parse("sys.MessageId = '123456'", &Map::new()).expect("a filter");
    let action = SqlAction::parse("SET sys.To = 'Entity'", &Map::new()).expect("an action");
    let rule = |name: &str, filter, action| RuleConfig { name: name.to_owned(), filter, action };
    let rules = [
        rule("correlation", Filter::Correlation(correlation), None),
        rule("sql", Filter::Sql(sql), Some(action)),
    ];
    assert_eq!(first.rules, rules, "with rules of its own it has no default");
    assert_eq!(all.rules, [rule("$Default", Filter::True, None)]);
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
fn every_key_of_a_queue_has_its_effect() {
    let text = with_queues(
        r#"[{"Name":"s","Properties":{"RequiresSession":true,"RequiresDuplicateDetection":true,
        "DuplicateDetectionHistoryTimeWindow":"PT5M","ForwardDeadLetteredMessagesTo":"sb://sbemulatorns/other",
        "Status":"SendDisabled","AutoDeleteOnIdle":"PT5M"}},{"Name":"other","Properties":{"ForwardTo":"S"}}]"#,
    );
    let config = parse(&text).expect("a config");
    let [s, other] = config.queues.as_slice() else { panic!("two queues") };
    assert!(s.requires_session);
    assert_eq!(s.duplicate_window_us, Some(300 * SECOND_US));
    assert_eq!(s.forward_dead_letters_to.as_deref(), Some("other"), "the cloud writes whole addresses");
    assert_eq!((s.status, s.auto_delete_us), (EntityStatus::SendDisabled, 300 * SECOND_US));
    assert_eq!((other.forward_to.as_deref(), other.auto_delete_us), (Some("S"), NEVER));
    assert_eq!((other.duplicate_window_us, other.status), (None, EntityStatus::Active));
}

#[test]
fn without_a_file_there_is_what_the_official_emulator_ships() {
    let config = NamespaceConfig::default();
    assert_eq!(config.queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["queue.1"]);
    let [topic] = config.topics.as_slice() else { panic!("one topic") };
    let names: Vec<_> = topic.subscriptions.iter().map(|s| (s.queue.name.as_str(), s.rules.len())).collect();
    assert_eq!(topic.name, "topic.1");
    let expected =
        ["subscription.1", "subscription.2", "subscription.3", "subscription.4"].map(|name| (name, 1));
    assert_eq!(names, expected);
}

/// A config with this as its list of topics, on line 3.
fn with_topics(topics: &str) -> String {
    with_queues("[]")
        .replace("\"Topics\": [],\n\"Queues\": []", &format!("\"Queues\": [],\n\"Topics\": {topics}"))
}

#[test]
fn a_wrong_topic_is_told_with_file_line_key_and_remedy() {
    const UNKNOWN: &str = "UserConfig.Namespaces[0].Topics[0].Subscription";
    const SUBSCRIPTION: &str = "UserConfig.Namespaces[0].Topics[0].Subscriptions[0]";
    const SUBSCRIPTION_NAME: &str = "UserConfig.Namespaces[0].Topics[0].Subscriptions[0].Name";
    const RULE: &str = "UserConfig.Namespaces[0].Topics[0].Subscriptions[0].Rules[0].Properties";
    const RULE_SQL: &str =
        "UserConfig.Namespaces[0].Topics[0].Subscriptions[0].Rules[0].Properties.SqlFilter.SqlExpression";
    const RULE_TYPE: &str =
        "UserConfig.Namespaces[0].Topics[0].Subscriptions[0].Rules[0].Properties.FilterType";
    let rule = |properties: &str| {
        with_topics(&format!(
            "[{{\"Name\":\"t\",\"Subscriptions\":[{{\"Name\":\"s\",\"Rules\":[\n{{\"Name\":\"r\",\"Properties\":{properties}}}]}}]}}]"
        ))
    };
    let long = "s".repeat(51);
    assert_told([
        (
            with_topics(r#"[{"Name":"t","Subscription":[]}]"#),
            3,
            UNKNOWN,
            "unknown field",
            "correct its spelling",
        ),
        (
            with_topics(r#"[{"Name":"t","Subscriptions":[{}]}]"#),
            3,
            SUBSCRIPTION,
            "missing field",
            "add the key",
        ),
        (
            with_topics(&format!(r#"[{{"Name":"t","Subscriptions":[{{"Name":"{long}"}}]}}]"#)),
            3,
            SUBSCRIPTION_NAME,
            "1 to 50",
            "correct the value",
        ),
        (
            with_topics("[{\"Name\":\"t\"},\n{\"Name\":\"T\"}]"),
            4,
            "UserConfig.Namespaces[0].Topics[1].Name",
            "is taken",
            "another name",
        ),
        (
            rule(r#"{"FilterType":"Sql","SqlFilter":{"SqlExpression":"a = "}}"#),
            4,
            RULE_SQL,
            "at character 5",
            "correct the value",
        ),
        (rule(r#"{"FilterType":"Sql"}"#), 4, RULE, "has a SqlFilter", "correct the value"),
        (
            rule(r#"{"FilterType":"Correlation","CorrelationFilter":{}}"#),
            4,
            RULE,
            "at least one condition",
            "correct the value",
        ),
        (rule(r#"{"FilterType":"Other"}"#), 4, RULE_TYPE, "unknown variant", "correct the value"),
    ]);
}

#[test]
fn a_target_that_cannot_be_is_told_with_its_key() {
    let queue = |name: &str, key: &str, target: &str, session: bool| {
        format!(r#"{{"Name":"{name}","Properties":{{"{key}":"{target}","RequiresSession":{session}}}}}"#)
    };
    let cases = [
        (queue("a", "ForwardTo", "none", false), "ForwardTo", "there is no queue or topic 'none'"),
        (queue("a", "ForwardTo", "A", false), "ForwardTo", "to where they come from"),
        (queue("a", "ForwardTo", "b", true), "ForwardTo", "messages of sessions"),
        (
            queue("a", "ForwardDeadLetteredMessagesTo", "none", false),
            "ForwardDeadLetteredMessagesTo",
            "'none'",
        ),
    ];
    for (queue, key, problem) in cases {
        let error = parse(&with_queues(&format!(r#"[{queue},{{"Name":"b"}}]"#))).expect_err(key);
        let place = format!("Config.json:3: UserConfig.Namespaces[0].Queues[0].Properties.{key}: ");
        assert!(error.starts_with(&place) && error.contains(problem), "{error}");
    }
    let back = queue("a", "ForwardDeadLetteredMessagesTo", "a", false);
    assert!(parse(&with_queues(&format!("[{back}]"))).is_ok(), "a dead letter may be tried again");
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

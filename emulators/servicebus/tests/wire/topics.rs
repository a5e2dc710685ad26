//! Topics, subscriptions and rules: what is sent to a topic, and what each subscription gets of it.

use amqp::encode::Encode as _;
use amqp::message::{Properties, put_application_properties, put_data};
use amqp::performative::{DeliveryState, Role};
use amqp::value::Symbol;
use amqp::{Map, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::{QueueConfig, RuleConfig, SubscriptionConfig};
use servicebus_emulator::filter::{Filter, SqlAction, SqlFilter};

use crate::support::{
    Answer, BATCH_FORMAT, Peer, Received, SECOND_US, Server, annotated, attach, due, message, now_ms, queue,
    subscription, topic, transfer,
};

fn sql(text: &str) -> Filter {
    Filter::Sql(SqlFilter::parse(text, &Map::new()).expect("a filter"))
}

fn rule(name: &str, filter: Filter, action: Option<&str>) -> RuleConfig {
    let action = action.map(|text| SqlAction::parse(text, &Map::new()).expect("an action"));
    RuleConfig { name: name.to_owned(), filter, action }
}

fn with_rules(name: &str, rules: Vec<RuleConfig>) -> SubscriptionConfig {
    SubscriptionConfig { rules, ..subscription(name) }
}

fn serve(subscriptions: Vec<SubscriptionConfig>) -> Server {
    Server::with_topics(Vec::new(), vec![topic("t", subscriptions)])
}

/// A message with properties.
fn with_properties(body: &str, label: &str, application: &Map) -> Bytes {
    let mut out = BytesMut::new();
    let properties = Properties {
        message_id: Some(Value::String(body.to_owned())),
        subject: Some(label.to_owned()),
        content_type: Some(Symbol::from("text/plain")),
        ..Properties::default()
    };
    properties.encode(&mut out);
    put_application_properties(&mut out, application);
    put_data(&mut out, &Bytes::copy_from_slice(body.as_bytes()));
    out.freeze()
}

fn path(name: &str) -> String {
    format!("t/Subscriptions/{name}")
}

/// All that a subscription has.
fn take_all(peer: &mut Peer, name: &str) -> Vec<Received> {
    let receiver = peer.deleting_receiver(&path(name));
    peer.drain(receiver, 100)
}

fn bodies(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::body).collect()
}

#[test]
fn every_subscription_gets_a_copy_of_its_own() {
    let server = serve(vec![subscription("a"), subscription("b")]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    for body in ["one", "two"] {
        peer.must_send(sender, &message(body));
    }
    let a = peer.receiver(&path("a"));
    peer.credit(a, 2);
    let (one, two) = (peer.receive(a), peer.receive(a));
    assert_eq!((one.sequence_number(), two.sequence_number()), (1, 2));
    assert_eq!(two.annotation("x-opt-enqueue-sequence-number"), Some(Value::Long(2)), "that of the topic");
    peer.must_complete(&one);
    assert_eq!(bodies(&take_all(&mut peer, "b")), ["one", "two"], "what one does is nothing to the other");
    assert_eq!(server.count("t/Subscriptions/a", "locked"), 1);
}

#[test]
fn a_subscription_has_its_own_lock_deliveries_and_dead_letters() {
    let mut once = subscription("once");
    once.queue = QueueConfig { max_delivery_count: 1, ..once.queue };
    let server = serve(vec![once, subscription("thrice")]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    peer.must_send(sender, &message("x"));
    for name in ["once", "thrice"] {
        let receiver = peer.receiver(&path(name));
        let received = peer.receive_one(receiver);
        let abandon = amqp::performative::Modified {
            delivery_failed: Some(true),
            undeliverable_here: None,
            message_annotations: None,
        };
        peer.settle(&received, DeliveryState::Modified(abandon));
    }
    let receiver = peer.receiver("T/subscriptions/ONCE/$deadletterqueue");
    let dead = peer.receive_one(receiver);
    assert_eq!(dead.property("DeadLetterReason"), Some("MaxDeliveryCountExceeded".into()));
    assert_eq!(dead.annotation("x-opt-enqueue-sequence-number"), Some(Value::Long(1)));
    assert_eq!(server.count("t/Subscriptions/thrice", "active"), 1);
    assert_eq!(server.count("t/Subscriptions/thrice", "dead_lettered"), 0);
}

#[test]
fn filters_choose_and_rules_without_an_action_make_one_copy() {
    let server = serve(vec![
        with_rules("red", vec![rule("r", sql("color = 'red'"), None)]),
        with_rules(
            "both",
            vec![rule("1", sql("color = 'red'"), None), rule("2", sql("sys.Label = 'L'"), None)],
        ),
        with_rules("none", Vec::new()),
        with_rules("false", vec![rule("f", Filter::False, None)]),
        with_rules("true", vec![rule("t", sql("1=1"), None)]),
    ]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    for color in ["red", "blue"] {
        let application = Map::new().with_string("color", color.into());
        peer.must_send(sender, &with_properties(color, "L", &application));
    }
    assert_eq!(bodies(&take_all(&mut peer, "red")), ["red"]);
    assert_eq!(bodies(&take_all(&mut peer, "both")), ["red", "blue"], "one copy, whichever rules match");
    assert_eq!(bodies(&take_all(&mut peer, "true")), ["red", "blue"]);
    for name in ["none", "false"] {
        assert!(take_all(&mut peer, name).is_empty(), "{name}");
    }
}

#[test]
fn each_rule_with_an_action_makes_a_copy_that_it_changes() {
    let rules = vec![
        rule("plain", sql("n = 1"), None),
        rule("first", sql("n = 1"), Some("SET sys.Label = 'first'; SET n = n + 1; REMOVE gone")),
        rule("second", Filter::True, Some("SET color = 'new'")),
        rule("never", sql("n = 2"), Some("SET color = 'never'")),
    ];
    let server = serve(vec![with_rules("s", rules)]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    let application = Map::new().with_string("n", Value::Int(1)).with_string("gone", "x".into());
    peer.must_send(sender, &with_properties("body", "old", &application));
    let all = take_all(&mut peer, "s");
    let seen: Vec<_> = all
        .iter()
        .map(|copy| {
            let label = copy.sections().properties(&copy.payload).expect("properties").subject;
            let property = |name: &str| copy.property(name);
            (label.expect("a label"), property("n"), property("gone").is_some(), property("color"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("old".to_owned(), Some(Value::Int(1)), true, None),
            ("first".to_owned(), Some(Value::Int(2)), false, None),
            ("old".to_owned(), Some(Value::Int(1)), true, Some("new".into())),
        ]
    );
    assert_eq!(bodies(&all), ["body"; 3]);
}

#[test]
fn a_message_for_which_a_rule_has_no_answer_is_dead_lettered_or_dropped() {
    let bad = || vec![rule("bad", sql("1 / n = 1"), None)];
    let drops = SubscriptionConfig { dead_letter_on_filter_errors: false, ..with_rules("drops", bad()) };
    let server = serve(vec![with_rules("keeps", bad()), drops]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    for n in [0, 1] {
        peer.must_send(
            sender,
            &with_properties(&n.to_string(), "", &Map::new().with_string("n", Value::Int(n))),
        );
    }
    for name in ["keeps", "drops"] {
        assert_eq!(bodies(&take_all(&mut peer, name)), ["1"], "{name}");
    }
    let receiver = peer.receiver(&format!("{}/$DeadLetterQueue", path("keeps")));
    let dead = peer.receive_one(receiver);
    assert_eq!(dead.property("DeadLetterReason"), Some("FilterEvaluationException".into()));
    assert_eq!(
        dead.property("DeadLetterErrorDescription"),
        Some("The rule 'bad' cannot be evaluated: division by zero.".into())
    );
    assert_eq!(server.count(&path("drops"), "dead_lettered"), 0);
}

#[test]
fn a_batch_goes_to_every_subscription_message_by_message() {
    let server =
        serve(vec![subscription("a"), with_rules("b", vec![rule("r", sql("sys.Label = 'b'"), None)])]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    let mut batch = BytesMut::new();
    for label in ["a", "b", "c"] {
        put_data(&mut batch, &with_properties(label, label, &Map::new()));
    }
    let transfer = amqp::performative::Transfer { message_format: Some(BATCH_FORMAT), ..transfer(sender, 0) };
    assert_eq!(peer.send_as(&transfer, &batch), DeliveryState::Accepted);
    assert_eq!(bodies(&take_all(&mut peer, "a")), ["a", "b", "c"]);
    assert_eq!(bodies(&take_all(&mut peer, "b")), ["b"]);
}

#[test]
fn a_topics_schedule_is_its_own_and_can_be_cancelled() {
    let server = serve(vec![subscription("s")]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    let scheduled = |body: &str, in_ms: i64| annotated(body, &due(now_ms() + in_ms), None);
    peer.must_send(sender, &scheduled("soon", 150));
    let entry = Map::new().with_string("message", Value::Binary(scheduled("never", 60_000)));
    let asked = Map::new().with_string("messages", Value::List(vec![Value::Map(entry)]));
    let answer = peer.ask("t/$management", "com.microsoft:schedule-message", asked);
    let numbers = answer.body.get("sequence-numbers").and_then(Value::as_elements).expect("numbers").to_vec();
    assert_eq!(numbers, [Value::Long(2)]);
    let receiver = peer.receiver(&path("s"));
    assert_eq!(peer.receive_one(receiver).body(), "soon", "it comes when it is due");
    let cancel = Map::new().with_string("sequence-numbers", Value::longs([2]));
    assert_eq!(peer.ask("t/$management", "com.microsoft:cancel-scheduled-message", cancel).status, 200);
}

#[test]
fn the_shorter_time_to_live_of_topic_and_subscription_holds() {
    let mut short = topic("t", vec![subscription("s")]);
    short.time_to_live_us = SECOND_US / 20;
    let server = Server::with_topics(Vec::new(), vec![short]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    peer.must_send(sender, &message("x"));
    server.until_count("t/Subscriptions/s", "active", 0);
    assert_eq!(server.count("t/Subscriptions/s", "enqueued_total"), 1);
}

#[test]
fn nothing_is_received_from_a_topic_nor_sent_to_a_subscription() {
    let server = serve(vec![subscription("s")]);
    let mut peer = server.peer();
    for (role, address, expected) in [
        (Role::Receiver, "t", "amqp:not-allowed"),
        (Role::Sender, "t/Subscriptions/s", "amqp:not-allowed"),
        (Role::Sender, "t/Subscriptions/s/$DeadLetterQueue", "amqp:not-allowed"),
        (Role::Receiver, "t/Subscriptions/none", "amqp:not-found"),
        (Role::Receiver, "t/s", "amqp:not-found"),
        (Role::Receiver, "t/$DeadLetterQueue", "amqp:not-found"),
    ] {
        let handle = peer.handle();
        let error = peer.try_attach(attach(handle, role, address)).expect_err(address);
        assert_eq!(error.condition.as_str(), expected, "{address}");
    }
}

const NODE: &str = "t/Subscriptions/s/$management";

fn ask(peer: &mut Peer, operation: &str, body: Map) -> Answer {
    peer.ask(NODE, &format!("com.microsoft:{operation}"), body)
}

fn add(peer: &mut Peer, name: &str, description: Map) -> Answer {
    let body = Map::new()
        .with_string("rule-name", name.into())
        .with_string("rule-description", Value::Map(description));
    ask(peer, "add-rule", body)
}

fn sql_description(text: &str, action: Option<&str>) -> Map {
    let expression = |text: &str| Value::Map(Map::new().with_string("expression", text.into()));
    Map::new()
        .with_string("sql-filter", expression(text))
        .with_string("sql-rule-action", action.map_or(Value::Null, expression))
}

/// Descriptor, fields and name of each rule's filter, and its action's descriptor.
fn list(peer: &mut Peer, skip: i32, top: i32) -> Vec<(u64, Vec<Value>, String, u64)> {
    let body = Map::new().with_string("top", Value::Int(top)).with_string("skip", Value::Int(skip));
    let answer = ask(peer, "enumerate-rules", body);
    if answer.status == 204 {
        return Vec::new();
    }
    let described = |value: &Value| match value {
        Value::Described(described) => match &**described {
            (Value::Ulong(descriptor), Value::List(fields)) => (*descriptor, fields.clone()),
            other => panic!("a list under a number, not {other:?}"),
        },
        other => panic!("a described value, not {other:?}"),
    };
    let rules = answer.body.get("rules").and_then(Value::as_elements).expect("rules").to_vec();
    let row = |rule: &Value| {
        let (descriptor, fields) =
            described(rule.as_map().and_then(|map| map.get("rule-description")).expect("it"));
        assert_eq!((descriptor, fields.len()), (1_335_734_829_060, 4));
        let (filter, values) = described(&fields[0]);
        assert!(matches!(fields[3], Value::Timestamp(ms) if ms > 0));
        (filter, values, fields[2].as_str().expect("a name").to_owned(), described(&fields[1]).0)
    };
    rules.iter().map(row).collect()
}

#[test]
fn rules_are_added_listed_and_removed() {
    const SQL_ACTION: u64 = 1_335_734_829_062;
    const NO_ACTION: u64 = 1_335_734_829_061;
    let server = serve(vec![subscription("s")]);
    let mut peer = server.peer();
    assert_eq!(list(&mut peer, 0, 10), [(83_483_426_823, Vec::new(), "$Default".to_owned(), NO_ACTION)]);
    assert_eq!(add(&mut peer, "red", sql_description("color = 'red'", Some("SET n = 1"))).status, 200);
    let correlation = Map::new()
        .with_string("label", "L".into())
        .with_string("properties", Value::Map(Map::new().with_string("k", Value::Int(1))));
    let description = Map::new().with_string("correlation-filter", Value::Map(correlation));
    assert_eq!(add(&mut peer, "label", description).status, 200);
    let remove = Map::new().with_string("rule-name", "$default".into());
    assert_eq!(ask(&mut peer, "remove-rule", remove).status, 200);
    let rows = list(&mut peer, 0, 10);
    let sql_fields = vec!["color = 'red'".into(), Value::Int(20)];
    assert_eq!(rows[0], (83_483_426_822, sql_fields, "red".to_owned(), SQL_ACTION));
    let (descriptor, fields, name, action) = rows[1].clone();
    assert_eq!((descriptor, fields.len(), name.as_str(), action), (83_483_426_825, 9, "label", NO_ACTION));
    assert_eq!(fields[4], "L".into());
    assert_eq!(fields[8].as_map().and_then(|map| map.get("k")), Some(&Value::Int(1)));
    assert_eq!(list(&mut peer, 1, 10).len(), 1);
    assert_eq!(list(&mut peer, 0, 1)[0].2, "red");
    assert!(list(&mut peer, 2, 10).is_empty());
    // They hold from now on.
    let sender = peer.sender("t");
    peer.must_send(sender, &with_properties("no", "", &Map::new()));
    let application = Map::new().with_string("color", "red".into()).with_string("k", Value::Long(1));
    peer.must_send(sender, &with_properties("yes", "L", &application));
    let all = take_all(&mut peer, "s");
    assert_eq!(bodies(&all), ["yes", "yes"]);
    let changed: Vec<_> = all.iter().map(|copy| copy.property("n").is_some()).collect();
    assert_eq!(changed, [false, true]);
}

#[test]
fn a_rule_that_cannot_be_is_refused_with_status_and_condition() {
    let server = serve(vec![subscription("s")]);
    let mut peer = server.peer();
    let good = || sql_description("a = 1", None);
    assert_eq!(add(&mut peer, "r", good()).status, 200);
    let correlation = |filter: Map| Map::new().with_string("correlation-filter", Value::Map(filter));
    let long = "r".repeat(51);
    let cases = [
        ("R", good(), 409, "com.microsoft:entity-already-exists"),
        ("", good(), 400, "com.microsoft:argument-error"),
        (&long, good(), 400, "com.microsoft:argument-error"),
        ("a/b", good(), 400, "com.microsoft:argument-error"),
        ("x", sql_description("a = ", None), 400, "com.microsoft:argument-error"),
        ("x", sql_description("a = 1", Some("SET")), 400, "com.microsoft:argument-error"),
        ("x", Map::new(), 400, "com.microsoft:argument-error"),
        ("x", correlation(Map::new()), 400, "com.microsoft:argument-error"),
        (
            "x",
            correlation(Map::new().with_string("label", Value::Int(1))),
            400,
            "com.microsoft:argument-error",
        ),
    ];
    for (name, description, status, condition) in cases {
        let answer = add(&mut peer, name, description.clone());
        let got = (answer.status, answer.condition.as_deref());
        assert_eq!(got, (status, Some(condition)), "{name} {description:?}");
    }
    let remove = ask(&mut peer, "remove-rule", Map::new().with_string("rule-name", "none".into()));
    assert_eq!((remove.status, remove.condition.as_deref()), (404, Some("amqp:not-found")));
    for (operation, node) in [("add-rule", "t/$management"), ("enumerate-rules", "t/$management")] {
        let body = Map::new().with_string("rule-name", "r".into());
        let answer = peer.ask(node, &format!("com.microsoft:{operation}"), body);
        assert_eq!((answer.status, answer.condition.as_deref()), (400, Some("amqp:not-allowed")));
    }
    assert_eq!(list(&mut peer, 0, 10).len(), 2);
}

#[test]
fn a_described_rule_is_taken_too() {
    let server = serve(vec![with_rules("s", Vec::new())]);
    let mut peer = server.peer();
    let described = |descriptor: u64, fields: Vec<Value>| {
        Value::Described(Box::new((Value::Ulong(descriptor), Value::List(fields))))
    };
    let filters = [
        (described(83_483_426_823, Vec::new()), 83_483_426_823),
        (described(83_483_426_824, Vec::new()), 83_483_426_824),
        (described(83_483_426_822, vec!["a = 1".into(), Value::Int(20)]), 83_483_426_822),
        (described(83_483_426_825, vec![Value::Null, "id".into()]), 83_483_426_825),
    ];
    for (index, (filter, _)) in filters.iter().enumerate() {
        let rule =
            described(1_335_734_829_060, vec![filter.clone(), described(1_335_734_829_061, Vec::new())]);
        let body = Map::new()
            .with_string("rule-name", Value::String(index.to_string()))
            .with_string("rule-description", rule);
        assert_eq!(ask(&mut peer, "add-rule", body).status, 200);
    }
    let listed: Vec<_> = list(&mut peer, 0, 10).into_iter().map(|row| row.0).collect();
    assert_eq!(listed, filters.map(|(_, descriptor)| descriptor));
    let body = Map::new()
        .with_string("rule-name", "x".into())
        .with_string("rule-description", described(1_335_734_829_060, vec![described(1, Vec::new())]));
    assert_eq!(ask(&mut peer, "add-rule", body).status, 400);
}

#[test]
fn a_dead_letter_of_a_subscription_can_be_sent_on_by_its_queue() {
    let mut sub = subscription("s");
    sub.queue = QueueConfig { forward_dead_letters_to: Some("q".to_owned()), ..sub.queue };
    let server = Server::with_topics(vec![queue("q")], vec![topic("t", vec![sub])]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    peer.must_send(sender, &message("x"));
    let receiver = peer.receiver(&path("s"));
    let received = peer.receive_one(receiver);
    peer.settle(&received, DeliveryState::Rejected(amqp::performative::Rejected { error: None }));
    let receiver = peer.receiver("q");
    let forwarded = peer.receive_one(receiver);
    assert_eq!(forwarded.annotation("x-opt-deadletter-source"), Some("t/Subscriptions/s".into()));
}

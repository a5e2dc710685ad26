//! The language of rules, case by case: SQL filters, SQL actions, correlation filters.

use amqp::message::Properties;
use amqp::value::Symbol;
use amqp::{Map, Value};
use servicebus_emulator::filter::{CorrelationFilter, EvaluationError, Fields, Filter, SqlAction, SqlFilter};
use servicebus_emulator::limits::{ACTION_STATEMENTS_MAX, FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

/// A message with something of every type.
pub fn fields() -> Fields {
    Fields {
        properties: Properties {
            message_id: Some("id-1".into()),
            to: Some("there".into()),
            subject: Some("Red".into()),
            reply_to: Some("back".into()),
            correlation_id: Some(Value::Ulong(7)),
            content_type: Some(Symbol::from("application/json")),
            group_id: Some("session".into()),
            reply_to_group_id: Some("answers".into()),
            ..Properties::default()
        },
        application: Map::new()
            .with_string("color", "red".into())
            .with_string("quantity", Value::Int(5))
            .with_string("Price", Value::Double(2.5))
            .with_string("urgent", Value::Bool(true))
            .with_string("nothing", Value::Null)
            .with_string("a]b", Value::Byte(-1))
            .with_string("big", Value::Ulong(u64::MAX))
            .with_string("at", Value::Timestamp(1_767_225_600_000))
            .with_string("raw", Value::Binary(bytes::Bytes::from_static(b"x")))
            .with_string("order", "first".into()),
        partition_key: Some("key".to_owned()),
        enqueued_us: 1_767_225_600_000_000,
        time_to_live_us: 60_000_000,
        sequence_number: 9,
        ..Fields::default()
    }
}

fn parameters() -> Map {
    Map::new()
        .with_string("@wanted", Value::Long(5))
        .with_string("day", Value::Timestamp(1_767_225_600_000))
        .with_string("none", Value::Null)
}

fn sql(text: &str) -> SqlFilter {
    SqlFilter::parse(text, &parameters()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a filter is for the message: true, false, unknown.
fn truth(text: &str) -> Option<bool> {
    sql(text).predicate().truth(&fields()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn assert_truths(expected: Option<bool>, texts: &[&str]) {
    for text in texts {
        assert_eq!(truth(text), expected, "{text}");
        assert_eq!(Filter::Sql(sql(text)).matches(&fields()), Ok(expected == Some(true)), "{text}");
    }
}

#[test]
fn comparisons_follow_type_and_order() {
    assert_truths(
        Some(true),
        &[
            "color = 'red'",
            "COLOR = 'red'",
            "user.color <> 'Red'",
            "color != 'blue'",
            "quantity >= 5 AND quantity<=5",
            "quantity = 5.0",
            "Price > 2",
            "color > 'rea' and color < 'ree'",
            "urgent = TRUE",
            "at = @day",
            "[a]]b] = -1",
            "\"color\" = 'red'",
            "'it''s' = 'it''s'",
            "1.5e1 = 15",
            ".5 < 1",
            "quantity = @Wanted",
            "big > 9223372036854775807",
        ],
    );
    assert_truths(
        Some(false),
        &["color = 'RED'", "quantity < 5", "urgent = false", "color < 'red'", "quantity <> 5", "1=0"],
    );
}

#[test]
fn what_does_not_go_together_is_unknown() {
    assert_truths(
        None,
        &[
            "quantity = '5'",
            "quantity <> '5'",
            "color > 1",
            "urgent > FALSE",
            "urgent = 'True'",
            "missing = 1",
            "missing <> 1",
            "nothing = nothing",
            "color = NULL",
            "NOT missing = 1",
            "color + 1 = 'red1'",
            "-color = 1",
            "raw = 'x'",
            "quantity = @none",
            "sys.TimeToLive > 1",
            "missing LIKE 'a'",
            "missing NOT LIKE 'a'",
            "missing IN (1, 2)",
            "property(quantity) = 1",
        ],
    );
}

#[test]
fn three_valued_logic_is_that_of_sql_92() {
    for (left, left_truth) in [("1=1", Some(true)), ("1=0", Some(false)), ("missing=1", None)] {
        for (right, right_truth) in [("2=2", Some(true)), ("2=0", Some(false)), ("nothing=1", None)] {
            let and = match (left_truth, right_truth) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (left_truth, right_truth) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            assert_eq!(truth(&format!("{left} AND {right}")), and, "{left} AND {right}");
            assert_eq!(truth(&format!("{left} OR {right}")), or, "{left} OR {right}");
        }
        assert_eq!(truth(&format!("NOT ({left})")), left_truth.map(|truth| !truth));
    }
}

#[test]
fn null_and_existence_are_told_apart() {
    assert_truths(
        Some(true),
        &[
            "missing IS NULL",
            "nothing IS NULL",
            "color IS NOT NULL",
            "raw IS NOT NULL",
            "EXISTS(color)",
            "exists ( user.nothing )",
            "NOT EXISTS(missing)",
            "sys.LockToken IS NULL",
            "EXISTS(sys.Label)",
        ],
    );
    assert_truths(Some(false), &["color IS NULL", "missing IS NOT NULL", "EXISTS(missing)"]);
}

#[test]
fn lists_are_searched_with_unknown_in_mind() {
    assert_truths(
        Some(true),
        &[
            "color IN ('blue', 'red')",
            "quantity NOT IN (1, 2)",
            "quantity IN (NULL, 5)",
            "quantity + 1 IN (2 * 3)",
            "color NOT IN ('blue') AND color NOT LIKE 'b%'",
        ],
    );
    assert_truths(Some(false), &["color IN ('blue')", "quantity NOT IN (5, NULL)"]);
    assert_truths(None, &["color IN ('blue', NULL)", "quantity NOT IN (1, NULL)", "quantity IN ('5')"]);
}

#[test]
fn like_has_runs_single_characters_and_an_escape() {
    assert_truths(
        Some(true),
        &[
            "color LIKE 'r%'",
            "color LIKE '_e_'",
            "color LIKE '%e%'",
            "color LIKE '%'",
            "color NOT LIKE 'R%'",
            "'50%' LIKE '50\\%' ESCAPE '\\'",
            "'a_b' LIKE 'a!_b' ESCAPE '!'",
            "color LIKE 'r' + '%'",
        ],
    );
    assert_truths(Some(false), &["color LIKE 'e'", "'500' LIKE '50!%' ESCAPE '!'", "color LIKE ''"]);
}

#[test]
fn arithmetic_has_its_precedence_and_its_types() {
    assert_truths(
        Some(true),
        &[
            "1 + 2 * 3 = 7",
            "(1 + 2) * 3 = 9",
            "10 - 4 - 3 = 3",
            "7 / 2 = 3",
            "7 / 2.0 = 3.5",
            "-7 % 3 = -1",
            "- - 1 = 1",
            "+quantity = 5",
            "'a' + 'b' = 'ab'",
            "quantity * Price = 12.5",
            "2 * (quantity + 1) = 12 OR missing = 1",
            "1.0 / 0 > 1",
        ],
    );
}

#[test]
fn functions_are_called() {
    assert_truths(
        Some(true),
        &[
            "property('color') = 'red'",
            "p('sys.' + 'Label') = 'Red'",
            "P('user.color') = 'red'",
            "newid() <> newid()",
            "p(p('order')) = NULL OR 1 = 1",
        ],
    );
}

#[test]
fn every_system_property_is_there() {
    assert_truths(
        Some(true),
        &[
            "sys.MessageId = 'id-1'",
            "SYS.messageid = 'id-1'",
            "sys.CorrelationId = '7'",
            "sys.To = 'there' AND sys.ReplyTo = 'back'",
            "sys.Label = 'Red' AND sys.Subject = 'Red'",
            "sys.SessionId = 'session' AND sys.ReplyToSessionId = 'answers'",
            "sys.ContentType = 'application/json'",
            "sys.PartitionKey = 'key'",
            "sys.SequenceNumber = 9",
            "sys.EnqueuedTimeUtc = @day",
            "sys.ExpiresAtUtc > sys.EnqueuedTimeUtc",
            "sys.[DeliveryCount] = 0",
            "sys.TimeToLive = sys.TimeToLive",
            "sys.Size = 0",
            "sys.ScheduledEnqueueTimeUtc IS NULL",
        ],
    );
    // A word that is no scope is a property.
    assert_truths(None, &["sys = 1", "user = 1", "newid = 1", "set = 1"]);
}

#[test]
fn what_has_no_answer_is_an_error() {
    let error = |text: &str| sql(text).predicate().truth(&fields()).expect_err(text);
    assert_eq!(error("sys.NoSuch = 1"), EvaluationError::NoSystemProperty("NoSuch".to_owned()));
    assert_eq!(error("EXISTS(sys.NoSuch)").to_string(), "there is no system property 'sys.NoSuch'");
    assert_eq!(error("p('sys.NoSuch') = 1"), EvaluationError::NoSystemProperty("NoSuch".to_owned()));
    assert_eq!(error("quantity / 0 = 1"), EvaluationError::DivisionByZero);
    assert_eq!(error("1 % (quantity - 5) = 1"), EvaluationError::DivisionByZero);
    assert_eq!(error("9223372036854775807 + 1 = 1"), EvaluationError::Overflow("+"));
    assert_eq!(error("-9223372036854775807 - 2 = 1"), EvaluationError::Overflow("-"));
    assert!(matches!(error("color LIKE 'a' + '!' ESCAPE '!'"), EvaluationError::Pattern(_)));
    assert!(matches!(error("color LIKE 'a' ESCAPE color"), EvaluationError::Pattern(_)));
    // What stands behind the answer is not looked at.
    assert_truths(Some(false), &["1=0 AND sys.NoSuch = 1"]);
    assert_truths(Some(true), &["1=1 OR sys.NoSuch = 1"]);
}

#[test]
fn a_mistake_is_told_with_its_position() {
    let cases = [
        ("", 1, "is expected, not the end"),
        ("color", 1, "a value is no condition"),
        ("color = ", 9, "a value or a property is expected"),
        ("color = 'red", 9, "has no end"),
        ("color = 'red' AND", 18, "not the end"),
        ("color = 'red' quantity", 15, "not 'quantity'"),
        ("(a = 1", 7, "')' is expected"),
        ("a = 1)", 6, "not ')'"),
        ("a = b = c", 7, "the end of the filter"),
        ("(a = 1) = TRUE", 1, "a condition has no value"),
        ("a AND b = 1", 1, "a value is no condition"),
        ("AND = 1", 1, "reserved word; a property of that name is written [AND]"),
        ("a IS 1", 6, "NULL is expected"),
        ("1 IS NULL", 1, "only of a property"),
        ("a IN ()", 7, "a value or a property"),
        ("a IN 1", 6, "'('"),
        ("a NOT b", 7, "IN or LIKE is expected, not 'b'"),
        ("a LIKE 'x!' ESCAPE '!'", 8, "ends with its escape"),
        ("a LIKE 'x' ESCAPE 'ab'", 12, "one character"),
        ("a = @unknown", 5, "'@unknown' has no value"),
        ("a = @", 5, "a name is missing"),
        ("a = #", 5, "'#' is not expected"),
        ("é = §", 5, "'§' is not expected"),
        ("a = 99999999999999999999", 5, "64 bits"),
        ("a = 1e999", 5, "too large"),
        ("a = 1x", 5, "followed by a letter"),
        ("abs(a) = 1", 1, "there is no function 'abs'"),
        ("a.b = 1", 3, "[a.b]"),
        ("[] = 1", 1, "at least one character"),
        ("EXISTS(1)", 8, "a value or a property"),
    ];
    for (text, position, problem) in cases {
        let error = SqlFilter::parse(text, &Map::new()).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("at character {position}: ")), "{error}");
    }
}

#[test]
fn text_of_the_worst_kind_is_refused_or_answered_in_bounds() {
    let parse = |text: &str| SqlFilter::parse(text, &Map::new());
    for text in ["(".repeat(50_000), "NOT ".repeat(12_000), "-".repeat(50_000), "p(".repeat(20_000)] {
        let error = parse(&text).expect_err("too deep");
        assert!(error.problem.contains(&format!("deeper than {FILTER_DEPTH_MAX}")), "{error}");
    }
    let deep = format!("{}a = 1{}", "(".repeat(FILTER_DEPTH_MAX), ")".repeat(FILTER_DEPTH_MAX));
    assert!(parse(&deep).is_ok());
    let error = parse(&" ".repeat(100 << 10)).expect_err("too long");
    assert!(error.problem.contains(&FILTER_BYTES_MAX.to_string()), "{error}");
    // Chains are no depth.
    let long = vec!["a = 1"; FILTER_BYTES_MAX / 10].join(" AND ");
    assert_eq!(parse(&long).expect("a chain").predicate().truth(&fields()), Ok(None));
    let sum = format!("{} = {}", vec!["1"; 20_000].join("+"), 20_000);
    assert_eq!(parse(&sum).expect("a chain").predicate().truth(&fields()), Ok(Some(true)));
    let list = format!("quantity IN ({})", vec!["0"; 30_000].join(","));
    assert_eq!(parse(&list).expect("a list").predicate().truth(&fields()), Ok(Some(false)));
}

#[test]
fn what_is_always_the_same_is_known_without_a_message() {
    let constant = |text: &str| Filter::Sql(sql(text)).constant();
    assert_eq!((constant("1=1"), constant("1 = 0")), (Some(true), Some(false)));
    assert_eq!((Filter::True.constant(), Filter::False.constant()), (Some(true), Some(false)));
    assert_eq!(constant("color = 'red'"), None);
    assert_eq!(Filter::True.matches(&fields()), Ok(true));
    assert_eq!(Filter::False.matches(&fields()), Ok(false));
}

fn changed(action: &str) -> Fields {
    let mut fields = fields();
    let action = SqlAction::parse(action, &parameters()).unwrap_or_else(|error| panic!("{action}: {error}"));
    action.apply(&mut fields).expect("it can be done");
    fields
}

#[test]
fn an_action_sets_and_removes() {
    let fields = changed(
        "SET sys.To = 'Entity'; SET color = 'blue'\nSET twice = quantity * 2; REMOVE Price;\n SET sys.Label = color; \
         REMOVE sys.ReplyTo; SET nothing = missing; SET sys.SessionId = 7; SET [a]]b] = 100; SET [new id] = newid();",
    );
    let get = |name: &str| fields.application.get(name).cloned();
    assert_eq!(fields.properties.to, Some("Entity".into()));
    assert_eq!(fields.properties.subject.as_deref(), Some("blue"), "later statements see earlier ones");
    assert_eq!(fields.properties.reply_to, None);
    assert_eq!(fields.properties.group_id.as_deref(), Some("7"));
    assert_eq!((get("color"), get("twice")), (Some("blue".into()), Some(Value::Long(10))));
    assert_eq!((get("Price"), get("nothing"), get("missing")), (None, None, None));
    assert_eq!(get("a]b"), Some(Value::Byte(100)), "a property keeps its type");
    assert!(matches!(get("new id"), Some(Value::Uuid(_))));
}

#[test]
fn a_property_takes_another_type_where_its_own_cannot_hold_the_value() {
    let get = |action: &str, name: &str| changed(action).application.get(name).cloned();
    assert_eq!(get("SET quantity = '8'", "quantity"), Some(Value::Int(8)));
    assert_eq!(get("SET quantity = 'eight'", "quantity"), Some("eight".into()));
    assert_eq!(get("SET quantity = 3000000000", "quantity"), Some(Value::Long(3_000_000_000)));
    assert_eq!(get("SET Price = 3", "price"), None);
    assert_eq!(get("SET Price = 3", "Price"), Some(Value::Double(3.0)));
    assert_eq!(get("SET color = 5", "color"), Some("5".into()));
    assert_eq!(get("SET urgent = TRUE", "urgent"), Some(Value::Bool(true)));
    assert_eq!(get("SET day = @day", "day"), Some(Value::Timestamp(1_767_225_600_000)));
}

#[test]
fn an_action_that_is_none_is_told_with_its_position() {
    let too_many = "REMOVE a;".repeat(ACTION_STATEMENTS_MAX + 1);
    let cases = [
        ("", 1, "at least one statement"),
        (" ; ", 1, "at least one statement"),
        ("DROP a", 1, "SET or REMOVE is expected"),
        ("SET a 1", 7, "'=' is expected"),
        ("SET a = 1 SET b = 2", 11, "';' or a new line"),
        ("SET a = b = 1", 11, "';' or a new line"),
        ("SET a = (b = 1)", 9, "a condition has no value"),
        ("SET sys.SequenceNumber = 1", 5, "'sys.SequenceNumber' is the service's"),
        ("REMOVE sys.NoSuch", 8, "no system property"),
        ("SET a = 1; REMOVE", 18, "a value or a property"),
        (&too_many, ACTION_STATEMENTS_MAX * 9 + 1, "at most"),
    ];
    for (text, position, problem) in cases {
        let error = SqlAction::parse(text, &Map::new()).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
    }
}

#[test]
fn what_an_action_cannot_do_is_an_error() {
    let error = |text: &str| {
        let action = SqlAction::parse(text, &parameters()).expect(text);
        action.apply(&mut fields()).expect_err(text).to_string()
    };
    assert_eq!(error("SET a = sys.NoSuch"), "there is no system property 'sys.NoSuch'");
    assert_eq!(error("SET sys.Label = @day"), "'sys.Label' cannot be an instant");
    assert_eq!(error("REMOVE sys.MessageId"), "'sys.MessageId' cannot be unknown");
    assert_eq!(error("SET a = 1 / 0"), "division by zero");
}

#[test]
fn a_correlation_filter_wants_every_field_equal() {
    let all = CorrelationFilter {
        correlation_id: Some("7".into()),
        message_id: Some("id-1".into()),
        to: Some("there".into()),
        reply_to: Some("back".into()),
        label: Some("Red".into()),
        session_id: Some("session".into()),
        reply_to_session_id: Some("answers".into()),
        content_type: Some("application/json".into()),
        properties: Map::new()
            .with_string("color", "red".into())
            .with_string("quantity", Value::Long(5))
            .with_string("Price", Value::Float(2.5))
            .with_string("urgent", Value::Bool(true))
            .with_string("at", Value::Timestamp(1_767_225_600_000)),
    };
    assert!(all.matches(&fields()) && !all.is_empty());
    let other = Some("other".to_owned());
    let one_wrong = [
        CorrelationFilter { correlation_id: other.clone(), ..all.clone() },
        CorrelationFilter { message_id: other.clone(), ..all.clone() },
        CorrelationFilter { to: other.clone(), ..all.clone() },
        CorrelationFilter { reply_to: other.clone(), ..all.clone() },
        CorrelationFilter { label: Some("red".into()), ..all.clone() },
        CorrelationFilter { session_id: other.clone(), ..all.clone() },
        CorrelationFilter { reply_to_session_id: other.clone(), ..all.clone() },
        CorrelationFilter { content_type: other, ..all.clone() },
    ];
    for filter in one_wrong {
        assert!(!filter.matches(&fields()), "{filter:?}");
    }
}

#[test]
fn a_property_of_a_correlation_filter_has_its_name_and_its_type() {
    let wants = |name: &str, value: Value| {
        CorrelationFilter { properties: Map::new().with_string(name, value), ..CorrelationFilter::default() }
            .matches(&fields())
    };
    assert!(wants("quantity", Value::Ubyte(5)) && wants("nothing", Value::Null));
    for (name, value) in [
        ("Quantity", Value::Int(5)),
        ("quantity", Value::Int(6)),
        ("quantity", Value::Double(5.0)),
        ("quantity", "5".into()),
        ("missing", Value::Null),
        ("color", "Red".into()),
        ("urgent", Value::Bool(false)),
    ] {
        assert!(!wants(name, value.clone()), "{name} = {value:?}");
    }
    assert!(CorrelationFilter::default().is_empty());
}

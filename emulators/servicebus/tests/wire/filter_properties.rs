//! The language of rules as a grammar: what is printed is read as the same, any text ends in an answer or in an error, and a
//! naive model judges as the program does.

use amqp::{Map, Value};
use proptest::prelude::*;
use servicebus_emulator::filter::syntax::{
    Comparison, Constant, Expression, Operator, Predicate, Property, Statement,
};
use servicebus_emulator::filter::{Fields, Scalar, SqlAction, SqlFilter, SystemProperty};

const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];

fn parameters() -> Map {
    Map::new().with_string("five", Value::Long(5))
}

fn property() -> impl Strategy<Value = Property> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "AND", "x]y", "with blank", "missing"])
            .prop_map(|name| Property::User(name.to_owned())),
        1 => prop::sample::select(vec![SystemProperty::Label, SystemProperty::MessageId, SystemProperty::SequenceNumber])
            .prop_map(Property::System),
        1 => Just(Property::NoSystem("No such".to_owned())),
    ]
}

fn constant() -> impl Strategy<Value = Constant> {
    prop_oneof![
        Just(Constant::Null),
        any::<bool>().prop_map(Constant::Bool),
        (0_i64..4).prop_map(Constant::Int),
        (0.0_f64..1e300).prop_map(Constant::Double),
        "[ab'%_]{0,3}".prop_map(Constant::Text),
    ]
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        3 => property().prop_map(Expression::Property),
        3 => constant().prop_map(Expression::Constant),
        1 => Just(Expression::Parameter("five".to_owned(), Scalar::Int(5))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operators = |of: [Operator; 3]| prop::sample::select(of.to_vec());
        let chain = |of, inner: BoxedStrategy<Expression>| {
            (inner.clone(), prop::collection::vec((operators(of), inner), 1..3))
                .prop_map(|(first, rest)| Expression::Chain(Box::new(first), rest))
        };
        let inner = inner.boxed();
        prop_oneof![
            chain([Operator::Plus, Operator::Minus, Operator::Plus], inner.clone()),
            chain([Operator::Times, Operator::Divided, Operator::Modulo], inner.clone()),
            inner.clone().prop_map(|inner| Expression::Minus(Box::new(inner))),
            inner.clone().prop_map(|inner| Expression::Plus(Box::new(inner))),
            inner.prop_map(|inner| Expression::PropertyNamed(Box::new(inner))),
        ]
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let escape = proptest::option::of(Just(Expression::Constant(Constant::Text("!".to_owned()))));
    let leaf = prop_oneof![
        (expression(), prop::sample::select(COMPARISONS.to_vec()), expression())
            .prop_map(|(left, comparison, right)| Predicate::Compare(left, comparison, right)),
        (property(), any::<bool>()).prop_map(|(property, negated)| Predicate::IsNull { property, negated }),
        (expression(), prop::collection::vec(expression(), 1..4), any::<bool>())
            .prop_map(|(value, list, negated)| Predicate::In { value, list, negated }),
        (expression(), expression(), escape, any::<bool>()).prop_map(|(value, pattern, escape, negated)| {
            Predicate::Like { value, pattern, escape, negated }
        }),
        property().prop_map(Predicate::Exists),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Predicate::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Predicate::And),
            prop::collection::vec(inner, 2..4).prop_map(Predicate::Or),
        ]
    })
}

fn statement() -> impl Strategy<Value = Statement> {
    let assignable = property().prop_filter("what an action may change", |property| match property {
        Property::System(property) => property.is_assignable(),
        Property::NoSystem(_) => false,
        Property::User(_) => true,
    });
    (assignable, proptest::option::of(expression())).prop_map(|(property, value)| match value {
        Some(value) => Statement::Set(property, value),
        None => Statement::Remove(property),
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0_i32..4).prop_map(Value::Int),
        Just(Value::Long(i64::MAX)),
        (0.0_f64..4.0).prop_map(Value::Double),
        "[ab]{0,3}".prop_map(Value::String),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let present = |name| (Just(name), proptest::option::of(value()));
    (present("A"), present("b"), present("AND"), proptest::option::of("[ab]{0,2}")).prop_map(
        |(a, b, and, label)| {
            let mut fields = Fields::default();
            for (name, value) in [a, b, and] {
                fields.application.0.extend(value.map(|value| (Value::from(name), value)));
            }
            fields.properties.subject = label;
            fields
        },
    )
}

/// The model's values: none is unknown.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Unknown,
    Bool(bool),
    Int(i128),
    Double(f64),
    Text(String),
}

/// The model: what the documentation says, in the plainest way. `Err` is an error of any kind.
struct Model<'a>(&'a Fields);

impl Model<'_> {
    fn user(&self, name: &str) -> Option<Value> {
        let found = self
            .0
            .application
            .0
            .iter()
            .find(|(key, _)| key.as_str().map(str::to_lowercase) == Some(name.to_lowercase()));
        found.map(|(_, value)| value.clone())
    }

    fn property(&self, property: &Property) -> Result<Seen, ()> {
        match property {
            Property::NoSystem(_) => Err(()),
            Property::System(SystemProperty::Label) => {
                Ok(self.0.properties.subject.clone().map_or(Seen::Unknown, Seen::Text))
            }
            Property::System(SystemProperty::SequenceNumber) => Ok(Seen::Int(0)),
            Property::System(_) => Ok(Seen::Unknown),
            Property::User(name) => Ok(match self.user(name) {
                Some(Value::Bool(value)) => Seen::Bool(value),
                Some(Value::Int(number)) => Seen::Int(number.into()),
                Some(Value::Long(number)) => Seen::Int(number.into()),
                Some(Value::Double(number)) => Seen::Double(number),
                Some(Value::String(text)) => Seen::Text(text),
                _ => Seen::Unknown,
            }),
        }
    }

    fn value(&self, expression: &Expression) -> Result<Seen, ()> {
        let whole =
            |number: i128| i64::try_from(number).map(|number| Seen::Int(number.into())).map_err(|_| ());
        Ok(match expression {
            Expression::Constant(Constant::Null) => Seen::Unknown,
            Expression::Constant(Constant::Bool(value)) => Seen::Bool(*value),
            Expression::Constant(Constant::Int(number)) => Seen::Int((*number).into()),
            Expression::Constant(Constant::Double(number)) => Seen::Double(*number),
            Expression::Constant(Constant::Text(text)) => Seen::Text(text.clone()),
            Expression::Parameter(..) => Seen::Int(5),
            Expression::Property(property) => self.property(property)?,
            Expression::PropertyNamed(name) => match self.value(name)? {
                Seen::Text(name) => self.property(&Property::User(name))?,
                _ => Seen::Unknown,
            },
            Expression::NewId => return Err(()),
            Expression::Plus(inner) => match self.value(inner)? {
                number @ (Seen::Int(_) | Seen::Double(_)) => number,
                _ => Seen::Unknown,
            },
            Expression::Minus(inner) => match self.value(inner)? {
                Seen::Int(number) => whole(-number)?,
                Seen::Double(number) => Seen::Double(-number),
                _ => Seen::Unknown,
            },
            Expression::Chain(first, rest) => {
                let mut left = self.value(first)?;
                for (operator, right) in rest {
                    left = match (left, operator, self.value(right)?) {
                        (Seen::Text(left), Operator::Plus, Seen::Text(right)) => Seen::Text(left + &right),
                        (Seen::Int(_), Operator::Divided | Operator::Modulo, Seen::Int(0)) => return Err(()),
                        (Seen::Int(left), operator, Seen::Int(right)) => whole(match operator {
                            Operator::Plus => left + right,
                            Operator::Minus => left - right,
                            Operator::Times => left * right,
                            Operator::Divided => left / right,
                            Operator::Modulo => left % right,
                        })?,
                        (left, operator, right) => match (double(&left), double(&right)) {
                            (Some(left), Some(right)) => Seen::Double(match operator {
                                Operator::Plus => left + right,
                                Operator::Minus => left - right,
                                Operator::Times => left * right,
                                Operator::Divided => left / right,
                                Operator::Modulo => left % right,
                            }),
                            _ => Seen::Unknown,
                        },
                    };
                }
                left
            }
        })
    }

    fn truth(&self, predicate: &Predicate) -> Result<Option<bool>, ()> {
        Ok(match predicate {
            Predicate::Not(inner) => self.truth(inner)?.map(|truth| !truth),
            Predicate::And(parts) => {
                let mut least = 2;
                for part in parts {
                    least = least.min(match self.truth(part)? {
                        Some(false) => return Ok(Some(false)),
                        None => 1,
                        Some(true) => 2,
                    });
                }
                (least == 2).then_some(true)
            }
            Predicate::Or(parts) => {
                let mut most = 0;
                for part in parts {
                    most = most.max(match self.truth(part)? {
                        Some(true) => return Ok(Some(true)),
                        None => 1,
                        Some(false) => 0,
                    });
                }
                (most == 0).then_some(false)
            }
            Predicate::Compare(left, comparison, right) => {
                compared(&self.value(left)?, *comparison, &self.value(right)?)
            }
            Predicate::IsNull { property, negated } => {
                Some((self.property(property)? == Seen::Unknown) != *negated)
            }
            Predicate::Exists(Property::User(name)) => Some(self.user(name).is_some()),
            Predicate::Exists(property) => Some(self.property(property)? != Seen::Unknown),
            Predicate::In { value, list, negated } => {
                // `x IN (a, b)` is `x = a OR x = b`.
                let equals = |element: &Expression| {
                    Predicate::Compare(value.clone(), Comparison::Equal, element.clone())
                };
                let any = Predicate::Or(list.iter().map(equals).collect());
                self.truth(&any)?.map(|found| found != *negated)
            }
            Predicate::Like { value, pattern, escape, negated } => {
                let (value, pattern) = (self.value(value)?, self.value(pattern)?);
                match (value, pattern) {
                    (Seen::Text(value), Seen::Text(pattern)) => {
                        let (value, pattern): (Vec<_>, Vec<_>) =
                            (value.chars().collect(), pattern.chars().collect());
                        assert!(escape.is_none() || !pattern.contains(&'!'), "no pattern has it");
                        Some(like(&value, &pattern) != *negated)
                    }
                    _ => None,
                }
            }
        })
    }
}

fn double(seen: &Seen) -> Option<f64> {
    match seen {
        #[expect(clippy::cast_precision_loss, reason = "so does the program")]
        Seen::Int(number) => Some(*number as f64),
        Seen::Double(number) => Some(*number),
        _ => None,
    }
}

fn compared(left: &Seen, comparison: Comparison, right: &Seen) -> Option<bool> {
    let order = match (left, right) {
        (Seen::Int(left), Seen::Int(right)) => Some(left.cmp(right)),
        (Seen::Text(left), Seen::Text(right)) => Some(left.cmp(right)),
        (Seen::Bool(left), Seen::Bool(right)) => match comparison {
            Comparison::Equal => return Some(left == right),
            Comparison::NotEqual => return Some(left != right),
            _ => return None,
        },
        _ => double(left)?.partial_cmp(&double(right)?),
    }?;
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|taken| like(&text[taken..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((plain, rest)) => text.first() == Some(plain) && like(&text[1..], rest),
    }
}

proptest! {
    #[test]
    fn a_filter_that_is_printed_is_read_as_the_same(predicate in predicate()) {
        let text = predicate.to_string();
        let read = SqlFilter::parse(&text, &parameters());
        prop_assert_eq!(read.as_ref().map(SqlFilter::predicate), Ok(&predicate), "{}", text);
    }

    #[test]
    fn an_action_that_is_printed_is_read_as_the_same(statements in prop::collection::vec(statement(), 1..4)) {
        let text = statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";\n");
        let read = SqlAction::parse(&text, &parameters());
        prop_assert_eq!(read.as_ref().map(SqlAction::statements), Ok(&statements[..]), "{}", text);
    }

    #[test]
    fn the_program_judges_as_the_model_does(predicate in predicate(), fields in fields()) {
        let judged = predicate.truth(&fields).map_err(|_| ());
        prop_assert_eq!(judged, Model(&fields).truth(&predicate), "{}", predicate);
    }

    #[test]
    fn any_text_ends_in_an_answer_or_an_error(
        words in prop::collection::vec(prop_oneof![
            prop::sample::select(vec![
                "a", "1", "'x'", "(", ")", "AND", "OR", "NOT", "=", "<>", "+", "-", "*", "/", "LIKE", "IN", ",", "IS", "NULL",
                "EXISTS", "sys.", "user.", "[b]", "\"c\"", "@five", "newid()", "p(", "ESCAPE", "TRUE", "SET", "REMOVE", ";", "\n",
            ]).prop_map(str::to_owned),
            "\\PC{0,3}",
        ], 0..24),
        fields in fields(),
    ) {
        let text = words.join(" ");
        for read in [SqlFilter::parse(&text, &parameters()), SqlFilter::parse(&words.concat(), &parameters())] {
            match read {
                Ok(filter) => drop(filter.predicate().truth(&fields)),
                Err(error) => prop_assert!(error.position <= text.chars().count() + 1),
            }
        }
        if let Ok(action) = SqlAction::parse(&text, &parameters()) {
            drop(action.apply(&mut fields.clone()));
        }
    }
}
